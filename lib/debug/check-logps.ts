import { classOf, float32, hostView, plainView } from '../args/arrays.js';
import { type FloatArray, newArray } from '../args/dtypes.js';
import { checkLogits, checkScale, LOGITS_HEAD, type LogitsHead, type ScaleOptions } from '../args/head.js';
import { checkLabels, IGNORE_INDEX, LABEL_OPTIONS, type LabelOptions, type Labels } from '../args/labels.js';
import { checkOptions } from '../args/options.js';
import { positive } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { tokenLogps } from '../ops/token-logps.js';

/** The likely mistake where log-probs are not those of the logits; 'inconclusive' where no row is compared. */
export type LogpsSuspicion =
  | 'labels-shifted'
  | 'mask-forgotten'
  | 'another-temperature'
  | 'another-softcap'
  | 'another-model'
  | 'not-normalized'
  | 'not-log-probs'
  | 'sign-flipped'
  | 'inconclusive';

/** What `checkLogps` takes. */
export interface CheckLogpsOptions extends LogitsHead, ScaleOptions, LabelOptions {
  /** [N], the log-probs of the labels as computed elsewhere: by the sampler, by another framework, in a file. */
  logps: ArrayOrTensor<Float32Array>;
  /** The largest error of a log-prob, absolute and relative; 0.001 by default. 16-bit samplers need more. */
  tolerance?: number | undefined;
}

/** Whether log-probs are those of the logits and, if not, the likely mistake. */
export interface LogpsReport {
  ok: boolean;
  /** The row with the largest error, its log-prob by the logits and the given one; -1 where no row is compared. */
  worst: { row: number; expected: number; received: number };
  suspicion?: LogpsSuspicion;
  /** The result in a sentence. */
  message: string;
}

const OPTIONS = new Set<string>([...LOGITS_HEAD, ...LABEL_OPTIONS, 'logps', 'tolerance']);
/** Softcaps that model configurations have: that of Gemma 2's logits is 30. */
export const KNOWN_SOFTCAPS = [30, 50];

/** The most rows that mistakes are tried on: the search for a temperature takes over 100 passes. */
const MAX_ROWS = 256;

/** The difference of two numbers in multiples of the tolerance, which is relative above 1. */
export const distance = (a: number, b: number, tolerance: number): number =>
  Object.is(a, b) ? 0 : Math.abs(a - b) / (tolerance * Math.max(1, Math.abs(a), Math.abs(b)));

/** Three significant digits. */
export const rounded = (x: number): string => String(Number(x.toPrecision(3)));

/** labels[i + by] in row i: the labels if the shift by one is missing or applied twice. */
export function shifted<L extends Labels>(labels: L, by: number, ignoreIndex: number): L {
  const none = typeof labels[0] === 'bigint' ? BigInt(ignoreIndex) : ignoreIndex;
  return plainView(labels).map(((_: never, i: number) => labels[i + by] ?? none) as never) as L;
}

/**
 * Checks log-probs that were computed elsewhere against logits, and names the likely mistake where they differ.
 *
 *     |tokenLogps(logits, labels).logps_i - logps_i| <= tolerance * max(1, |logp_i|)   in every row that is compared
 *
 * Unmasked rows whose label is not ignored are compared. The check recognizes labels or rows shifted by one, another
 * temperature, masked rows, the sign of a loss, log-probs that are not normalized, and another model.
 *
 * @param options.logits [N, V], as in `tokenLogps`, with the `labels`, `mask` and `temperature` of the training step.
 * @param options.logps [N] the log-probs to check, in nats.
 * @param options.tolerance 0.001 by default.
 * @returns whether all rows agree, the worst row, and the mistake that explains the difference. Without a row to compare, the
 * report is not ok and the suspicion is 'inconclusive'.
 * @throws as `tokenLogps` does.
 * @see docs/guide/checking.md
 * @example
 * const logits = new Float32Array([1, 2, 3, 4]);
 * const labels = new Int32Array([1, 0]);
 * checkLogps({ logits, labels, logps: new Float32Array([-0.3133, -1.3133]) }).ok; // true
 */
export function checkLogps(options: CheckLogpsOptions): LogpsReport {
  const given = checkOptions('checkLogps', options, OPTIONS);
  const checked = checkLabels(given);
  const { rows: count } = checked;
  const labels = hostView('labels', checked.data);
  const mask = hostView('mask', checked.mask);
  const head = checkLogits(given, count, checkScale(given));
  const logits = hostView('logits', head.logits);
  const received = hostView('logps', float32('logps', given.logps, count));
  const tolerance = positive('tolerance', given.tolerance, 1e-3);
  const ignoreIndex = given.ignoreIndex ?? IGNORE_INDEX;
  const { dtype, vocabSize, rowStride } = head;
  const { temperature, softcap } = given;
  const call = { ...{ labels, mask, ignoreIndex }, ...{ logits, dtype, temperature, softcap } };
  const expected = count === 0 ? new Float32Array(0) : tokenLogps({ ...call, vocabSize, rowStride }).logps;

  const isCompared = (i: number) => mask?.[i] !== 0 && Number(labels[i]) !== ignoreIndex;
  const compared = Array.from({ length: count }, (_, i) => i).filter(isCompared);
  const errorAt = (i: number) => {
    const error = distance(expected[i] as number, received[i] as number, tolerance);
    return Number.isNaN(error) ? Infinity : error;
  };
  const mismatches = compared.filter((i) => !(errorAt(i) <= 1));
  if (compared.length === 0) {
    const worst = { row: -1, expected: 0, received: 0 };
    const why = count === 0 ? 'there are no rows' : `all ${count} rows are masked or their labels are ignored`;
    return { ok: false, worst, suspicion: 'inconclusive', message: `No log-prob was compared: ${why}` };
  }
  const row = compared.reduce((worst, i) => (worst < 0 || errorAt(i) > errorAt(worst) ? i : worst), -1);
  const worst = { row, expected: expected[row] ?? 0, received: received[row] ?? 0 };
  if (mismatches.length === 0) {
    return { ok: true, worst, message: `All ${compared.length} compared log-probs agree with the logits` };
  }

  const rows = mismatches.slice(0, MAX_ROWS);
  const [suspicion, why] = explain({
    rows,
    labels,
    ignoreIndex,
    received,
    expected,
    tolerance,
    call: { ...call, ...gatherRows(logits, rows, rowStride, vocabSize), mask: undefined },
    temperature: temperature ?? 1,
  });
  const what = `${mismatches.length} of ${compared.length} log-probs disagree with the logits`;
  const where = `in row ${row} the logits give ${rounded(worst.expected)} but logps has ${rounded(worst.received)}`;
  return { ok: false, worst, suspicion, message: `${what}: ${where}. ${why}` };
}

/** The rows of the logits, one after the other. */
function gatherRows(logits: FloatArray, rows: number[], stride: number, vocabSize: number) {
  const source = logits as Float32Array;
  const gathered = newArray(classOf(source) as string, rows.length * vocabSize) as Float32Array;
  for (const [i, row] of rows.entries()) {
    gathered.set(source.subarray(row * stride, row * stride + vocabSize), i * vocabSize);
  }
  return { logits: gathered, vocabSize };
}

interface Evidence {
  /** The first rows that differ. */
  rows: number[];
  labels: Labels;
  ignoreIndex: number;
  received: Float32Array;
  expected: Float32Array;
  tolerance: number;
  /** `tokenLogps` of these rows alone. */
  call: Omit<CheckLogpsOptions, 'logps' | 'tolerance' | 'labels'>;
  temperature: number;
}

function explain(evidence: Evidence): [LogpsSuspicion, string] {
  const { rows, labels, ignoreIndex, received, expected, tolerance, call } = evidence;
  /** Whether a guess explains all rows in which it is defined, at least one; `at` is the index of `row` in `rows`. */
  const explains = (guess: (row: number, at: number) => number, isDefined: (row: number) => boolean = () => true) => {
    const agrees = (row: number, at: number) => distance(guess(row, at), received[row] as number, tolerance) <= 1;
    return rows.some(isDefined) && rows.every((row, at) => !isDefined(row) || agrees(row, at));
  };
  const labelsOf = (all: Labels) => Int32Array.from(rows, (row) => Number(all[row]));
  const logpsOf = (all: Labels, temperature: number | undefined) =>
    tokenLogps({ ...call, labels: labelsOf(all), temperature }).logps;

  const notFinite = rows.find((row) => !Number.isFinite(received[row]) && Number.isFinite(expected[row]));
  if (notFinite !== undefined) return ['another-model', `logps[${notFinite}] is ${received[notFinite]}.`];
  if (explains(() => 0)) {
    return ['mask-forgotten', 'They are 0, as those of masked rows are, but the rows are not masked here.'];
  }
  if (explains((row) => -(expected[row] as number))) {
    return ['sign-flipped', 'They have the opposite sign, that of a loss.'];
  }
  for (const by of [-1, 1]) {
    const neighbour = `i ${by < 0 ? '-' : '+'} 1`;
    const shiftedLabels = shifted(labels, by, ignoreIndex);
    const logps = logpsOf(shiftedLabels, call.temperature);
    const hasLabel = (row: number) => Number(shiftedLabels[row]) !== ignoreIndex;
    if (explains((_, at) => logps[at] as number, hasLabel)) {
      return ['labels-shifted', `They are those of labels[${neighbour}] in row i: labels are shifted by one.`];
    }
    const hasNeighbour = (row: number) => !!expected[row + by];
    if (explains((row) => expected[row + by] as number, hasNeighbour)) {
      return ['labels-shifted', `They are those of row ${neighbour} in row i: the rows are shifted by one.`];
    }
  }
  for (const softcap of [null, ...KNOWN_SOFTCAPS]) {
    const other = tokenLogps({ ...call, labels: labelsOf(labels), softcap }).logps;
    if (!explains((_, at) => other[at] as number)) continue;
    return [
      'another-softcap',
      softcap === null ? 'They are those without softcap.' : `They are those of softcap ${softcap}.`,
    ];
  }
  const totalError = (temperature: number) => {
    const logps = logpsOf(labels, temperature);
    return rows.reduce((sum, row, at) => sum + Math.abs((logps[at] as number) - (received[row] as number)), 0);
  };
  const temperature = argmin(totalError, evidence.temperature);
  const atTemperature = logpsOf(labels, temperature);
  // Some temperature explains one or two rows by chance.
  if (rows.length >= 3 && explains((_, at) => atTemperature[at] as number)) {
    return ['another-temperature', `They are those of temperature ${rounded(temperature)}.`];
  }
  const { lse } = tokenLogps({ ...call, labels: labelsOf(labels) });
  if (explains((row, at) => (expected[row] as number) + (lse[at] as number))) {
    return ['not-normalized', 'They are the logits of the labels: the lse of the row was not subtracted.'];
  }
  const above = aboveZero(received, (i) => rows.includes(i));
  if (above !== undefined) return ['not-log-probs', `logps${above}`];
  return [
    'another-model',
    'No shift, mask or temperature explains the difference: they are probably of another model or checkpoint.',
  ];
}

/** Where the first number that counts is above 0 by more than rounding, as no log-prob is. */
export function aboveZero(logps: Float32Array, counts: (i: number) => boolean): string | undefined {
  const at = logps.findIndex((x, i) => x > 1e-3 && counts(i));
  return at < 0 ? undefined : `[${at}] is ${rounded(logps[at] as number)}, but a log-prob is at most 0.`;
}

/** The argument of the least f(x): a grid of 2^-4 ... 2^4 times `around`, then ternary search in log x. */
export function argmin(f: (x: number) => number, around: number): number {
  const grid = Array.from({ length: 65 }, (_, i) => around * 2 ** ((i - 32) / 8));
  const values = grid.map(f);
  const at = values.indexOf(Math.min(...values));
  let [low, high] = [Math.log(grid[Math.max(at - 1, 0)] as number), Math.log(grid[Math.min(at + 1, 64)] as number)];
  for (let i = 0; i < 30; i++) {
    const [a, b] = [low + (high - low) / 3, high - (high - low) / 3];
    if (f(Math.exp(a)) < f(Math.exp(b))) high = b;
    else low = a;
  }
  return Math.exp((low + high) / 2);
}
