// Which common mistake a wrong gradient looks like: zeros, a factor, or the right gradient of another loss.
import type { CriticBatch, PolicyBatch } from '../adapters/adapter.js';
import { IGNORE_INDEX } from '../args/labels.js';
import { criticUpdate, policyUpdate, type UpdateResult } from '../ops/preference-update.js';
import { tokenLogps } from '../ops/token-logps.js';
import { distance, type LogpsSuspicion, least, rounded, shifted } from './check-logps.js';
import type { Tried } from './probes.js';

/** The mistake that a wrong gradient looks like. */
export type GradSuspicion =
  | LogpsSuspicion
  | 'gradient-not-passed'
  | 'accumulated-twice'
  | 'wrong-denominator'
  | 'pairs-swapped'
  | 'stale-logits'
  | 'not-deterministic'
  | 'not-finite'
  | 'inconclusive';

export type Batch = CriticBatch | PolicyBatch;
export type Explanation = readonly [suspicion: GradSuspicion, why: string];

interface Guess {
  suspicion: GradSuspicion;
  what: string;
  batch: Batch;
}

/** How near a wrong gradient must be to that of a guess, relative to its size. */
const NEAR = 0.03;

export function updateLoss(batch: Batch, logits: Float32Array): number {
  const options = { ...batch, logits } as never;
  const ofTurns = (batch as CriticBatch).trajectoryOffsets === undefined;
  return (ofTurns ? policyUpdate(options) : (criticUpdate(options) as UpdateResult)).loss;
}

/** The loss of a batch that may be none at all. */
function lossOf(batch: Batch, logits: Float32Array): number {
  try {
    return updateLoss(batch, logits);
  } catch {
    return NaN;
  }
}

/** What the step may have computed with instead. */
function guessesOf(batch: Batch, logits: Float32Array): Guess[] {
  const ignored = batch.ignoreIndex ?? IGNORE_INDEX;
  const guesses: Guess[] = [];
  const guess = (suspicion: GradSuspicion, what: string, change: object) =>
    guesses.push({ suspicion, what, batch: { ...batch, ...change } as Batch });
  for (const by of [-1, 1]) {
    const change = { labels: shifted(batch.labels, by, ignored), allowEmptyTurns: true };
    guess('labels-shifted', `with labels[i ${by < 0 ? '-' : '+'} 1] in row i: labels are shifted by one`, change);
  }
  if (batch.mask) guess('mask-forgotten', 'without the mask', { mask: undefined });
  guess('pairs-swapped', "with chosen and rejected in each other's place", {
    chosen: batch.rejected,
    rejected: batch.chosen,
  });
  const without = {
    refLogps: undefined,
    refLogits: undefined,
    refHidden: undefined,
    refWeight: undefined,
    refBias: undefined,
  };
  const none = { ...without, refDtype: undefined, refLogps: new Float32Array(batch.labels.length) };
  guess('another-model', 'without the reference', none);
  const { labels, mask, ignoreIndex, temperature } = batch;
  const { logps } = tokenLogps({ logits, labels, mask, ignoreIndex, temperature });
  guess('another-model', 'with the trained model for its own reference', { ...none, refLogps: logps });
  const [option, names] =
    (batch as CriticBatch).trajectoryOffsets === undefined
      ? ['reduction', ['sum', 'mean']]
      : ['normalization', ['turn-mean', 'token-mean', 'sum']];
  for (const name of names) guess('wrong-denominator', `with ${option} '${name}'`, { [option as string]: name });
  guess('wrong-denominator', 'summed over pairs instead of averaged', { pairDenominator: 1 });
  return guesses;
}

/** Why a loss that the caller computes himself is not the update's, if that can be told. */
export function explainLoss(loss: number, batch: Batch, logits: Float32Array): Explanation | undefined {
  const off = (other: Batch) => distance(lossOf(other, logits), loss, 1e-5);
  if (off(batch) <= 10) return undefined;
  const found = guessesOf(batch, logits).find((guess) => off(guess.batch) <= 1);
  if (found !== undefined) return [found.suspicion, `The loss is what the update gives ${found.what}.`];
  const temperature = fitted(batch, (other) => off(other));
  if (off({ ...batch, temperature }) > 1 || temperature === undefined) return undefined;
  return ['another-temperature', `The loss is what the update gives with temperature ${rounded(temperature)}.`];
}

const fitted = (batch: Batch, off: (batch: Batch) => number): number | undefined => {
  const numbered = (temperature: number) => {
    const value = off({ ...batch, temperature });
    return Number.isNaN(value) ? Infinity : value;
  };
  return least(numbered, batch.temperature ?? 1);
};

/** Whether the gradient is this factor times the derivative everywhere. */
function proportional(tried: readonly Tried[], factor: number): boolean {
  return tried.every(
    ({ analytic, numeric, uncertainty }) =>
      Math.abs(analytic - factor * numeric) <= NEAR * Math.abs(analytic) + 2 * Math.abs(factor) * uncertainty,
  );
}

export function explainZeros(wrong: readonly Tried[]): Explanation | undefined {
  if (wrong.length === 0 || wrong.some(({ analytic }) => analytic !== 0)) return undefined;
  const arrays = [...new Set(wrong.map(({ parameter }) => parameter))].filter((name) => name !== '');
  const where = arrays.length > 0 ? ` to ${arrays.join(', ')}` : '';
  return ['gradient-not-passed', `It is 0 where the loss does depend on the parameters: it is not passed on${where}.`];
}

/** What the gradient may have been multiplied by. */
function factorsOf(batch: Batch | undefined, words: number): [number, string][] {
  if (batch === undefined) return [];
  const { labels, mask, turnOffsets, chosen, beta = 0.1, temperature = 1 } = batch;
  const ignored = batch.ignoreIndex ?? IGNORE_INDEX;
  const counted =
    labels.length - labels.filter(((x: never, i: number) => mask?.[i] === 0 || Number(x) === ignored) as never).length;
  const factors: [number, string][] = [
    [chosen.length, 'the number of pairs'],
    [labels.length, 'the number of rows'],
    [counted, 'the number of rows that count'],
    [turnOffsets.length - 1, 'the number of turns'],
    [words, 'the number of words'],
    [beta, 'beta'],
    [temperature, 'the temperature'],
  ];
  return factors.flatMap(
    ([x, what]) =>
      [
        [x, what],
        [1 / x, `1 / ${what}`],
      ] as [number, string][],
  );
}

export interface Given {
  tried: readonly Tried[];
  /** Of the gradient itself: the best to tell a factor from. */
  direction: Tried;
  batch: Batch | undefined;
  logits: Float32Array | undefined;
  forward: ((parameters: never) => Promise<Float32Array>) | undefined;
}

/** Why a gradient is not that of its loss, if that can be told. */
export async function explainGradient({
  tried,
  direction,
  batch,
  logits,
  forward,
}: Given): Promise<Explanation | undefined> {
  const factor = direction.analytic / direction.numeric;
  const scaled = Number.isFinite(factor) && proportional(tried, factor);
  const is = (x: number) => scaled && Math.abs(factor / x - 1) <= NEAR;
  const names = factorsOf(batch, (logits?.length ?? 0) / (batch?.labels.length ?? 1))
    .filter(([x]) => is(x) && x !== 1)
    .map(([, what]) => what);
  const alias = names.length > 0 ? `, or multiplied by ${names.join(' or ')}` : '';
  if (is(-1)) return ['sign-flipped', "It is the negative of the loss's gradient."];
  if (is(2)) return ['accumulated-twice', `It is twice the loss's gradient: added up twice, not cleared${alias}.`];
  const wrongScale: Explanation = [
    'wrong-denominator',
    `It is ${rounded(factor)} times the loss's gradient: divided by a wrong denominator${alias}.`,
  ];
  if (names.length > 0) return wrongScale;
  if (batch !== undefined && forward !== undefined && logits !== undefined) {
    const other = await otherLoss(tried, batch, logits, forward);
    if (other !== undefined) return other;
  }
  return scaled ? wrongScale : undefined;
}

/** The loss of which it would be the gradient. */
async function otherLoss(
  tried: readonly Tried[],
  batch: Batch,
  logits: Float32Array,
  forward: (parameters: never) => Promise<Float32Array>,
): Promise<Explanation | undefined> {
  const sides: { probe: Tried; width: number; above: Float32Array; below: Float32Array }[] = [];
  for (const probe of tried) {
    const [[up, far], [down, near]] = [probe.path(probe.step), probe.path(-probe.step)];
    const above = Float32Array.from(await forward(up as never));
    sides.push({ probe, width: far - near, above, below: Float32Array.from(await forward(down as never)) });
  }
  /** The worst of all, relative to what is near. */
  const off = (guess: Batch) => {
    const each = sides.map(({ probe: { analytic, uncertainty, numeric }, width, above, below }) => {
      const slope = (lossOf(guess, above) - lossOf(guess, below)) / width;
      const size = Math.max(Math.abs(analytic), Math.abs(slope), 0.01 * Math.abs(numeric));
      return Math.abs(analytic - slope) / (NEAR * size + 2 * uncertainty);
    });
    return each.some(Number.isNaN) ? Infinity : Math.max(...each);
  };
  const guesses = guessesOf(batch, logits).map((guess) => ({ ...guess, off: off(guess.batch) }));
  const best = guesses.reduce((a, b) => (b.off < a.off ? b : a));
  if (best.off <= 1) return [best.suspicion, `It is the gradient of the loss ${best.what}.`];
  const temperature = fitted(batch, off);
  if (temperature === undefined || off({ ...batch, temperature }) > 1) return undefined;
  return ['another-temperature', `It is the gradient of the loss with temperature ${rounded(temperature)}.`];
}
