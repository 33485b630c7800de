// Finds out by finite differences whether a training step's gradient is that of its loss and, where it is not, why.
import type { CriticBatch, PolicyBatch } from '../adapters/adapter.js';
import { checkAttached, classOf, float32, hostView, int32 } from '../args/arrays.js';
import { IGNORE_INDEX } from '../args/labels.js';
import { checkOptions, isRecord } from '../args/options.js';
import { integer, positive } from '../args/scalars.js';
import { expected, rangeError, typeError } from '../errors.js';
import { checkLogps, distance, rounded } from './check-logps.js';
import { derivative, noiseOf } from './derivative.js';
import {
  type Batch,
  explainGradient,
  explainLoss,
  explainZeros,
  type GradSuspicion,
  updateLoss,
} from './explain-grad.js';
import {
  checkParameters,
  largest,
  type Parameters,
  type Probe,
  singles,
  type Tried,
  together,
  unmoved,
} from './probes.js';

export type { GradSuspicion, Parameters };

type Value = number | { readonly loss: number };

/** What `checkGrad` takes: a loss, or a forward pass and a batch, or all three. */
export interface CheckGradOptions<P extends Parameters = Parameters> {
  /** Where the gradient was taken. They are never written: `loss` and `forward` get copies of what is moved. */
  parameters: P;
  /** What the step computed there, in the shape of the parameters. */
  gradient: P;
  /** The loss at some parameters: a number, or a result that has one. */
  loss?: ((parameters: P) => Value | Promise<Value>) | undefined;
  /** The logits [N, V] at some parameters. */
  forward?: ((parameters: P) => Float32Array | Promise<Float32Array>) | undefined;
  /** Everything that the step gives to `criticUpdate` or `policyUpdate` beside the logits. */
  batch?: CriticBatch | PolicyBatch | undefined;
  /** The logits that the step gave to the update: those of these parameters, or stale ones? */
  logits?: Float32Array | undefined;
  /** [N], the log-probs of the labels as a sampler or another framework has them for these parameters. */
  logps?: Float32Array | undefined;
  /** [N, V], logits of the frozen reference: are `batch.refLogps` of these? */
  refLogits?: Float32Array | undefined;
  /** [N], what the model reads in each row, as `packTurns` gives it: are the labels the next ones? */
  inputIds?: Int32Array | undefined;
  /** How many single parameters are tried, beside the direction of the gradient; 8 by default. */
  coordinates?: number | undefined;
  /** Which ones follows from it; 0 by default. */
  seed?: number | undefined;
  /** The first step, relative to the size of an array's numbers; 1/32 by default. It is halved as far as it helps. */
  epsilon?: number | undefined;
  /** The relative error that is no mistake yet, beside what rounding explains; 0.01 by default. */
  tolerance?: number | undefined;
}

/** A derivative as the step says and as the loss says. */
export interface GradComparison {
  analytic: number;
  numeric: number;
  /** |analytic - numeric|. */
  error: number;
  /** How far `numeric` itself may be off. */
  uncertainty: number;
}

/** Whether a gradient is that of the loss and, if not, what the mistake looks like. */
export interface GradReport {
  ok: boolean;
  /** The single parameters that were tried; `parameter` is the array's name, where arrays have names. */
  coordinates: (GradComparison & { parameter?: string; index: number })[];
  /** Along the gradient, where all parameters move at once: what is small in each of them is seen here. */
  direction: GradComparison;
  suspicion?: GradSuspicion;
  /** All of it in a sentence. */
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
  'coordinates',
  'seed',
  'epsilon',
  'tolerance',
]);

interface Ways {
  /** The loss, by the caller's function or by his forward pass and the update. */
  valueAt: (parameters: Parameters) => Promise<number>;
  forward: ((parameters: Parameters) => Promise<Float32Array>) | undefined;
  batch: Batch | undefined;
}

const NEED_A_BATCH = ['logits', 'logps', 'refLogits', 'inputIds'] as const;

/** The batch with plain arrays; what they hold is the update's to check. */
function plainBatch(given: Batch | undefined): Batch | undefined {
  if (given === undefined) return undefined;
  if (!isRecord(given)) throw typeError('ERR_ARG_TYPE', expected('an object', 'batch', given));
  const plain = ([name, value]: [string, unknown]) => {
    if (classOf(value) === undefined) return [name, value];
    checkAttached(name, value as Float32Array);
    return [name, hostView(name, value as Float32Array)];
  };
  return Object.fromEntries(Object.entries(given).map(plain)) as Batch;
}

function checkWays(options: CheckGradOptions<never>): Ways {
  const { loss, forward } = options;
  const batch = plainBatch(options.batch);
  for (const [name, f] of [['loss', loss] as const, ['forward', forward] as const]) {
    if (f !== undefined && typeof f !== 'function') throw typeError('ERR_ARG_TYPE', expected('a function', name, f));
  }
  if ((forward === undefined) !== (batch === undefined)) {
    const [missing, there] = forward === undefined ? ['forward', 'batch'] : ['batch', 'forward'];
    throw typeError('ERR_ARG_TYPE', expected(`one beside ${there}`, missing as string, undefined));
  }
  if (loss === undefined && forward === undefined) {
    throw typeError('ERR_ARG_TYPE', expected('a function, since there are no forward and batch,', 'loss', undefined));
  }
  for (const name of NEED_A_BATCH) {
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
  const valueAt = async (parameters: Parameters) =>
    loss === undefined
      ? updateLoss(batch as Batch, await (logitsAt as NonNullable<typeof logitsAt>)(parameters))
      : numberOf(await loss(parameters as never));
  return { valueAt, forward: logitsAt, batch };
}

function numberOf(result: unknown): number {
  const value = typeof result === 'object' && result !== null ? (result as { loss: unknown }).loss : result;
  if (typeof value === 'number') return value;
  throw typeError('ERR_ARG_TYPE', expected('a number or a result with one', 'the result of loss', result));
}

/** What can be told without moving a parameter. */
async function consistency(options: CheckGradOptions, ways: Ways, logits: Float32Array, loss: number) {
  const batch = ways.batch as Batch;
  const { labels, mask, ignoreIndex, temperature } = batch;
  const head = { labels, mask, ignoreIndex, temperature };
  if (options.logits !== undefined) {
    const given = hostView('logits', float32('logits', options.logits, logits.length));
    const at = given.findIndex((x, i) => !(distance(x, logits[i] as number, 1e-3) <= 1));
    if (at >= 0) {
      const what = `logits[${at}] is ${rounded(given[at] as number)} and forward gives ${rounded(logits[at] as number)}`;
      const why = `${what}: logits of other parameters, or already overwritten by their gradient.`;
      return ['stale-logits', why] as const;
    }
  }
  if (options.inputIds !== undefined) {
    const shift = shiftOf(batch, hostView('inputIds', int32('inputIds', options.inputIds, labels.length)));
    if (shift !== undefined) return ['labels-shifted', shift] as const;
  }
  if (options.logps !== undefined) {
    const { suspicion, message } = checkLogps({ ...head, logits, logps: options.logps });
    if (suspicion !== undefined) return [suspicion, `logps: ${message}`] as const;
  }
  if (options.refLogits !== undefined) {
    if (!('refLogps' in batch)) throw typeError('ERR_UNKNOWN_OPTION', 'Expected no refLogits without batch.refLogps');
    const refLogits = hostView('refLogits', float32('refLogits', options.refLogits, logits.length));
    const reference = { ...head, logits: refLogits, logps: batch.refLogps };
    const { suspicion, message } = checkLogps(reference);
    if (suspicion !== undefined) return [suspicion, `batch.refLogps: ${message}`] as const;
  }
  return explainLoss(loss, batch, logits);
}

/** Whether the labels of the rows that count are not the next inputs but those before or after. */
function shiftOf({ labels, mask, ignoreIndex = IGNORE_INDEX }: Batch, inputIds: Int32Array): string | undefined {
  const counted = Array.from(inputIds.keys()).filter((i) => mask?.[i] !== 0 && Number(labels[i]) !== ignoreIndex);
  const share = (by: number) => {
    const rows = counted.filter((i) => i + by < inputIds.length);
    return rows.filter((i) => Number(labels[i]) === inputIds[i + by]).length / rows.length;
  };
  if (counted.length < 4 || share(1) > 0.5) return undefined;
  if (share(0) > 0.9) return 'labels[i] is inputIds[i]: the shift by one is missing.';
  return share(2) > 0.9 ? 'labels[i] is inputIds[i + 2]: the shift by one was done twice.' : undefined;
}

/** The same value twice is expected, up to sums in another order. */
const REPEATED = 1e-5;
const NOISE_POINTS = [-4, -3, -2, -1, 0, 1, 2, 3, 4];

/**
 * Checks a training step's gradient against finite differences of its loss, and names the mistake that it looks like.
 *
 *     gradient_i  against  (loss(parameters + h e_i) - loss(parameters - h e_i)) / 2h,   h -> 0 by Ridders' method
 *
 * Single parameters are tried, and the direction of the whole gradient, which shows what is too small in each of them. What
 * rounding does to the loss is measured and allowed for. Give `loss`, or `forward` and `batch`: with these the mistakes that
 * leave loss and gradient consistent are found too, from `logits`, `logps`, `refLogits` and `inputIds`, as far as they are
 * there. It takes some dozens of forward passes: check a small batch.
 *
 * @param options.parameters Float32Array or Float64Array, or an object of them; `gradient` in the same shape.
 * @param options.loss parameters -> the loss; or `forward`, parameters -> logits [N, V], and `batch`, the update's other options.
 * @returns whether all agrees, what was compared, and the mistake that would explain the difference.
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
  const ways = checkWays(given as never);
  const count = integer('coordinates', given.coordinates, 8, 1, 2 ** 16);
  const seed = integer('seed', given.seed, 0, 0, 2 ** 32 - 1);
  const epsilon = positive('epsilon', given.epsilon, 2 ** -5);
  const tolerance = positive('tolerance', given.tolerance, 0.01);
  const { arrays, gradients, names, form } = checked;
  if (arrays.every(({ length }) => length === 0)) {
    throw rangeError('ERR_ARG_LENGTH', 'Expected at least 1 element for parameters but received none');
  }

  const { valueAt, forward, batch } = ways;
  const loss = await valueAt(form(arrays));
  const again = await valueAt(form(arrays));
  const logits = forward && Float32Array.from(await forward(form(arrays)));
  if (batch && logits) updateLoss(batch, logits); // which says what is wrong with a batch that `loss` does not see
  const largestGradient = Math.max(...gradients.map(largest));
  const still = unmoved(checked);
  const moving = [...names.keys()].filter((k) => !still.includes(k));
  const all = together(checked, moving.length > 0 ? moving : still, seed);
  const nothing = { ...all, numeric: NaN, error: NaN, uncertainty: Infinity, step: 0 };
  if (!Number.isFinite(loss) || gradients.some((array) => !array.every(Number.isFinite))) {
    return reportOf([], nothing, ['not-finite', `The loss is ${loss}; it and the gradient must be finite.`]);
  }
  if (Math.abs(loss - again) > REPEATED * Math.abs(loss)) {
    const why = `The loss at the same parameters is ${loss} and ${again}: leave out dropout and whatever else is random.`;
    return reportOf([], nothing, ['not-deterministic', why]);
  }

  const near: number[] = [];
  for (const i of NOISE_POINTS) near.push(i === 0 ? loss : await valueAt(all.path((i * epsilon) / 16)[0]));
  // No rounding that nine values happen not to show.
  const noise = Math.max(noiseOf(near), 2 ** -27 * Math.abs(loss));
  const trial = async (probe: Probe): Promise<Tried> => {
    const slope = async (h: number) => {
      const [[above, far], [below, close]] = [probe.path(h), probe.path(-h)];
      return ((await valueAt(above)) - (await valueAt(below))) / (far - close);
    };
    const { value: numeric, uncertainty, step } = await derivative(slope, epsilon * probe.scale, noise);
    return { ...probe, numeric, uncertainty, step, error: Math.abs(probe.analytic - numeric) };
  };
  const direction = await trial(all);
  const tried: Tried[] = [];
  for (const probe of singles(checked, count, seed)) tried.push(await trial(probe));
  const silent: Tried[] = [];
  for (const k of still) silent.push(await trial(together(checked, [k], seed)));

  const isWrong = ({ analytic, numeric, error, uncertainty, index }: Tried) => {
    const relative = tolerance * Math.max(Math.abs(analytic), Math.abs(numeric));
    const rounding = index < 0 ? 0 : 1e-6 * largestGradient;
    return !(error <= relative + rounding + 2 * uncertainty);
  };
  const wrong = [direction, ...tried, ...silent].filter(isWrong);
  const before = batch && logits && (await consistency(given, ways, logits, loss));
  const explained = before ?? explainZeros(wrong);
  if (explained !== undefined) return reportOf(tried, direction, explained);
  if (wrong.length > 0) {
    const guess = await explainGradient({ tried: [direction, ...tried], direction, batch, logits, forward });
    const { parameter, index, analytic, numeric } = wrong.reduce((a, b) => (b.error > a.error ? b : a));
    const where = index < 0 ? 'along the gradient' : `at ${parameter}[${index}]`;
    const what = `The gradient is not that of the loss: ${where} it says ${rounded(analytic)}, the loss ${rounded(numeric)}.`;
    return reportOf(tried, direction, [
      guess?.[0],
      `${what} ${guess?.[1] ?? 'It looks like none of the mistakes known here.'}`,
    ]);
  }
  const blind = largestGradient > 0 && !(direction.uncertainty <= 0.25 * Math.abs(direction.analytic));
  if (blind) {
    const why = `The loss moves too little to tell: by ${rounded(direction.numeric)} +- ${rounded(direction.uncertainty)} along the gradient.`;
    return reportOf(tried, direction, ['inconclusive', why]);
  }
  return reportOf(tried, direction);
}

const comparison = ({ analytic, numeric, error, uncertainty }: GradComparison): GradComparison => ({
  analytic,
  numeric,
  error,
  uncertainty,
});

function reportOf(
  tried: readonly Tried[],
  direction: GradComparison,
  found?: readonly [GradSuspicion | undefined, string],
): GradReport {
  const coordinates = tried.map(({ parameter, index, ...rest }) => ({
    ...(parameter === '' ? {} : { parameter }),
    index,
    ...comparison(rest),
  }));
  const common = { ok: found === undefined, coordinates, direction: comparison(direction) };
  if (found === undefined) {
    return { ...common, message: `The gradient is that of the loss, at ${tried.length} parameters and along itself` };
  }
  const [suspicion, message] = found;
  return suspicion === undefined ? { ...common, message } : { ...common, suspicion, message };
}
