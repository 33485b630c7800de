// Compares the gradient of a training step with finite differences of its loss, and names the likely mistake.
import type { CriticBatch, PolicyBatch } from '../adapters/adapter.js';
import { checkAttached, classOf, float32, hostView, int32, type Mask, maskBytes } from '../args/arrays.js';
import { IGNORE_INDEX } from '../args/labels.js';
import { checkOptions, isRecord } from '../args/options.js';
import { integer, positive } from '../args/scalars.js';
import { type ArrayOrTensor, unwrapTensors } from '../args/tensors.js';
import { comparable } from '../data/candidates.js';
import { expected, rangeError, typeError } from '../errors.js';
import { aboveZero, checkLogps, distance, rounded } from './check-logps.js';
import { derivative, noiseOf } from './derivative.js';
import {
  type Batch,
  type Explanation,
  explainGradient,
  explainLoss,
  explainZeros,
  type GradSuspicion,
  isOtherLoss,
  updateLoss,
} from './explain-grad.js';
import {
  checkParameters,
  coordinateProbes,
  directionalProbe,
  maxAbs,
  type Parameters,
  type Probe,
  type ProbeResult,
  zeroGradientArrays,
} from './probes.js';

export type { GradSuspicion, Parameters };

type LossValue = number | { readonly loss: number };

/** What `checkGrad` takes: a loss, or a forward pass and a batch, or all three. */
export interface CheckGradOptions<P extends Parameters = Parameters> {
  /** Where the gradient was computed. Never written: `loss` and `forward` get copies of the arrays that change. */
  parameters: P;
  /** The gradient that the step computed, in the shape of the parameters. */
  gradient: P;
  /** The loss at given parameters: a number, or a result that has one. */
  loss?: ((parameters: P) => LossValue | Promise<LossValue>) | undefined;
  /** The logits [N, V] at given parameters. */
  forward?: ((parameters: P) => Float32Array | Promise<Float32Array>) | undefined;
  /** Everything that the step gives to `criticUpdate` or `policyUpdate` besides the logits. */
  batch?: CriticBatch | PolicyBatch | undefined;
  /** The logits that the step gave to the update, to check that they are not stale. */
  logits?: ArrayOrTensor<Float32Array> | undefined;
  /** [N], the log-probs of the labels by a sampler or another framework at these parameters. */
  logps?: ArrayOrTensor<Float32Array> | undefined;
  /** [N, V], logits of the frozen reference, to check `batch.refLogps`. */
  refLogits?: ArrayOrTensor<Float32Array> | undefined;
  /** [N], what the model reads in each row, as `packTurns` returns it, to check that the labels are the next tokens. */
  inputIds?: ArrayOrTensor<Int32Array> | undefined;
  /** [K], the reward of each trajectory, or of each turn of a policy, to check that the chosen ones are the better ones. */
  rewards?: ArrayOrTensor<Float32Array | Float64Array> | undefined;
  /** The number of single parameters that are checked besides the direction of the gradient; 8 by default. */
  coordinates?: number | undefined;
  /** The seed of their choice; 0 by default. */
  seed?: number | undefined;
  /** The first step, relative to the root mean square of an array; 1/32 by default. It is halved while that helps. */
  epsilon?: number | undefined;
  /** The relative error that is allowed besides the error of rounding; 0.01 by default. */
  tolerance?: number | undefined;
}

/** A derivative by the gradient and by finite differences of the loss. */
export interface GradComparison {
  analytic: number;
  numeric: number;
  /** |analytic - numeric|. */
  error: number;
  /** An estimate of the error of `numeric`. */
  uncertainty: number;
}

/** Whether a gradient is that of the loss and, if not, the likely mistake. */
export interface GradReport {
  ok: boolean;
  /** The single parameters that were checked; `parameter` is the array's name, where arrays have names. */
  coordinates: (GradComparison & { parameter?: string; index: number })[];
  /** Along the gradient, where all parameters change at once: it shows an error that is small in each of them. */
  direction: GradComparison;
  suspicion?: GradSuspicion;
  /** The result in a sentence. */
  message: string;
}

const OPTIONS = new Set([
  'parameters',
  'gradient',
  'loss',
  'forward',
  'batch',
  'logits',
  'logps',
  'refLogits',
  'inputIds',
  'rewards',
  'coordinates',
  'seed',
  'epsilon',
  'tolerance',
]);
const OPTIONS_OF_BATCH = ['logits', 'logps', 'refLogits', 'inputIds', 'rewards'] as const;

interface Step {
  /** By the caller's loss, or by the forward pass and the update. */
  lossAt: (parameters: Parameters) => Promise<number>;
  forward: ((parameters: Parameters) => Promise<Float32Array>) | undefined;
  batch: Batch | undefined;
}

/** The batch with plain arrays; the update checks the rest. */
function plainBatch(given: CriticBatch | PolicyBatch | undefined): Batch | undefined {
  if (given === undefined) return undefined;
  if (!isRecord(given)) throw typeError('ERR_ARG_TYPE', expected('an object', 'batch', given));
  const batch = { ...given };
  unwrapTensors(batch);
  const plain = ([name, value]: [string, unknown]) => {
    if (classOf(value) === undefined) return [name, value];
    checkAttached(name, value as Float32Array);
    const view = hostView(name, value as Float32Array);
    return [name, name === 'mask' ? maskBytes(view as unknown as Mask) : view];
  };
  return Object.fromEntries(Object.entries(batch).map(plain)) as unknown as Batch;
}

function checkStep(options: CheckGradOptions<never>): Step {
  const { loss, forward } = options;
  const batch = plainBatch(options.batch);
  for (const [name, f] of [['loss', loss] as const, ['forward', forward] as const]) {
    if (f !== undefined && typeof f !== 'function') throw typeError('ERR_ARG_TYPE', expected('a function', name, f));
  }
  if (forward === undefined && batch !== undefined) {
    throw typeError('ERR_ARG_TYPE', expected('a function, since batch is given,', 'forward', undefined));
  }
  if (forward !== undefined && batch === undefined) {
    throw typeError('ERR_ARG_TYPE', expected('an object, since forward is given,', 'batch', undefined));
  }
  if (loss === undefined && forward === undefined) {
    throw typeError('ERR_ARG_TYPE', expected('a function, since forward and batch are not given,', 'loss', undefined));
  }
  for (const name of OPTIONS_OF_BATCH) {
    if (batch === undefined && options[name] !== undefined) {
      throw typeError('ERR_UNKNOWN_OPTION', `Expected no ${name} without forward and batch but received one`);
    }
  }
  const logitsAt =
    forward &&
    (async (parameters: Parameters) => {
      const name = 'the result of forward';
      return hostView(name, float32(name, await forward(parameters as never)));
    });
  const lossAt = async (parameters: Parameters) =>
    loss === undefined
      ? updateLoss(batch as Batch, await (logitsAt as NonNullable<typeof logitsAt>)(parameters))
      : numberOf(await loss(parameters as never));
  return { lossAt, forward: logitsAt, batch };
}

function numberOf(result: unknown): number {
  const value = typeof result === 'object' && result !== null ? (result as { loss: unknown }).loss : result;
  if (typeof value === 'number') return value;
  const rule = 'a number or an object whose loss is a number';
  throw typeError('ERR_ARG_TYPE', expected(rule, 'the result of loss', result));
}

/** The mistakes that leave loss and gradient consistent: they show without a change of the parameters. */
function explainConsistent(options: CheckGradOptions, batch: Batch, logits: Float32Array): Explanation | undefined {
  const { labels, mask, ignoreIndex, temperature, softcap } = batch;
  const head = { labels, mask, ignoreIndex, temperature, softcap };
  if (options.logits !== undefined) {
    const given = hostView('logits', float32('logits', options.logits, logits.length));
    const at = given.findIndex((x, i) => !(distance(x, logits[i] as number, 1e-3) <= 1));
    if (at >= 0) {
      const [stale, fresh] = [given[at] as number, logits[at] as number].map(rounded);
      const what = `logits[${at}] is ${stale} but forward returns ${fresh}`;
      return ['stale-logits', `${what}: logits are of other parameters, or were overwritten by their gradient.`];
    }
  }
  if (options.inputIds !== undefined) {
    const inputIds = hostView('inputIds', int32('inputIds', options.inputIds, labels.length));
    const shift = explainShift(batch, inputIds);
    if (shift !== undefined) return ['labels-shifted', shift];
  }
  const refLogps = 'refLogps' in batch ? batch.refLogps : undefined;
  if (refLogps !== undefined) {
    const counts = (i: number) => mask?.[i] !== 0 && Number(labels[i]) !== (ignoreIndex ?? IGNORE_INDEX);
    const above = aboveZero(refLogps, counts);
    if (above !== undefined) return ['not-log-probs', `batch.refLogps${above}`];
  }
  if (options.rewards !== undefined) {
    const items = ('trajectoryOffsets' in batch ? batch.trajectoryOffsets : batch.turnOffsets).length - 1;
    const swapped = explainRewards(batch, comparable('rewards', options.rewards, items));
    if (swapped !== undefined) return ['pairs-swapped', swapped];
  }
  if (options.logps !== undefined) {
    const { suspicion, message } = checkLogps({ ...head, logits, logps: options.logps });
    if (suspicion !== undefined) return [suspicion, `logps: ${message}`];
  }
  if (options.refLogits !== undefined) {
    if (refLogps === undefined) throw typeError('ERR_UNKNOWN_OPTION', 'Expected no refLogits without batch.refLogps');
    const refLogits = hostView('refLogits', float32('refLogits', options.refLogits, logits.length));
    const { suspicion, message } = checkLogps({ ...head, logits: refLogits, logps: refLogps });
    if (suspicion !== undefined) return [suspicion, `batch.refLogps: ${message}`];
  }
  return undefined;
}

/** Whether the unmasked labels are not the next inputs but the same ones or those after the next. */
function explainShift({ labels, mask, ignoreIndex = IGNORE_INDEX }: Batch, inputIds: Int32Array): string | undefined {
  const unmasked = Array.from(inputIds.keys()).filter((i) => mask?.[i] !== 0 && Number(labels[i]) !== ignoreIndex);
  /** The share of labels that are the input `by` rows on. */
  const share = (by: number) => {
    const rows = unmasked.filter((i) => i + by < inputIds.length);
    return rows.filter((i) => Number(labels[i]) === inputIds[i + by]).length / rows.length;
  };
  if (unmasked.length < 4 || share(1) > 0.5) return undefined;
  if (share(0) > 0.9) return 'labels[i] is inputIds[i]: the shift by one is missing.';
  return share(2) > 0.9 ? 'labels[i] is inputIds[i + 2]: the shift by one was applied twice.' : undefined;
}

/** Whether most pairs prefer the item of the lower reward. */
function explainRewards({ chosen, rejected }: Batch, rewards: Float32Array | Float64Array): string | undefined {
  const differences = Array.from(chosen, (k, p) => (rewards[k] as number) - (rewards[rejected[p] as number] as number));
  const [lower, higher] = [differences.filter((d) => d < 0).length, differences.filter((d) => d > 0).length];
  if (lower <= higher) return undefined;
  return `In ${lower} of ${chosen.length} pairs the chosen item has the lower reward: chosen and rejected are swapped.`;
}

/** The relative difference of two losses at the same parameters that sums in another order may have. */
const REPEATABILITY = 1e-5;
const NOISE_POINTS = [-4, -3, -2, -1, 0, 1, 2, 3, 4];
/** Where two losses are compared besides, in steps along the gradient: at one point, one number explains any loss. */
const SAMPLE_POINTS = [-8, -2, 2, 8];

/**
 * Checks a training step's gradient against finite differences of its loss, and names the likely mistake.
 *
 *     gradient_i  against  (loss(parameters + h e_i) - loss(parameters - h e_i)) / 2h,   h -> 0 by Ridders' method
 *
 * The check compares derivatives along single parameters and along the gradient; the latter shows errors that are small
 * in each parameter. It measures the rounding error of the loss and allows for it. Give `loss`, or `forward` and
 * `batch`: the latter, with `logits`, `logps`, `refLogits` and `inputIds` where they exist, also show mistakes that
 * leave loss and gradient consistent. The check takes dozens of forward passes: use a small batch.
 *
 * @param options.parameters Float32Array or Float64Array, or an object of them; `gradient` in the same shape.
 * @param options.loss parameters -> loss; or `forward`, parameters -> logits [N, V], and `batch`, the other options.
 * @returns whether all derivatives agree, what was compared, and the mistake that explains the difference.
 * @throws TypeError or RangeError naming a wrong argument; what `loss` or `forward` throw.
 * @see Ridders, Accurate computation of F'(x) and F'(x) F''(x), 1982; docs/guide/checking.md
 * @example
 * const parameters = new Float64Array([1, 2]);
 * const report = await checkGrad({ parameters, gradient: new Float64Array([2, -4]), loss: ([x, y]) => x * x + y * y });
 * // report.ok is false
 */
export async function checkGrad<P extends Parameters>(options: CheckGradOptions<P>): Promise<GradReport> {
  const given = checkOptions('checkGrad', options, OPTIONS) as unknown as CheckGradOptions;
  const checked = checkParameters(given.parameters, given.gradient);
  const { lossAt, forward, batch } = checkStep(given as never);
  const count = integer('coordinates', given.coordinates, 8, 1, 2 ** 16);
  const seed = integer('seed', given.seed, 0, 0, 2 ** 32 - 1);
  const epsilon = positive('epsilon', given.epsilon, 2 ** -5);
  const tolerance = positive('tolerance', given.tolerance, 0.01);
  const { arrays, gradients, names, assemble } = checked;
  if (arrays.every(({ length }) => length === 0)) {
    throw rangeError('ERR_ARG_LENGTH', 'Expected at least 1 element for parameters but received none');
  }

  const loss = await lossAt(assemble(arrays));
  const again = await lossAt(assemble(arrays));
  const logits = forward && Float32Array.from(await forward(assemble(arrays)));
  if (batch && logits) updateLoss(batch, logits); // throws for a wrong batch, which `loss` may not read
  const maxGradient = Math.max(...gradients.map(maxAbs));
  const zeroGradients = zeroGradientArrays(checked);
  const others = [...names.keys()].filter((k) => !zeroGradients.includes(k));
  const along = directionalProbe(checked, others.length > 0 ? others : zeroGradients, seed);
  const notCompared = { ...along, numeric: NaN, error: NaN, uncertainty: Infinity, step: 0 };
  if (!Number.isFinite(loss) || gradients.some((array) => !array.every(Number.isFinite))) {
    const what = Number.isFinite(loss) ? 'the gradient has numbers that are not' : `the loss is ${loss}`;
    return reportOf([], notCompared, ['not-finite', `Loss and gradient must be finite but ${what}.`]);
  }
  if (Math.abs(loss - again) > REPEATABILITY * Math.abs(loss)) {
    const why = `The loss at the same parameters is ${loss} and then ${again}: turn off dropout and other randomness.`;
    return reportOf([], notCompared, ['not-deterministic', why]);
  }

  const nearby: number[] = [];
  for (const i of NOISE_POINTS) nearby.push(i === 0 ? loss : await lossAt(along.move((i * epsilon) / 16)[0]));
  // At least some rounding: that of nine values may be 0 by chance.
  const noise = Math.max(noiseOf(nearby), 2 ** -27 * Math.abs(loss));
  const evaluate = async (probe: Probe): Promise<ProbeResult> => {
    const difference = async (h: number) => {
      const [[above, plus], [below, minus]] = [probe.move(h), probe.move(-h)];
      return ((await lossAt(above)) - (await lossAt(below))) / (plus - minus);
    };
    const { value: numeric, uncertainty, step } = await derivative(difference, epsilon * probe.scale, noise);
    return { ...probe, numeric, uncertainty, step, error: Math.abs(probe.analytic - numeric) };
  };
  const direction = await evaluate(along);
  const coordinates: ProbeResult[] = [];
  for (const probe of coordinateProbes(checked, count, seed)) coordinates.push(await evaluate(probe));
  const zeros: ProbeResult[] = [];
  for (const k of zeroGradients) zeros.push(await evaluate(directionalProbe(checked, [k], seed)));

  const isWrong = ({ analytic, numeric, error, uncertainty, index }: ProbeResult) => {
    const relative = tolerance * Math.max(Math.abs(analytic), Math.abs(numeric));
    const rounding = index < 0 ? 0 : 1e-6 * maxGradient;
    return !(error <= relative + rounding + 2 * uncertainty);
  };
  const wrong = [direction, ...coordinates, ...zeros].filter(isWrong);
  const explainConsistency = async () => {
    if (!batch || !logits || !forward) return undefined;
    const found = explainConsistent(given, batch, logits);
    if (found !== undefined || !isOtherLoss({ loss, logits }, batch)) return found;
    const samples = [{ loss, logits }];
    for (const t of SAMPLE_POINTS) {
      const [moved] = along.move(t * epsilon);
      samples.push({ loss: await lossAt(moved), logits: Float32Array.from(await forward(moved)) });
    }
    return explainLoss(samples, batch);
  };
  const zeroNames = zeroGradients.map((k) => names[k] as string);
  const explained = (await explainConsistency()) ?? explainZeros(wrong, zeroNames);
  if (explained !== undefined) return reportOf(coordinates, direction, explained);
  if (wrong.length > 0) {
    const probes = [direction, ...coordinates];
    const [suspicion, why] = (await explainGradient({ probes, direction, batch, logits, forward })) ?? [];
    const { parameter, index, analytic, numeric } = wrong.reduce((a, b) => (b.error > a.error ? b : a));
    const where = index < 0 ? 'along the gradient' : `at ${parameter}[${index}]`;
    const values = `${rounded(analytic)} by the gradient and ${rounded(numeric)} by finite differences`;
    const what = `The gradient disagrees with the loss: the derivative ${where} is ${values}.`;
    return reportOf(coordinates, direction, [suspicion, `${what} ${why ?? 'No known mistake explains it.'}`]);
  }
  if (maxGradient > 0 && !(direction.uncertainty <= 0.25 * Math.abs(direction.analytic))) {
    const value = `${rounded(direction.numeric)} +- ${rounded(direction.uncertainty)}`;
    const why = `The derivative of the loss along the gradient is too uncertain to compare: ${value}.`;
    return reportOf(coordinates, direction, ['inconclusive', why]);
  }
  return reportOf(coordinates, direction);
}

const comparison = ({ analytic, numeric, error, uncertainty }: GradComparison): GradComparison => ({
  analytic,
  numeric,
  error,
  uncertainty,
});

function reportOf(
  probes: readonly ProbeResult[],
  direction: GradComparison,
  found?: readonly [GradSuspicion | undefined, string],
): GradReport {
  const coordinates = probes.map(({ parameter, index, ...rest }) => ({
    ...(parameter === '' ? {} : { parameter }),
    index,
    ...comparison(rest),
  }));
  const common = { ok: found === undefined, coordinates, direction: comparison(direction) };
  if (found === undefined) {
    return {
      ...common,
      message: `The gradient agrees with the loss at ${probes.length} parameters and along the gradient`,
    };
  }
  const [suspicion, message] = found;
  return suspicion === undefined ? { ...common, message } : { ...common, suspicion, message };
}
