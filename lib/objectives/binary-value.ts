import { float32, hostView, plainView } from '../args/arrays.js';
import { keptTokens, LABEL_OPTIONS, type TokenOptions, tokenInputs } from '../args/labels.js';
import { checkOptions } from '../args/options.js';
import { divisor } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { comparable, groups } from '../data/candidates.js';
import { expected, rangeError } from '../errors.js';
import { Results } from '../runtime/results.js';

/** The mask and the labels are those of turns, or of tokens where the value head gives a value for each token. */
interface OutcomeOptions extends TokenOptions {
  /** [K + 1], the turns of trajectory k are trajectoryOffsets[k] ... trajectoryOffsets[k + 1] - 1. */
  trajectoryOffsets: ArrayOrTensor<Int32Array>;
  /** [K] in [0, 1], the outcome of each trajectory: 1 for success, 0 for failure, or the share of tests that passed. */
  outcomes: ArrayOrTensor<Float32Array | Float64Array>;
}

/** What `binaryValueLoss` takes. */
export interface BinaryValueOptions extends OutcomeOptions {
  /** [T], the output of the value head for the state before each turn. */
  valueLogits: ArrayOrTensor<Float32Array>;
  /** The number of turns that the loss is averaged over; the unmasked turns of this call by default. */
  valueDenominator?: number | undefined;
  out?: { [name in (typeof OUT)[number]]?: Float32Array | undefined } | undefined;
}

/** The loss of a value head, the values, and the gradient at its logits. */
export interface BinaryValue {
  loss: number;
  /** [T], the loss of each turn; 0 for masked turns. */
  valueLosses: Float32Array<ArrayBuffer>;
  /** [T], sigma(v): the probability of success; 0 for masked turns. */
  values: Float32Array<ArrayBuffer>;
  /** [T], the gradient of the loss; 0 for masked turns. */
  gradValueLogits: Float32Array<ArrayBuffer>;
}

/** What `valueAdvantages` takes. */
export interface ValueAdvantagesOptions extends OutcomeOptions {
  /** [T], the value of the state before each turn, on the scale of the outcomes: `values` of `binaryValueLoss`. */
  values: ArrayOrTensor<Float32Array>;
  out?: { advantages?: Float32Array | undefined } | undefined;
}

const OUT = ['valueLosses', 'values', 'gradValueLogits'] as const;
const OUT_NAMES = new Set<string>(OUT);
const OUTCOME_OPTIONS = [...LABEL_OPTIONS, 'trajectoryOffsets', 'outcomes', 'out'];
const LOSS_OPTIONS = new Set([...OUTCOME_OPTIONS, 'valueLogits', 'valueDenominator']);
const ADVANTAGE_OPTIONS = new Set([...OUTCOME_OPTIONS, 'values']);
const ADVANTAGE_OUT = new Set(['advantages']);

function checkOutcomes(options: OutcomeOptions, turns: number) {
  const trajectories = groups('trajectoryOffsets', options.trajectoryOffsets, turns);
  const outcomes = comparable('outcomes', options.outcomes, trajectories.length);
  const at = outcomes.findIndex((y) => y < 0 || y > 1);
  if (at >= 0) throw rangeError('ERR_ARG_VALUE', expected('a number in [0, 1]', `outcomes[${at}]`, outcomes[at]));
  return { trajectories, outcomes };
}

/**
 * The loss of a value head that predicts the outcome of the dialogue: binary cross-entropy, averaged over turns.
 *
 *     l_t = -y_k log sigma(v_t) - (1 - y_k) log(1 - sigma(v_t)),  y_k the outcome of the trajectory k of turn t
 *     loss = sum_t m_t l_t / sum_t m_t;   dloss/dv_t = m_t (sigma(v_t) - y_k) / sum_t m_t
 *
 * Finite for any finite v: log sigma is computed as -softplus(-v), not from a rounded probability.
 *
 * @param options.valueLogits [T], v_t of the state before each turn; `mask` [T]: 0 masks a turn. A head with a value for each
 *   token: [N], with the `mask` or the `labels` of the tokens, and `trajectoryOffsets` into tokens.
 * @param options.trajectoryOffsets [K + 1] into turns.
 * @param options.outcomes [K] in [0, 1].
 * @param options.valueDenominator for micro-batches: the number of unmasked turns of the whole batch.
 * @param options.out buffers for any array of the result, by name.
 * @returns loss, `valueLosses` [T], `values` [T] = sigma(v), `gradValueLogits` [T].
 * @throws RangeError ERR_OFFSETS naming an index, ERR_ARG_VALUE naming an outcome outside [0, 1]; TypeError ERR_DEVICE
 *   for device buffers: this runs on the host.
 * @see arXiv 2503.15478, Section 5 (the value head as the critic).
 * @example
 * const { loss, values } = binaryValueLoss({
 *   valueLogits: new Float32Array([0, 2, 0]),
 *   trajectoryOffsets: new Int32Array([0, 2, 3]),
 *   outcomes: new Float32Array([1, 0]),
 * });
 * // loss = 0.5044, values = [0.5, 0.8808, 0.5]
 */
export function binaryValueLoss(options: BinaryValueOptions): BinaryValue {
  const given = checkOptions('binaryValueLoss', options, LOSS_OPTIONS, 'sync', OUT_NAMES);
  const logits = hostView('valueLogits', float32('valueLogits', given.valueLogits));
  const kept = keptTokens(given, logits.length);
  const { trajectories, outcomes } = checkOutcomes(given, logits.length);
  const givenDenominator = divisor('valueDenominator', given.valueDenominator, 0);
  const results = new Results(given.out, logits);
  const arrays = OUT.map((name) => results.float32(name, logits.length));
  results.place([
    ['valueLogits', logits],
    ...tokenInputs(given),
    ['trajectoryOffsets', given.trajectoryOffsets],
    ['outcomes', outcomes],
  ]);

  const unmasked = kept === undefined ? logits.length : kept.reduce((n, m) => (m === 0 ? n : n + 1), 0);
  const denominator = givenDenominator > 0 ? givenDenominator : unmasked;
  const [valueLosses, values, gradValueLogits] = arrays.map((array) => plainView(array).fill(0)) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  let sum = 0;
  for (const [k, [from, to]] of trajectories.entries()) {
    const y = outcomes[k] as number;
    for (let t = from; t < to; t++) {
      if (kept?.[t] === 0) continue;
      const v = logits[t] as number;
      // At v = +-inf one softplus is infinite: with a weight of 0 the product would be NaN.
      const loss = (y > 0 ? y * softplus(-v) : 0) + (y < 1 ? (1 - y) * softplus(v) : 0);
      sum += loss;
      valueLosses[t] = loss;
      values[t] = sigmoid(v);
      // sigma(v) - y without cancellation where sigma(v) is close to y.
      gradValueLogits[t] = ((1 - y) * sigmoid(v) - y * sigmoid(-v)) / denominator;
    }
  }
  const loss = unmasked === 0 ? 0 : sum / denominator;
  return { loss, ...(results.collect() as Omit<BinaryValue, 'loss'>) };
}

/**
 * The advantage of each turn under a value head: the increase of the value, which ends at the outcome.
 *
 *     A_t = v_{t+1} - v_t within a trajectory;  A_t = y_k - v_t for its last turn
 *
 * A turn that is masked or ignored has advantage 0, and the turn before it goes on to the next one that counts. The
 * advantages of a trajectory add up to y_k - v of its first turn. Values and outcomes have one scale: give the
 * probabilities sigma(v), `values` of `binaryValueLoss`, not the logits.
 *
 * @param options.values [T], the value of the state before each turn; `mask`, `labels` [T] as in `binaryValueLoss`.
 * @param options.trajectoryOffsets [K + 1] into turns; `outcomes` [K] in [0, 1].
 * @param options.out a buffer for `advantages`.
 * @returns [T] advantages.
 * @throws RangeError ERR_OFFSETS naming an index, ERR_ARG_VALUE naming an outcome outside [0, 1]; TypeError ERR_DEVICE
 *   for device buffers: this runs on the host.
 * @see arXiv 2503.15478, Section 5 (the value head as the critic).
 * @example
 * valueAdvantages({
 *   values: new Float32Array([0.5, 0.75, 0.5]),
 *   trajectoryOffsets: new Int32Array([0, 2, 3]),
 *   outcomes: new Float32Array([1, 0]),
 * }); // [0.25, 0.25, -0.5]
 */
export function valueAdvantages(options: ValueAdvantagesOptions): Float32Array<ArrayBuffer> {
  const given = checkOptions('valueAdvantages', options, ADVANTAGE_OPTIONS, 'sync', ADVANTAGE_OUT);
  const values = hostView('values', float32('values', given.values));
  const kept = keptTokens(given, values.length);
  const { trajectories, outcomes } = checkOutcomes(given, values.length);
  const results = new Results(given.out, values);
  const advantages = results.float32('advantages', values.length);
  results.place([
    ['values', values],
    ...tokenInputs(given),
    ['trajectoryOffsets', given.trajectoryOffsets],
    ['outcomes', outcomes],
  ]);

  for (const [k, [from, to]] of trajectories.entries()) {
    let next = outcomes[k] as number;
    for (let t = to - 1; t >= from; t--) {
      const value = values[t] as number;
      advantages[t] = kept?.[t] === 0 ? 0 : next - value;
      if (kept?.[t] !== 0) next = value;
    }
  }
  return (results.collect() as { advantages: Float32Array<ArrayBuffer> }).advantages;
}

function sigmoid(v: number): number {
  const e = Math.exp(-Math.abs(v));
  return (v >= 0 ? 1 : e) / (1 + e);
}

/** log(1 + e^v) without overflow or cancellation. */
function softplus(v: number): number {
  return Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));
}
