/** The boundary between lib/ and binding/: the generated files, and every argument under its own name. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as sweetRl from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { enums, groups, operations } from '../../binding/operations.js';
import { native } from '../../dist/addon/native.js';
import { generate } from '../../scripts/generate-binding.js';
import { ROOT } from '../helpers/processes.ts';

it.each(Object.entries(generate()))('%s is what `npm run generate` writes', (path, text) => {
  expect(readFileSync(join(ROOT, path), 'utf8')).toBe(text);
});

/** One scalar or array that crosses the boundary: its path in the call, its type, its value. */
interface Argument {
  path: string;
  type: string;
  value: unknown;
}

interface Field {
  kind?: string;
  name?: string;
  type?: string;
}

/** The positional arguments of a call by their names in the table. */
function decoded(operation: string, args: unknown[]): Argument[] {
  const found: Argument[] = [];
  const rest = [...args];
  const readGroup = (name: string, path: string) => {
    const { fields, variants } = (groups as Record<string, { fields?: object; variants?: object }>)[name]!;
    if (fields) return readFields(fields, path);
    const [first, second] = Object.values(variants!) as [string, string];
    readGroup(rest.shift() ? second : first, path);
  };
  const readFields = (fields: object, path: string) => {
    for (const [name, field] of Object.entries(fields) as [string, Field & string][]) {
      const at = path === '' ? name : `${path}.${name}`;
      if (field.kind === 'array') found.push({ path: at, type: field.type!, value: rest.shift() });
      else if (field.kind === 'group') readGroup(field.name!, at);
      else if (field in groups) readGroup(field, at);
      else found.push({ path: at, type: field in enums ? 'enum' : field, value: rest.shift() });
    }
  };
  readFields((operations as Record<string, { fields: object }>)[operation]!.fields, '');
  expect(rest).toEqual([]);
  return found;
}

/** The arguments of the native call that `call` makes. */
function argumentsOf(operation: string, call: () => unknown): Argument[] {
  const addon = native as unknown as Record<string, (...args: unknown[]) => unknown>;
  const original = addon[operation]!;
  let args: unknown[] | undefined;
  addon[operation] = (...given) => {
    args = given;
    return original(...given);
  };
  try {
    call();
  } finally {
    addon[operation] = original;
  }
  return decoded(operation, args!);
}

const floats = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i));
const ints = (...values: number[]) => Int32Array.from(values);

// Every array has memory of its own and every number a value of its own: a swap cannot go unnoticed.
const [N, V, STRIDE, H] = [9, 5, 7, 4];
const head = { logits: floats((N - 1) * STRIDE + V), rowStride: STRIDE, temperature: 1.25 };
const linear = { hidden: floats(N * H), weight: floats(V * H), bias: floats(V), temperature: 1.25 };
const labels = { labels: ints(0, 1, 2, 3, 4, 0, 1, 2, -7), mask: new Uint8Array(N).fill(1), ignoreIndex: -7 };
const shard = { vocabOffset: 3, totalVocab: 11 };
const reference = { refLogps: floats(N) };
const refLinear = { refHidden: floats(N * H), refWeight: floats(V * H), refBias: floats(V) };
const turns = { turnOffsets: ints(0, 2, 3, 5, 8, 9) };
const trajectories = { trajectoryOffsets: ints(0, 2, 3, 5) };
const pairs = { chosen: ints(0, 1), rejected: ints(2, 2), pairWeights: Float32Array.of(1, 2) };
const loss = { beta: 0.3, labelSmoothing: 0.05, pairDenominator: 13, nllCoef: 0.2, nllDenominator: 17 };
const backward = { lse: floats(N), gradLogps: floats(N) };
const pairOut = () => ({
  pairLosses: new Float32Array(2),
  margins: new Float32Array(2),
  chosenRewards: new Float32Array(2),
  rejectedRewards: new Float32Array(2),
  turnAdvantages: new Float32Array(5),
  gradLogps: new Float32Array(N),
});
const logpsOut = { logps: new Float32Array(N), lse: new Float32Array(N), entropy: new Float32Array(N) };
const linearOut = {
  gradHidden: new Float32Array(N * H),
  gradWeight: new Float32Array(V * H),
  gradBias: new Float32Array(V),
};

const OF_HEAD = {
  'head.logits': 'logits',
  'head.hidden': 'hidden',
  'head.weight': 'weight',
  'head.bias': 'bias',
  'head.temperature': 'temperature',
  'labels.data': 'labels',
  'labels.mask': 'mask',
  'labels.ignoreIndex': 'ignoreIndex',
};
const OF_TOKENS = {
  'batch.labels.data': 'labels',
  'batch.labels.mask': 'mask',
  'batch.labels.ignoreIndex': 'ignoreIndex',
};
const OF_SHARD = { 'head.vocabOffset': 'vocabOffset', 'head.totalVocab': 'totalVocab' };
const OF_LOSS = {
  'batch.turnOffsets': 'turnOffsets',
  'batch.trajectoryOffsets': 'trajectoryOffsets',
  ...OF_TOKENS,
  'batch.pairs.chosen': 'chosen',
  'batch.pairs.rejected': 'rejected',
  'batch.pairs.weights': 'pairWeights',
  'options.pairLoss.beta': 'beta',
  'options.pairLoss.labelSmoothing': 'labelSmoothing',
  'options.pairDenominator': 'pairDenominator',
  'options.nllCoef': 'nllCoef',
  'options.nllDenominator': 'nllDenominator',
  'out.pairLosses': 'out.pairLosses',
  'out.margins': 'out.margins',
  'out.chosenRewards': 'out.chosenRewards',
  'out.rejectedRewards': 'out.rejectedRewards',
  'out.turnAdvantages': 'out.turnAdvantages',
  'out.gradLogps': 'out.gradLogps',
};
const SHAPE = {
  'head.rows': N,
  'head.vocabSize': V,
  'head.rowStride': STRIDE,
  'head.logitsLength': head.logits.length,
  'head.hiddenSize': H,
};
const COUNTS = { 'batch.tokens': N, 'batch.turns': 5, 'batch.trajectories': 3, 'batch.pairs.count': 2 };

interface Case {
  operation: string;
  call: (options: never) => unknown;
  options: object;
  /** The option that each argument is, and the values of the numbers that are computed. */
  from: Record<string, string>;
  computed: Record<string, unknown>;
}

const CASES: Record<string, Case> = {
  tokenLogps: {
    operation: 'logps',
    call: sweetRl.tokenLogps,
    options: { ...head, ...labels, entropy: true, out: logpsOut },
    from: { ...OF_HEAD, 'out.logps': 'out.logps', 'out.lse': 'out.lse', 'out.entropy': 'out.entropy' },
    computed: SHAPE,
  },
  linearLogps: {
    operation: 'logps',
    call: sweetRl.linearLogps,
    options: { ...linear, ...labels, entropy: true, out: logpsOut },
    from: { ...OF_HEAD, 'out.logps': 'out.logps', 'out.lse': 'out.lse', 'out.entropy': 'out.entropy' },
    computed: SHAPE,
  },
  tokenLogpsBackward: {
    operation: 'logpsBackward',
    call: sweetRl.tokenLogpsBackward as never,
    options: { ...head, ...labels, ...shard, ...backward, out: { gradLogits: floats(head.logits.length) } },
    from: { ...OF_HEAD, ...OF_SHARD, lse: 'lse', gradLogps: 'gradLogps', 'gradients.logits': 'out.gradLogits' },
    computed: SHAPE,
  },
  linearLogpsBackward: {
    operation: 'logpsBackward',
    call: sweetRl.linearLogpsBackward as never,
    options: { ...linear, ...labels, ...shard, ...backward, accumulate: true, out: linearOut },
    from: {
      ...OF_HEAD,
      ...OF_SHARD,
      lse: 'lse',
      gradLogps: 'gradLogps',
      'gradients.accumulate': 'accumulate',
      'gradients.hidden': 'out.gradHidden',
      'gradients.weight': 'out.gradWeight',
      'gradients.bias': 'out.gradBias',
    },
    computed: SHAPE,
  },
  vocabParallelStats: {
    operation: 'vocabParallelStats',
    call: sweetRl.vocabParallelStats as never,
    options: { ...head, ...labels, ...shard, entropy: true, out: { stats: new Float64Array(8 + 4 * N) } },
    from: { ...OF_HEAD, ...OF_SHARD, entropy: 'entropy', stats: 'out.stats' },
    computed: SHAPE,
  },
  mergeVocabParallelStats: {
    operation: 'mergeVocabParallelStats',
    call: sweetRl.mergeVocabParallelStats as never,
    options: {
      stats: sweetRl.vocabParallelStats({ ...head, ...labels, entropy: true }).stats,
      ...labels,
      entropy: true,
      out: logpsOut,
    },
    from: {
      stats: 'stats',
      'labels.data': 'labels',
      'labels.mask': 'mask',
      'labels.ignoreIndex': 'ignoreIndex',
      'out.logps': 'out.logps',
      'out.lse': 'out.lse',
      'out.entropy': 'out.entropy',
    },
    computed: { rows: N, shards: 1 },
  },
  turnAdvantages: {
    operation: 'turnAdvantages',
    call: sweetRl.turnAdvantages as never,
    options: { logps: floats(N), ...reference, ...turns, ...labels },
    from: { logps: 'logps', refLogps: 'refLogps', 'batch.turnOffsets': 'turnOffsets', ...OF_TOKENS },
    computed: { 'batch.tokens': N, 'batch.turns': 5, 'batch.mean': true, 'batch.allowEmptyTurns': false },
  },
  turnAdvantagesBackward: {
    operation: 'turnAdvantagesBackward',
    call: sweetRl.turnAdvantagesBackward as never,
    options: { gradAdvantages: floats(5), ...turns, ...labels },
    from: { gradAdvantages: 'gradAdvantages', 'batch.turnOffsets': 'turnOffsets', ...OF_TOKENS },
    computed: { 'batch.tokens': N, 'batch.turns': 5, 'batch.mean': true, 'batch.allowEmptyTurns': false },
  },
  trajectoryPreferenceLoss: {
    operation: 'preferenceLoss',
    call: sweetRl.trajectoryPreferenceLoss as never,
    options: {
      logps: floats(N),
      ...reference,
      ...turns,
      ...trajectories,
      ...pairs,
      ...loss,
      ...labels,
      normalization: 'sum',
      out: pairOut(),
    },
    from: { ...OF_LOSS, logps: 'logps', refLogps: 'refLogps' },
    computed: { ...COUNTS, 'batch.level': 1, 'options.normalization': 2, 'options.pairLoss.type': 0 },
  },
  criticUpdate: {
    operation: 'preferenceUpdate',
    call: sweetRl.criticUpdate as never,
    options: {
      ...head,
      ...labels,
      ...reference,
      ...turns,
      ...trajectories,
      ...pairs,
      ...loss,
      normalization: 'sum',
      out: { ...pairOut(), logps: new Float32Array(N), gradLogits: floats(head.logits.length) },
    },
    from: {
      ...OF_HEAD,
      ...OF_LOSS,
      'reference.logps': 'refLogps',
      logps: 'out.logps',
      'gradients.logits': 'out.gradLogits',
    },
    computed: { ...SHAPE, ...COUNTS, 'batch.level': 1, 'options.normalization': 2, 'options.pairLoss.type': 0 },
  },
  'policyUpdate of a linear head': {
    operation: 'preferenceUpdate',
    call: sweetRl.policyUpdate as never,
    options: {
      ...linear,
      ...labels,
      ...refLinear,
      ...turns,
      ...pairs,
      ...loss,
      allowEmptyTurns: true,
      out: { ...pairOut(), logps: new Float32Array(N), ...linearOut },
    },
    from: {
      ...OF_HEAD,
      ...OF_LOSS,
      'reference.head.hidden': 'refHidden',
      'reference.head.weight': 'refWeight',
      'reference.head.bias': 'refBias',
      'reference.head.temperature': 'temperature',
      logps: 'out.logps',
      'gradients.hidden': 'out.gradHidden',
      'gradients.weight': 'out.gradWeight',
      'gradients.bias': 'out.gradBias',
      'options.allowEmptyTurns': 'allowEmptyTurns',
    },
    computed: {
      ...SHAPE,
      'batch.tokens': N,
      'batch.turns': 5,
      'batch.pairs.count': 2,
      'batch.level': 0,
      'options.normalization': 2,
      'options.pairLoss.type': 0,
    },
  },
  firstNonFinite: {
    operation: 'firstNonFinite',
    call: sweetRl.tokenLogpsBackward as never,
    options: { ...head, ...labels, ...backward, debug: 'finite' },
    // The last matrix that is checked is the result, gradLogits.
    from: {},
    computed: { dtype: 0, rows: N, columns: V, rowStride: STRIDE, allowNegInf: false, mask: undefined },
  },
};

describe.each(Object.entries(CASES))('%s', (_name, { operation, call, options, from, computed }) => {
  const optionAt = (option: string) =>
    option.split('.').reduce((object, name) => (object as Record<string, unknown>)[name], options as unknown);
  const given = argumentsOf(operation, () => call(options as never));
  const expected = given.map(({ path }) =>
    path in from ? { value: optionAt(from[path]!) } : path in computed ? { value: computed[path] } : undefined,
  );

  it('passes each argument under its name', () => {
    for (const [i, { path, value }] of given.entries()) {
      if (expected[i] !== undefined) expect(value, path).toBe(expected[i].value);
    }
    // Every array and every number of the options is among the arguments.
    const arrays = given.filter(({ type, path }) => !['int', 'bool', 'enum'].includes(type) && path !== 'out.scalars');
    const fresh = ['advantages', 'gradLogps'];
    const unknown = arrays.filter(({ path, value }) => value !== undefined && !(path in from) && !fresh.includes(path));
    if (operation !== 'firstNonFinite') expect(unknown.map(({ path }) => path)).toEqual([]);
  });

  const swappable = given.flatMap((a, i) =>
    given.slice(i + 1).flatMap((b, j) => {
      const [x, y] = [expected[i], expected[i + 1 + j]];
      if (a.type !== b.type || !x || !y || x.value === undefined || y.value === undefined) return [];
      // Of one value by definition: rows and tokens, the mask of labels and batch, the temperatures.
      return Object.is(x.value, y.value) ? [] : [[a.path, b.path, a.value, b.value, x.value, y.value] as const];
    }),
  );

  it.runIf(swappable.length > 0).each(swappable)('does not swap %s and %s', (_a, _b, a, b, x, y) => {
    expect([a, b]).toEqual([x, y]);
    expect(Object.is(a, x) && Object.is(b, y)).toBe(true);
  });
});
