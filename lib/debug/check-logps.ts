import { classOf, float32, hostView, plainView } from '../args/arrays.js';
import { type FloatArray, newArray } from '../args/dtypes.js';
import { checkLogits, checkTemperature, LOGITS_HEAD, type LogitsHead, type TemperatureOption } from '../args/head.js';
import { checkLabels, IGNORE_INDEX, LABEL_OPTIONS, type LabelOptions, type Labels } from '../args/labels.js';
import { checkOptions } from '../args/options.js';
import { positive } from '../args/scalars.js';
import { tokenLogps } from '../ops/token-logps.js';

/** What log-probs that are not those of the logits look like. */
export type LogpsSuspicion =
  | 'labels-shifted'
  | 'mask-forgotten'
  | 'another-temperature'
  | 'another-model'
  | 'not-normalized'
  | 'sign-flipped';

/** What `checkLogps` takes. */
export interface CheckLogpsOptions extends LogitsHead, TemperatureOption, LabelOptions {
  /** [N], the log-probs of the labels as somebody else has them: the sampler, another framework, the reference's file. */
  logps: Float32Array;
  /** How far a log-prob may be off, absolutely and relative to its size; 0.001 by default. 16-bit samplers need more. */
  tolerance?: number | undefined;
}

/** Whether log-probs are those of the logits and, if not, what they look like. */
export interface LogpsReport {
  ok: boolean;
  /** The row that is furthest off, its log-prob from the logits and the one that came; -1 where no row counts. */
  worst: { row: number; expected: number; received: number };
  suspicion?: LogpsSuspicion;
  /** All of it in a sentence. */
  message: string;
}

const OPTIONS = new Set<string>([...LOGITS_HEAD, ...LABEL_OPTIONS, 'logps', 'tolerance']);
/** Enough to tell a mistake; the temperature is looked for in many passes. */
const MOST_ROWS = 256;

/** How far apart, in tolerances. */
export const distance = (a: number, b: number, tolerance: number): number =>
  Object.is(a, b) ? 0 : Math.abs(a - b) / (tolerance * Math.max(1, Math.abs(a), Math.abs(b)));

/** As many digits as say something. */
export const rounded = (x: number): string => String(Number(x.toPrecision(3)));

/** labels[i + by] in row i: what a shift that is missing or done twice makes of labels. */
export function shifted<L extends Labels>(labels: L, by: number, ignoreIndex: number): L {
  const none = typeof labels[0] === 'bigint' ? BigInt(ignoreIndex) : ignoreIndex;
  return plainView(labels).map(((_: never, i: number) => labels[i + by] ?? none) as never) as L;
}

/**
 * Checks log-probs from elsewhere against logits, and says which of the common mistakes a difference looks like.
 *
 *     |tokenLogps(logits, labels).logps_i - logps_i| <= tolerance * max(1, |logp_i|)   in every row that counts
 *
 * Log-probs of a sampler, of a file or of another framework are of these logits, or they are of labels shifted by one, of
 * another temperature, of masked rows, with the sign of a loss, not normalized, or of another model.
 *
 * @param options.logits [N, V], as in `tokenLogps`, with `labels`, `mask` and `temperature` as the training step has them.
 * @param options.logps [N] what is to be checked, nats.
 * @param options.tolerance 0.001 by default.
 * @returns whether all rows agree, the worst row, and the mistake that would explain the difference.
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
  const head = checkLogits(given, count, checkTemperature(given));
  const logits = hostView('logits', head.logits);
  const received = hostView('logps', float32('logps', given.logps, count));
  const tolerance = positive('tolerance', given.tolerance, 1e-3);
  const { logps: _, tolerance: __, ...rest } = given;
  const call = { ...rest, logits, labels, mask };
  const ours = tokenLogps(call).logps;

  const ignored = given.ignoreIndex ?? IGNORE_INDEX;
  const counts = (i: number) => mask?.[i] !== 0 && Number(labels[i]) !== ignored;
  const rows = Array.from({ length: count }, (_, i) => i).filter(counts);
  const off = (i: number) => distance(ours[i] as number, received[i] as number, tolerance);
  const bad = rows.filter((i) => !(off(i) <= 1));
  const row = rows.reduce((worst, i) => (worst < 0 || !(off(i) <= off(worst)) ? i : worst), -1);
  const worst = { row, expected: ours[row] ?? 0, received: received[row] ?? 0 };
  if (bad.length === 0) return { ok: true, worst, message: `All ${rows.length} log-probs that count agree` };

  const first = bad.slice(0, MOST_ROWS);
  const compact = {
    ...call,
    ...rowsOf(logits, first, head.rowStride, head.vocabSize),
    rowStride: undefined,
    mask: undefined,
  };
  const evidence = {
    first,
    labels,
    ignored,
    received,
    ours,
    tolerance,
    compact,
    temperature: given.temperature ?? 1,
  };
  const [suspicion, why] = explain(evidence);
  const what = `${bad.length} of ${rows.length} log-probs are not those of the logits; in row ${row} the logits say`;
  const numbers = `${rounded(worst.expected)} and logps ${rounded(worst.received)}`;
  return { ok: false, worst, suspicion, message: `${what} ${numbers}. ${why}` };
}

/** Only these rows of the logits, one after the other. */
function rowsOf(logits: FloatArray, rows: number[], stride: number, vocab: number) {
  const all = logits as Float32Array;
  const some = newArray(classOf(all) as string, rows.length * vocab) as Float32Array;
  for (const [i, row] of rows.entries()) some.set(all.subarray(row * stride, row * stride + vocab), i * vocab);
  return { logits: some, vocabSize: vocab };
}

interface Evidence {
  first: number[];
  labels: Labels;
  ignored: number;
  received: Float32Array;
  ours: Float32Array;
  tolerance: number;
  compact: Omit<CheckLogpsOptions, 'logps' | 'tolerance' | 'labels'>;
  temperature: number;
}

function explain(evidence: Evidence): [LogpsSuspicion, string] {
  const { first, labels, ignored, received, ours, tolerance, compact } = evidence;
  // All of these rows; `at` is a row's place among the bad ones.
  const agree = (guess: (row: number, at: number) => number, has: (row: number) => boolean = () => true) => {
    const near = (row: number, at: number) => distance(guess(row, at), received[row] as number, tolerance) <= 1;
    return first.some(has) && first.every((row, at) => !has(row) || near(row, at));
  };
  const under = (some: Labels, temperature: number | undefined) =>
    tokenLogps({ ...compact, labels: some, temperature }).logps;
  const those = (all: Labels) => Int32Array.from(first, (row) => Number(all[row]));

  if (agree(() => 0)) return ['mask-forgotten', 'They are 0 there, as in rows that a mask drops, but no mask says so.'];
  if (agree((row) => -(ours[row] as number))) return ['sign-flipped', 'They are of the opposite sign, as a loss is.'];
  for (const by of [-1, 1]) {
    const moved = shifted(labels, by, ignored);
    const logps = under(those(moved), compact.temperature);
    if (
      agree(
        (_, at) => logps[at] as number,
        (row) => Number(moved[row]) !== ignored,
      )
    ) {
      return [
        'labels-shifted',
        `They are those of labels[i ${by < 0 ? '-' : '+'} 1] in row i: labels are shifted by one.`,
      ];
    }
    if (
      agree(
        (row) => ours[row + by] as number,
        (row) => !!ours[row + by],
      )
    ) {
      return [
        'labels-shifted',
        `They are those of row i ${by < 0 ? '-' : '+'} 1 in row i: the rows are shifted by one.`,
      ];
    }
  }
  const own = those(labels);
  const spread = (temperature: number) => {
    const logps = under(own, temperature);
    return first.reduce((sum, row, at) => sum + Math.abs((logps[at] as number) - (received[row] as number)), 0);
  };
  const temperature = least(spread, evidence.temperature);
  const there = under(own, temperature);
  // One or two rows have such a temperature by chance.
  if (first.length >= 3 && agree((_, at) => there[at] as number)) {
    return ['another-temperature', `They are those of temperature ${rounded(temperature)}.`];
  }
  const { lse } = tokenLogps({ ...compact, labels: own });
  if (agree((row, at) => (ours[row] as number) + (lse[at] as number))) {
    return ['not-normalized', 'They are the logits of the labels: log sum exp of the row was not subtracted.'];
  }
  return [
    'another-model',
    'No shift, mask or temperature explains it: they look like those of another model or state.',
  ];
}

/** The argument, around and on a logarithmic scale, where f is least. */
export function least(f: (x: number) => number, around: number): number {
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
