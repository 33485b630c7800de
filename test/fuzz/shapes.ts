/**
 * Heads of random shapes, given flat or as tensors, with and without sizes, some of which are wrong: each operation has the
 * results of the one shape that everything given agrees with, or throws where there is none or there are several.
 */
import { mergeVocabParallelStats } from 'sweet-rl';
import { expect } from 'vitest';
import { lossTypes } from '../../scripts/loss-types.js';
import type { Options } from '../helpers/arguments.ts';
import { SUBJECTS, type Subject } from '../helpers/calls.ts';
import { expectClose } from '../helpers/compare.ts';
import { transposed } from '../helpers/linear.ts';
import { DTYPES, type DType, decode, padRows, type Stored, store } from '../helpers/storage.ts';
import { criticUpdate } from '../reference/critic-update.ts';
import { linearLogits, projectGradient } from '../reference/linear-logps.ts';
import { policyGradientUpdate } from '../reference/policy-gradient-update.ts';
import { policyUpdate } from '../reference/policy-update.ts';
import { tokenLogps, tokenLogpsBackward } from '../reference/token-logps.ts';
import { unpairedUpdate } from '../reference/unpaired-update.ts';
import type { Head } from '../reference/update.ts';
import type { Draw, Property } from './draw.ts';

/** The operations with a head, by the arguments of their valid calls. */
// Divergences have tests of their sizes of their own: there the teacher has a second set of them.
const HEADED = SUBJECTS.filter(({ valid }) => {
  const options = valid();
  return ('logits' in options || 'hidden' in options) && !('forward' in options) && !('divergence' in options);
});

/** What a call is given: the lengths of its arrays, the shapes of those that are tensors, and its sizes. */
interface Given {
  lengths: Record<string, number>;
  shapes: Record<string, number[]>;
  vocabSize?: number;
  hiddenSize?: number;
  rowStride?: number;
  weightLayout?: 'HV';
}

interface Sizes {
  rows: number;
  vocab: number;
  hidden: number;
  refHidden: number;
  stride: number;
}

const product = (numbers: readonly number[]) => numbers.reduce((a, b) => a * b, 1);
const range = (most: number) => Array.from({ length: most }, (_, i) => i + 1);

const MATRICES = ['logits', 'hidden', 'refLogits', 'refHidden'];
const OF_ROWS = [
  ...['labels', 'mask', 'tokenWeights', 'lse', 'gradLogps', 'refLogps', 'logps'],
  ...['gradEntropy', 'entropy', 'gradLse', 'advantages', 'oldLogps', 'importanceWeights'],
];

const OPTIONAL = /ias$|^(mask|tokenWeights|oldLogps|importanceWeights)$/;

// -- the specification: which sizes agree with everything that is given

/** [rows, columns] in memory. */
function isMatrix({ lengths, shapes }: Given, name: string, rows: number, columns: number): boolean {
  const shape = shapes[name] ?? [rows, columns];
  return lengths[name] === rows * columns && shape.at(-1) === columns && product(shape) === lengths[name];
}

/** Rows of `vocab` elements, `stride` elements apart; the last one may end with its elements. */
function areRows(given: Given, name: string, { rows, vocab, stride }: Sizes): boolean {
  return (
    isMatrix(given, name, rows, stride) ||
    (given.lengths[name] === (rows - 1) * stride + vocab && (given.shapes[name] ?? [stride]).at(-1) === stride)
  );
}

function isLinear(given: Given, [hidden, weight, bias]: readonly string[], rows: number, V: number, H: number) {
  const { lengths, shapes, weightLayout } = given;
  const weightShape = shapes[weight!] ?? [V, H];
  return (
    isMatrix(given, hidden!, rows, H) &&
    (weightLayout === 'HV' ? isMatrix(given, weight!, H, V) : isMatrix(given, weight!, V, H)) &&
    weightShape.length === 2 &&
    (lengths[bias!] ?? V) === V
  );
}

/** Every tensor has as many elements as its shape says, and those with several dimensions of rows have them in one order. */
function areConsistent({ lengths, shapes }: Given, rows: number): boolean {
  const orders = Object.entries(shapes)
    .filter(([name]) => MATRICES.includes(name) || OF_ROWS.includes(name))
    .map(([name, shape]) => (MATRICES.includes(name) ? shape.slice(0, -1) : shape).filter((n) => n !== 1))
    .filter((order) => order.length > 1);
  return (
    Object.entries(shapes).every(([name, shape]) => product(shape) === lengths[name]) &&
    OF_ROWS.every((name) => (lengths[name] ?? rows) === rows) &&
    new Set(orders.map(String)).size <= 1
  );
}

/** The sizes that agree with all of it: none, or one, or several where the call must be refused as well. */
function solutions(given: Given): Sizes[] {
  const { lengths, vocabSize, hiddenSize, rowStride } = given;
  const rows = lengths.labels!;
  if (!areConsistent(given, rows)) return [];
  // Full rows of rowStride elements do not tell V, not even where it could only be 1.
  if (rowStride !== undefined && vocabSize === undefined && lengths.logits === rows * rowStride) return [];
  const vocabs = vocabSize === undefined ? range(Math.max(lengths.logits ?? 0, lengths.weight ?? 0)) : [vocabSize];
  const widths = hiddenSize === undefined ? range(lengths.hidden ?? 1) : [hiddenSize];
  const heads = vocabs.flatMap((vocab) => {
    const stride = rowStride ?? vocab;
    if ('logits' in lengths) {
      const sizes = { rows, vocab, stride, hidden: 0, refHidden: 0 };
      return stride >= vocab && areRows(given, 'logits', sizes) ? [sizes] : [];
    }
    return widths
      .filter((H) => isLinear(given, ['hidden', 'weight', 'bias'], rows, vocab, H))
      .map((hidden) => ({ rows, vocab, stride: vocab, hidden, refHidden: 0 }));
  });
  // The reference is checked against the head and adds nothing to it.
  if (heads.length !== 1) return heads;
  return heads.flatMap((sizes) => {
    const { vocab } = sizes;
    if ('refLogits' in lengths) {
      return areRows(given, 'refLogits', { ...sizes, stride: vocab }) || areRows(given, 'refLogits', sizes)
        ? [sizes]
        : [];
    }
    if (!('refHidden' in lengths)) return [sizes];
    return range(lengths.refHidden!)
      .filter((H) => isLinear(given, ['refHidden', 'refWeight', 'refBias'], rows, vocab, H))
      .map((refHidden) => ({ ...sizes, refHidden }));
  });
}

// -- a case

/** A number in place of the right one: off by one, a multiple, a divisor, or another size. */
function wrong(draw: Draw, right: number, sizes: readonly number[]): number {
  const others = [right + 1, Math.max(1, right - 1), 2 * right, Math.max(1, Math.floor(right / 2)), ...sizes];
  return draw.of(others);
}

/** The rows as one dimension or several. */
function rowDimensions(draw: Draw, rows: number): number[] {
  const divisors = range(rows).filter((n) => rows % n === 0);
  const first = draw.of(divisors);
  return draw.of([[rows], [1, rows], [first, rows / first], [rows / first, first]]);
}

function shapeOf(draw: Draw, name: string, { rows, vocab, hidden, refHidden, stride }: Sizes, isHV: boolean): number[] {
  const columns: Record<string, number> = { logits: stride, refLogits: stride, hidden, refHidden };
  if (name in columns) return [...rowDimensions(draw, rows), columns[name]!];
  if (name === 'weight') return isHV ? [hidden, vocab] : [vocab, hidden];
  if (name === 'refWeight') return isHV ? [refHidden, vocab] : [vocab, refHidden];
  return /ias$/.test(name) ? [vocab] : rowDimensions(draw, rows);
}

/** Changes a shape: other order, another number, one number more or less. */
function wrongShape(draw: Draw, shape: number[], sizes: readonly number[]): number[] {
  const at = draw.integer(0, shape.length - 1);
  return draw.of([
    shape.toReversed(),
    shape.map((n, i) => (i === at ? wrong(draw, n, sizes) : n)),
    [...shape, 1],
    [product(shape)],
    shape.map((_, i) => shape[(i + 1) % shape.length]!),
  ]);
}

/** What a call of these arguments is given: of one shape, and once in two cases with something wrong. */
function drawGiven(draw: Draw, names: readonly string[]): Given {
  const leastRows = names.includes('turnOffsets') ? 2 : 1;
  const [rows, vocab] = [draw.integer(leastRows, 8), draw.integer(1, 9)];
  const [hidden, refHidden] = [draw.integer(1, 6), draw.integer(1, 6)];
  const strided = names.includes('logits') && draw.once(3);
  const stride = vocab + (strided ? draw.integer(0, 3) : 0);
  const sizes = { rows, vocab, hidden, refHidden, stride };

  const padded = rows * stride - (draw.once(2) ? stride - vocab : 0);
  const lengths: Record<string, number> = {
    ...{ logits: padded, hidden: rows * hidden, weight: vocab * hidden, bias: vocab },
    refLogits: draw.once(2) ? rows * vocab : padded,
    ...{ refHidden: rows * refHidden, refWeight: vocab * refHidden, refBias: vocab },
    ...Object.fromEntries(OF_ROWS.map((name) => [name, rows])),
  };
  const given: Given = { lengths: {}, shapes: {} };
  if (names.includes('hidden') && draw.once(3)) given.weightLayout = 'HV';
  for (const name of names) {
    const length = lengths[name];
    // The entropy is an option of a forward pass and an array of a backward pass.
    if (length === undefined || (name === 'entropy' && !names.includes('lse'))) continue;
    if (OPTIONAL.test(name) && draw.once(2)) continue;
    given.lengths[name] = length;
    if (!draw.once(3)) continue;
    const isPacked = name === 'refLogits' && length === rows * vocab;
    const shape = shapeOf(draw, name, isPacked ? { ...sizes, stride: vocab } : sizes, 'weightLayout' in given);
    if (product(shape) === length) given.shapes[name] = shape;
  }
  if (strided) given.rowStride = stride;
  if (draw.once(2) || strided) given.vocabSize = vocab;
  if ('hidden' in given.lengths && draw.once(2)) given.hiddenSize = hidden;

  const wrongs = draw.once(2) ? draw.integer(1, 2) : 0;
  for (let i = 0; i < wrongs; i++) makeWrong(draw, given, [rows, vocab, hidden, stride, rows * vocab], leastRows);
  return given;
}

/** Changes the number of rows, a length, a size or a shape. */
function makeWrong(draw: Draw, given: Given, sizes: readonly number[], leastRows: number): void {
  const { lengths, shapes } = given;
  const options = (['vocabSize', 'hiddenSize', 'rowStride'] as const).filter((name) => given[name] !== undefined);
  const tensors = Object.keys(shapes);
  const kind = draw.of(['rows', 'length', 'option', 'shape', 'missing']);
  if (kind === 'rows') {
    // All arrays of rows agree: the hard case, since other products may divide.
    const rows = Math.max(leastRows, wrong(draw, lengths.labels!, sizes));
    for (const name of OF_ROWS) {
      if (name in lengths) lengths[name] = rows;
      delete shapes[name];
    }
  } else if (kind === 'length') {
    const name = draw.of(Object.keys(lengths).filter((each) => each !== 'labels'));
    lengths[name] = wrong(draw, lengths[name]!, sizes);
    if (draw.once(2)) delete shapes[name];
  } else if (kind === 'option' && options.length > 0) {
    const name = draw.of(options);
    given[name] = wrong(draw, given[name]!, sizes);
  } else if (kind === 'missing' && options.length > 0) {
    delete given[draw.of(options)];
  } else if (tensors.length > 0) {
    const name = draw.of(tensors);
    shapes[name] = wrongShape(draw, shapes[name]!, sizes);
  }
}

/** The numbers of an array and, where it is a matrix of logits, those without padding. */
interface Numbers {
  data: Stored;
  values: Float64Array;
}

const REF_NAMES = { logits: 'refLogits', hidden: 'refHidden', weight: 'refWeight', bias: 'refBias' };

function headOf(
  numbers: Record<string, Numbers>,
  sizes: Sizes,
  isHV: boolean,
  names = { logits: 'logits', hidden: 'hidden', weight: 'weight', bias: 'bias' },
): Head {
  const values = (name: string) => numbers[name]?.values;
  const logits = values(names.logits);
  if (logits) return { logits };
  const bias = values(names.bias);
  const stored = values(names.weight)!;
  const weight = isHV ? transposed(stored, stored.length / sizes.vocab, sizes.vocab) : stored;
  return { hidden: values(names.hidden)!, weight, ...(bias && { bias }) };
}

/** [3] offsets of two groups of n things. */
const STATISTICS = { entropy: true, argmax: true, sumSquaredProbs: true };
const halves = (n: number) => Int32Array.of(0, Math.ceil(n / 2), n);

/** The options of the valid call; some have others that it goes without. */
const namesOf = (subject: Subject) =>
  Object.entries(subject.valid()).flatMap(([name, x]) => (x === undefined ? [] : [name]));

async function check(draw: Draw): Promise<void> {
  const subject = draw.of(HEADED);
  const valid = subject.valid();
  const names = namesOf(subject);
  const given = drawGiven(draw, names);
  const dtype = draw.of(DTYPES);
  const found = solutions(given);
  const sizes = found.length === 1 ? found[0]! : undefined;
  draw.case = `${subject.name}, ${dtype}: ${JSON.stringify(given)}; sizes that agree: ${JSON.stringify(found)}`;

  const { options, numbers, expected } = makeCall(draw, subject, given, dtype, sizes);
  const buffers = new Map<string, { all: Stored; view: Stored }>();
  if ('out' in valid && draw.once(2)) {
    const out = outOf(valid.out as Options, given, sizes, numbers);
    for (const [name, { view }] of out) (options.out as Options) = { ...(options.out as Options), [name]: view };
    for (const [name, buffer] of out) buffers.set(name, buffer);
  }

  let thrown: (Error & { code?: string }) | undefined;
  let result: Options = {};
  try {
    result = (await subject.call(options as never)) as Options;
  } catch (error) {
    thrown = error as Error;
  }
  if (sizes === undefined) {
    expect(thrown, 'an error').toBeInstanceOf(Error);
    expect(thrown instanceof TypeError || thrown instanceof RangeError, String(thrown?.stack)).toBe(true);
    expect(thrown!.code).toMatch(/^ERR_ARG_(LENGTH|TYPE|VALUE)$/);
    for (const [name, { all }] of buffers)
      expect(
        all.every((x) => x === 7),
        `${name} was not written`,
      ).toBe(true);
    return;
  }
  if (thrown) throw thrown;
  for (const [name, { all, view }] of buffers) {
    expect(result[name]).toBe(view);
    const outside = all.length - view.length;
    expect(all.filter((x, i) => (i < GUARD || i >= GUARD + view.length) && x === 7).length, `around ${name}`).toBe(
      outside,
    );
  }
  compare(result, expected!, dtype, options);
}

const GUARD = 8;

/** Buffers of the lengths that the sizes ask for, filled with 7, as are the elements around them. */
function outOf(
  out: Options,
  { lengths }: Given,
  sizes: Sizes | undefined,
  numbers: Record<string, Numbers>,
): [string, { all: Stored; view: Stored }][] {
  const rows = lengths.labels!;
  const vocab = sizes?.vocab ?? lengths.bias ?? 1;
  const lengthOf: Record<string, number | undefined> = {
    ...{
      logps: rows,
      lse: rows,
      entropy: rows,
      argmax: rows,
      sumSquaredProbs: rows,
      gradLogps: rows,
      stats: 8 + 7 * rows,
    },
    ...{ gradLogits: lengths.logits, gradHidden: lengths.hidden, gradWeight: lengths.weight },
    ...{ gradBias: 'bias' in lengths ? vocab : undefined, turnAdvantages: 2 },
    ...{ pairLosses: 1, margins: 1, chosenRewards: 1, rejectedRewards: 1, unitLosses: 2, rewards: 2 },
  };
  return Object.entries(out).flatMap(([name, buffer]) => {
    if (!(name in lengthOf)) throw new Error(`no length for out.${name}: add it here`);
    const length = lengthOf[name];
    if (length === undefined) return [];
    const Class = (name === 'gradLogits' ? numbers.logits!.data : (buffer as Stored))
      .constructor as Float32ArrayConstructor;
    const all = new Class(length + 2 * GUARD).fill(7);
    return [[name, { all, view: all.subarray(GUARD, GUARD + length) }]];
  });
}

type Expected = Record<string, ArrayLike<number> | number>;

/** The options and, where one shape agrees, the results by the float64 references. */
function makeCall(draw: Draw, subject: Subject, given: Given, dtype: DType, sizes: Sizes | undefined) {
  const { lengths, shapes } = given;
  const rows = lengths.labels!;
  const random = draw.random();
  const numbers: Record<string, Numbers> = {};
  const options: Options = { dtype };
  const asTensor = (name: string, data: unknown) => {
    const key = draw.of(['dims', 'shape']);
    options[name] = shapes[name] ? { data, [key]: shapes[name] } : data;
  };
  for (const name of [...MATRICES, 'weight', 'bias', 'refWeight', 'refBias'].filter((each) => each in lengths)) {
    const stored = store(random.normals(lengths[name]!, 2), dtype);
    numbers[name] = stored;
    if (/ogits$/.test(name) && sizes !== undefined) {
      const packed = name === 'refLogits' && lengths[name] === rows * sizes.vocab;
      const stride = packed ? sizes.vocab : sizes.stride;
      const { data, values } = store(random.normals(rows * sizes.vocab, 2), dtype);
      const padded = padRows(data, sizes.vocab, stride, dtype, lengths[name] === rows * stride);
      numbers[name] = { data: padded, values };
    }
    asTensor(name, numbers[name].data);
  }
  const labels = random.integers(rows, 0, sizes?.vocab ?? 1);
  if (draw.once(4)) labels[rows - 1] = -100;
  const maskOf = () => {
    const mask = random.mask(lengths.mask!, 0.3);
    mask[0] = 1;
    mask[Math.ceil(rows / 2)] = 1;
    return mask;
  };
  const mask = 'mask' in lengths ? maskOf() : undefined;
  const weightsOf = () => Float32Array.from({ length: lengths.tokenWeights! }, () => 0.2 + 2 * random.uniform());
  const tokenWeights = 'tokenWeights' in lengths ? weightsOf() : undefined;
  // Each turn of an update has a token that counts.
  if (subject.name.includes('Update')) labels[rows - 1] = Math.max(0, labels[rows - 1]!);
  const floats = (name: string) => Float32Array.from(random.normals(lengths[name] ?? rows));
  const isHV = given.weightLayout === 'HV';
  const head = sizes && headOf(numbers, sizes, isHV);
  const ofLogits = head && ('logits' in head ? head.logits : linearLogits({ ...head, labels }));
  const forward = ofLogits && tokenLogps({ logits: ofLogits, labels, mask });
  const batch = { turnOffsets: halves(rows), trajectoryOffsets: Int32Array.of(0, 1, 2) };
  const pairs = { chosen: Int32Array.of(1), rejected: Int32Array.of(0) };
  const ofItems = {
    ...{ desirable: Uint8Array.of(1, 0), unitWeights: Float32Array.of(2, 0.5) },
    ...{ klLogps: Float32Array.of(-1, 0, 1), klRefLogps: Float32Array.of(-2, -1, 1) },
  };
  const lossOptions = drawLoss(draw, subject, given);
  const values: Record<string, unknown> = {
    ...{ labels, mask, tokenWeights, ...batch, ...pairs, ...ofItems, ...STATISTICS },
    pairWeights: lossOptions.takesPairWeights ? Float32Array.of(2) : undefined,
    ...{ gradLogps: floats('gradLogps'), refLogps: floats('refLogps') },
    ...{ gradEntropy: floats('gradEntropy'), gradLse: floats('gradLse') },
    ...{ advantages: floats('advantages'), klCoef: 0.1, entropyCoef: 0.01 },
    ...('oldLogps' in lengths && { oldLogps: floats('oldLogps') }),
    ...('importanceWeights' in lengths && { importanceWeights: floats('importanceWeights').map(Math.abs) }),
    entropy: forward && lengths.entropy === rows ? Float32Array.from(forward.entropy) : floats('entropy'),
    lse: forward && lengths.lse === rows ? Float32Array.from(forward.lse) : floats('lse'),
    logps: forward && lengths.logps === rows ? Float32Array.from(forward.logps) : floats('logps'),
  };
  // An option of forward passes, an array of backward passes.
  if (!('lse' in subject.valid())) values.entropy = true;
  for (const name of namesOf(subject)) {
    if (name in options || ['out', 'vocabOffset', 'totalVocab', 'bias', 'refBias'].includes(name)) continue;
    if (OPTIONAL.test(name) && !(name in lengths)) continue;
    if (!(name in values)) throw new Error(`no value for ${name}: add it here`);
    if (values[name] !== undefined) asTensor(name, values[name]);
  }
  Object.assign(options, lossOptions.given);
  for (const name of lossOptions.without) delete options[name];
  for (const name of ['vocabSize', 'hiddenSize', 'rowStride', 'weightLayout'] as const)
    if (given[name] !== undefined) options[name] = given[name];
  if (head === undefined || ofLogits === undefined) return { options, numbers };

  const references =
    'refLogits' in lengths || 'refHidden' in lengths ? headOf(numbers, sizes!, isHV, REF_NAMES) : undefined;
  const rowsOf = { logits: ofLogits, labels, mask };
  let expected: Expected = { ...forward };
  let gradLogits: Float64Array | undefined;
  if (isUpdate(subject)) {
    const reference = references ?? { refLogps: values.refLogps as Float32Array };
    const isKept = (i: number) => labels[i] !== -100;
    const statistics = {
      entropy: forward!.entropy.map((x, i) => (isKept(i) ? x : 0)),
      argmax: forward!.argmax.map((v, i) => (isKept(i) ? v : -1)),
      sumSquaredProbs: forward!.sumSquaredProbs.map((x, i) => (isKept(i) ? x : 0)),
    };
    const ofLoss = { ...lossOptions.given, labels, mask, tokenWeights, head, reference };
    const { turnOffsets } = batch;
    const sequences = lossOptions.without.includes('klLogps') ? {} : ofItems;
    const { desirable, unitWeights } = ofItems;
    const update = isPolicyGradient(subject)
      ? {
          ...policyGradientUpdate({ ...options, ...ofLoss, ...batch, ...ofTokens(values, options) } as never),
          ...statistics,
        }
      : subject.name.startsWith('unpaired')
        ? unpairedUpdate({ ...ofLoss, turnOffsets, ...sequences, desirable, unitWeights })
        : (subject.name.startsWith('critic') ? criticUpdate : policyUpdate)({ ...ofLoss, ...batch, ...pairs });
    expected = { ...statistics, ...(update as unknown as Expected) };
    gradLogits = expected.gradLogits as Float64Array;
  } else if ('gradLogps' in lengths) {
    const { gradLogps, gradEntropy, gradLse } = values as Record<string, Float32Array>;
    gradLogits = tokenLogpsBackward({ ...rowsOf, gradLogps: gradLogps!, gradEntropy: gradEntropy!, gradLse: gradLse! });
  }
  if (gradLogits && 'hidden' in head) Object.assign(expected, projectGradient({ ...head, labels }, gradLogits));
  if (isHV && expected.gradWeight) {
    expected.gradWeight = transposed(expected.gradWeight as Float64Array, sizes!.vocab, sizes!.hidden);
  }
  if (gradLogits && 'logits' in head) expected.gradLogits = spread(gradLogits, lengths.logits!, sizes!);
  return { options, numbers, expected };
}

const isUpdate = ({ name }: Subject) => /^(critic|policy|unpaired|policyGradient)Update/.test(name);
const isPolicyGradient = ({ name }: Subject) => name.startsWith('policyGradient');

/** The arrays of the policy-gradient loss that a call has, as tensors or not. */
const ofTokens = (values: Options, options: Options) =>
  Object.fromEntries(
    ['advantages', 'oldLogps', 'importanceWeights'].flatMap((name) => (name in options ? [[name, values[name]]] : [])),
  );

/** Any objective, ratio and reduction; what only one of them takes is left to its default. */
function drawPolicyGradient(draw: Draw, hasOldLogps: boolean) {
  const objective = draw.of(['clip', 'cispo', 'sapo', 'dppo', ...(hasOldLogps ? [] : ['reinforce'])]);
  const given: Options = { objective, reduction: draw.of(REDUCTIONS), klType: draw.of(['k1', 'k2', 'k3']) };
  if (!['dppo', 'reinforce'].includes(objective)) given.ratioLevel = draw.of(['token', 'turn', 'trajectory']);
  if (objective === 'clip' && draw.once(2)) given.dualClip = 3;
  if (given.reduction === 'constant') given.denominator = 5;
  return { given, without: ['entropy'], takesPairWeights: true };
}
const REDUCTIONS = ['token-mean', 'sequence-mean-token-sum', 'sequence-mean-token-mean', 'constant'];

/** Any type of loss, with the options that it needs, and without those that it does not take. */
function drawLoss(draw: Draw, subject: Subject, given: Given) {
  const none = { given: {}, without: [] as string[], takesPairWeights: true };
  if (!isUpdate(subject)) return none;
  if (isPolicyGradient(subject)) return drawPolicyGradient(draw, 'oldLogps' in given.lengths);
  if (subject.name.startsWith('unpaired')) {
    const lossType = draw.of(['kto', 'apo_zero_unpaired', 'bco']);
    return { ...none, given: { lossType }, without: lossType === 'kto' ? [] : ['klLogps', 'klRefLogps'] };
  }
  const { name, kind } = draw.of(lossTypes);
  const takesPairWeights = kind !== 'batch' && kind !== 'nll';
  return { ...none, given: { lossType: name, ...(name === 'exo_pair' && { labelSmoothing: 0.1 }) }, takesPairWeights };
}

/** Rows with a padding of 0. */
function spread(packed: Float64Array, length: number, { rows, vocab, stride }: Sizes): Float64Array {
  const all = new Float64Array(length);
  for (let i = 0; i < rows; i++) all.set(packed.subarray(i * vocab, (i + 1) * vocab), i * stride);
  return all;
}

/** Loosely: another shape has other numbers altogether, and how exact the numbers are is tested elsewhere. */
function compare(result: Options, expected: Expected, dtype: DType, options: Options): void {
  const { stats, ...others } = result;
  const merged =
    stats &&
    mergeVocabParallelStats({ stats, labels: labelsOf(options), mask: maskOf(options), ...STATISTICS } as never);
  const all: Options = merged ? { ...(merged as object) } : others;
  if ('ok' in all) {
    const mask = maskOf(options);
    const compared = Array.from(labelsOf(options)).some((label, i) => label !== -100 && mask?.[i] !== 0);
    expect(all).toMatchObject(compared ? { ok: true } : { ok: false, suspicion: 'inconclusive' });
    return;
  }
  for (const [name, value] of Object.entries(all)) {
    if (name === 'lossType' || name === 'beta' || name === 'running') continue;
    const should = expected[name];
    if (should === undefined) throw new Error(`no expectation for ${name}: add it here`);
    const [is, want] = [value, should].map((each) => (typeof each === 'number' ? [each] : each)) as [Stored, number[]];
    const largest = Array.from(want).reduce((a, b) => Math.max(a, Math.abs(b)), 1);
    const ours = name === 'gradLogits' ? decode(is, dtype) : is;
    const slack = (dtype === 'float32' ? 1e-4 : 0.03) * largest;
    expectClose(name, ours, want, () => slack);
  }
}

const dataOf = (value: unknown) => (value as { data?: unknown })?.data ?? value;
const labelsOf = (options: Options) => dataOf(options.labels) as Int32Array;
const maskOf = (options: Options) => dataOf(options.mask) as Uint8Array | undefined;

export const shapes: Property[] = [
  { name: 'shapes: the one that all sizes agree with, or an error', cases: 700, check },
];
