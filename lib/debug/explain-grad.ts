// The likely mistake behind a wrong gradient: zeros, a factor, or the gradient of another loss.
import type { CriticBatch, PolicyBatch } from '../adapters/adapter.js';
import { IGNORE_INDEX } from '../args/labels.js';
import type { WithArrays } from '../args/tensors.js';
import { criticUpdate, policyUpdate, type UpdateResult } from '../ops/preference-update.js';
import { tokenLogps } from '../ops/token-logps.js';
import { argmin, distance, KNOWN_SOFTCAPS, type LogpsSuspicion, rounded, shifted } from './check-logps.js';
import type { ProbeResult } from './probes.js';

/** The likely mistake behind a wrong gradient. */
export type GradSuspicion =
  | LogpsSuspicion
  | 'another-beta'
  | 'weights-forgotten'
  | 'gradient-not-passed'
  | 'accumulated-twice'
  | 'wrong-denominator'
  | 'pairs-swapped'
  | 'stale-logits'
  | 'not-deterministic'
  | 'not-finite';

/** With arrays in the place of tensors. */
type Plain<T> = T extends unknown ? Omit<WithArrays<T>, 'mask'> & { mask?: Uint8Array | undefined } : never;

export type Batch = Plain<CriticBatch | PolicyBatch>;
export type Explanation = readonly [suspicion: GradSuspicion, why: string];

/** A mistake, and the batch whose loss the step computes if it makes it. */
interface Guess {
  suspicion: GradSuspicion;
  what: string;
  batch: Batch;
}

/** How far a wrong gradient may be from that of a guess, relative to its size. */
const GUESS_TOLERANCE = 0.03;

const isCritic = (batch: Batch): batch is Plain<CriticBatch> => (batch as CriticBatch).trajectoryOffsets !== undefined;

export function updateLoss(batch: Batch, logits: Float32Array): number {
  const options = { ...batch, logits } as never;
  return (isCritic(batch) ? (criticUpdate(options) as UpdateResult) : policyUpdate(options)).loss;
}

/** The loss of a batch that may be invalid. */
function lossOrNaN(batch: Batch, logits: Float32Array): number {
  try {
    return updateLoss(batch, logits);
  } catch {
    return NaN;
  }
}

function guessesOf(batch: Batch, logits: Float32Array): Guess[] {
  const { labels, mask, ignoreIndex = IGNORE_INDEX, temperature, softcap, chosen, rejected } = batch;
  const guesses: Guess[] = [];
  const guess = (suspicion: GradSuspicion, what: string, change: object) =>
    guesses.push({ suspicion, what, batch: { ...batch, ...change } as Batch });
  for (const by of [-1, 1]) {
    const change = { labels: shifted(labels, by, ignoreIndex), allowEmptyTurns: true };
    guess('labels-shifted', `with labels[i ${by < 0 ? '-' : '+'} 1] in row i: labels are shifted by one`, change);
  }
  const drops = (m: number, i: number) => m === 0 && Number(labels[i]) !== ignoreIndex;
  if (mask?.some(drops)) guess('mask-forgotten', 'without the mask', { mask: undefined });
  if (batch.tokenWeights) guess('weights-forgotten', 'without tokenWeights', { tokenWeights: undefined });
  for (const other of [null, ...KNOWN_SOFTCAPS]) {
    if (other === (softcap ?? null)) continue;
    guess('another-softcap', other === null ? 'without softcap' : `with softcap ${other}`, { softcap: other });
  }
  guess('pairs-swapped', 'with chosen and rejected swapped', { chosen: rejected, rejected: chosen });
  const noReference = {
    refLogps: new Float32Array(labels.length),
    refLogits: undefined,
    refHidden: undefined,
    refWeight: undefined,
    refBias: undefined,
    refDtype: undefined,
    refTemperature: undefined,
    refSoftcap: undefined,
    refVocabSize: undefined,
    refRowStride: undefined,
    refHiddenSize: undefined,
    refHiddenStride: undefined,
    refWeightDtype: undefined,
    refWeightLayout: undefined,
  };
  guess('another-model', 'without the reference', noReference);
  const { logps } = tokenLogps({ logits, labels, mask, ignoreIndex: batch.ignoreIndex, temperature, softcap });
  guess('another-model', 'with the trained model as its reference', { ...noReference, refLogps: logps });
  const [option, values] = isCritic(batch)
    ? ['normalization', ['turn-mean', 'token-mean', 'sum']]
    : ['reduction', ['sum', 'mean']];
  const current = (batch as Record<string, unknown>)[option as string] ?? values[0];
  for (const value of values) {
    if (value !== current) guess('wrong-denominator', `with ${option} '${value}'`, { [option as string]: value });
  }
  guess('wrong-denominator', 'summed over pairs instead of averaged', { pairDenominator: 1 });
  return guesses;
}

/** A number among the options that explains a loss or a gradient. */
interface Fit {
  suspicion: GradSuspicion;
  what: string;
  miss: number;
}

/**
 * The values of temperature and beta that explain it, the best first. `miss`: how far the loss of a batch is from what it must
 * explain, in tolerances.
 */
function fitsOf(batch: Batch, miss: (batch: Batch) => number): Fit[] {
  const options = [
    ['temperature', 'another-temperature', batch.temperature ?? 1],
    ['beta', 'another-beta', batch.beta ?? 0.1],
  ] as const;
  const fits = options.map(([option, suspicion, current]) => {
    const missAt = (x: number) => {
      const value = miss({ ...batch, [option]: x });
      return Number.isNaN(value) ? Infinity : value;
    };
    const best = argmin(missAt, current);
    return { suspicion, what: `${option} ${rounded(best)}`, miss: missAt(best) };
  });
  return fits.filter((fit) => fit.miss <= 1).sort((a, b) => a.miss - b.miss);
}

const listed = (fits: readonly Fit[]): string => fits.map(({ what }) => what).join(' or ');

/** The caller's loss, and the logits, at the same parameters. */
export interface LossSample {
  loss: number;
  logits: Float32Array;
}

/** Whether the caller's loss is not that of the update. */
export const isOtherLoss = ({ loss, logits }: LossSample, batch: Batch): boolean =>
  !(distance(lossOrNaN(batch, logits), loss, 1e-5) <= 10);

/** Why the loss that the caller computes is not that of the update, if a guess explains it at several parameters. */
export function explainLoss(samples: readonly LossSample[], batch: Batch): Explanation | undefined {
  const missOf = (lossAt: (sample: LossSample) => number) =>
    samples.reduce((max, sample) => {
      const miss = distance(lossAt(sample), sample.loss, 1e-5);
      return Number.isNaN(miss) ? Infinity : Math.max(max, miss);
    }, 0);
  const miss = (other: Batch) => missOf(({ logits }) => lossOrNaN(other, logits));
  const [first] = samples as [LossSample];
  const found = guessesOf(batch, first.logits).find((guess) => miss(guess.batch) <= 1);
  if (found !== undefined) return [found.suspicion, `The loss is that of the update ${found.what}.`];
  const fits = fitsOf(batch, miss);
  const factor = first.loss / lossOrNaN(batch, first.logits);
  const isFactor = missOf(({ logits }) => factor * lossOrNaN(batch, logits)) <= 1;
  const times = `${rounded(factor)} times that of the update`;
  const [best] = fits;
  if (best !== undefined) {
    const other = isFactor ? `, or ${times}` : '';
    return [best.suspicion, `The loss is that of the update with ${listed(fits)}${other}.`];
  }
  return isFactor ? ['wrong-denominator', `The loss is ${times}: divided by a wrong denominator.`] : undefined;
}

/** Where the gradient is 0 but the loss is not constant; `zeroArrays` has the names of arrays whose gradient is 0 everywhere. */
export function explainZeros(wrong: readonly ProbeResult[], zeroArrays: readonly string[]): Explanation | undefined {
  if (wrong.length === 0 || wrong.some(({ analytic }) => analytic !== 0)) return undefined;
  const of = (suffix: string) => `The gradient is 0 but the loss depends on the parameters: ${suffix}.`;
  // Single parameters may be the only ones, of an array whose gradient is not 0 elsewhere.
  const single = wrong.filter(({ parameter, index }) => index >= 0 && !zeroArrays.includes(parameter));
  if (single.length > 0) {
    const where = single.map(({ parameter, index }) => `${parameter || 'parameters'}[${index}]`).join(', ');
    return ['gradient-not-passed', of(`it is not propagated to ${where}`)];
  }
  const isWrong = (name: string) => wrong.some(({ parameter }) => parameter === name);
  const arrays = zeroArrays.filter((name) => name !== '' && isWrong(name));
  const where = arrays.length > 0 ? ` to ${arrays.join(', ')}` : '';
  return ['gradient-not-passed', of(`it is not propagated${where}`)];
}

/** Whether the gradient is this factor times the derivative in every probe. */
function isProportional(probes: readonly ProbeResult[], factor: number): boolean {
  return probes.every(
    ({ analytic, numeric, uncertainty }) =>
      Math.abs(analytic - factor * numeric) <=
      GUESS_TOLERANCE * Math.abs(analytic) + 2 * Math.abs(factor) * uncertainty,
  );
}

/** Factors by which a gradient may have been multiplied by mistake, with their names. */
function factorsOf(batch: Batch | undefined, vocabSize: number): [factor: number, name: string][] {
  if (batch === undefined) return [];
  const { labels, mask, turnOffsets, chosen, beta = 0.1, temperature = 1, ignoreIndex = IGNORE_INDEX } = batch;
  const masked = labels.filter(
    ((label: number | bigint, i: number) => mask?.[i] === 0 || Number(label) === ignoreIndex) as never,
  );
  const factors: [number, string][] = [
    [chosen.length, 'the number of pairs'],
    [labels.length, 'the number of rows'],
    [labels.length - masked.length, 'the number of unmasked rows'],
    [turnOffsets.length - 1, 'the number of turns'],
    [vocabSize, 'the vocabulary size'],
    [beta, 'beta'],
    [temperature, 'the temperature'],
  ];
  return factors.flatMap(([factor, name]): [number, string][] => [
    [factor, name],
    [1 / factor, `1 / ${name}`],
  ]);
}

export interface GradientEvidence {
  /** All probes. */
  probes: readonly ProbeResult[];
  /** The probe along the gradient: a factor is most precise there. */
  direction: ProbeResult;
  batch: Batch | undefined;
  logits: Float32Array | undefined;
  forward: ((parameters: never) => Promise<Float32Array>) | undefined;
}

/** Why a gradient is not that of its loss, if a factor or a guess explains it. */
export async function explainGradient(evidence: GradientEvidence): Promise<Explanation | undefined> {
  const { probes, direction, batch, logits, forward } = evidence;
  const factor = direction.analytic / direction.numeric;
  const isScaled = Number.isFinite(factor) && isProportional(probes, factor);
  const isFactor = (x: number) => isScaled && Math.abs(factor / x - 1) <= GUESS_TOLERANCE;
  const names = factorsOf(batch, (logits?.length ?? 0) / (batch?.labels.length ?? 1))
    .filter(([x]) => isFactor(x) && x !== 1)
    .map(([, name]) => name);
  if (isFactor(-1)) return ['sign-flipped', 'It is the negative of the gradient of the loss.'];
  const other =
    batch !== undefined && forward !== undefined && logits !== undefined
      ? await explainByOtherLoss(probes, batch, logits, forward)
      : undefined;
  const multiplied = names.length > 0 ? `, or multiplied by ${names.join(' or ')}` : '';
  const fitted = other !== undefined && other.fits.length > 0 ? `, or that of the loss with ${listed(other.fits)}` : '';
  const alternatives = `${multiplied}${fitted}`;
  if (isFactor(2)) {
    const what = `accumulated twice, or not reset to 0${alternatives}`;
    return ['accumulated-twice', `It is twice the gradient of the loss: ${what}.`];
  }
  const wrongScale: Explanation = [
    'wrong-denominator',
    `It is ${rounded(factor)} times the gradient of the loss: divided by a wrong denominator${alternatives}.`,
  ];
  if (names.length > 0) return wrongScale;
  if (other?.guess !== undefined) return [other.guess.suspicion, `It is the gradient of the loss ${other.guess.what}.`];
  const [best] = other?.fits ?? [];
  if (best !== undefined) {
    const scale = isScaled ? `, or ${rounded(factor)} times the gradient of the loss` : '';
    return [best.suspicion, `It is the gradient of the loss with ${listed(other?.fits ?? [])}${scale}.`];
  }
  return isScaled ? wrongScale : undefined;
}

/** The guess, or the values of options, whose loss has this gradient. */
async function explainByOtherLoss(
  probes: readonly ProbeResult[],
  batch: Batch,
  logits: Float32Array,
  forward: (parameters: never) => Promise<Float32Array>,
): Promise<{ guess?: Guess; fits: Fit[] }> {
  const differences: { probe: ProbeResult; width: number; above: Float32Array; below: Float32Array }[] = [];
  for (const probe of probes) {
    const [[up, plus], [down, minus]] = [probe.move(probe.step), probe.move(-probe.step)];
    const above = Float32Array.from(await forward(up as never));
    const below = Float32Array.from(await forward(down as never));
    differences.push({ probe, width: plus - minus, above, below });
  }
  /** The largest of all probes, in tolerances. */
  const miss = (guess: Batch) => {
    const each = differences.map(({ probe: { analytic, uncertainty, numeric }, width, above, below }) => {
      const difference = (lossOrNaN(guess, above) - lossOrNaN(guess, below)) / width;
      const size = Math.max(Math.abs(analytic), Math.abs(difference), 0.01 * Math.abs(numeric));
      return Math.abs(analytic - difference) / (GUESS_TOLERANCE * size + 2 * uncertainty);
    });
    return each.some(Number.isNaN) ? Infinity : Math.max(...each);
  };
  const guesses = guessesOf(batch, logits).map((guess) => ({ ...guess, miss: miss(guess.batch) }));
  const best = guesses.reduce((a, b) => (b.miss < a.miss ? b : a));
  const fits = fitsOf(batch, miss);
  return best.miss <= 1 ? { guess: best, fits } : { fits };
}
