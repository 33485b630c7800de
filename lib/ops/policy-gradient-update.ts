// A policy-gradient update: head -> log-probs and entropy -> loss -> gradient at the head, in one native call.
import type * as native from '../addon/operations.js';
import { classOf, lengthOf, type NamedArray, offsets, typedArray } from '../args/arrays.js';
import type { FloatArray } from '../args/dtypes.js';
import { type CheckedTokens, labelInputs } from '../args/labels.js';
import type { ReferenceNeed } from '../args/loss-types.js';
import { checkOptions, type Mode, missing, refuseUnused } from '../args/options.js';
import {
  checkCoefs,
  checkKl,
  checkObjective,
  checkReduction,
  POLICY_SETTINGS,
  type PolicyGradientSettings,
} from '../args/policy-gradient.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import type { OnDevice } from '../device/device-buffer.js';
import { typeError } from '../errors.js';
import type { Matrix } from '../runtime/assert-finite.js';
import { type Abortable, type PreparedCall, runAsync, runSync } from '../runtime/call.js';
import type { LinearGradientsOf } from './head-gradients.js';
import {
  type AnyGradients,
  type DeviceUpdateResult,
  type LinearUpdate,
  type LogitsUpdate,
  prepareUpdate,
  REFERENCE_OPTIONS,
  type ReferenceHead,
  type RowInputs,
  type RowResult,
  UPDATE_OPTIONS,
  UPDATE_OUT,
} from './head-update.js';

type Reals = ArrayOrTensor<Float32Array | Float64Array>;

/** The reference of the KL term; only where `klCoef` is not 0. */
type KlReference = ReferenceHead | { refLogps?: ArrayOrTensor<Float32Array> | undefined };

type Inputs = Omit<RowInputs, 'entropy' | 'tokenWeights'> &
  PolicyGradientSettings &
  KlReference & {
    /** [N] */
    advantages: Reals;
    /** [N] under the policy of the rollouts; those of this call by default: the first epoch, with ratio 1. */
    oldLogps?: Reals | undefined;
    /** [N], constants, 1 each by default. */
    importanceWeights?: Reals | undefined;
    /** [T + 1], the rows of turn t are turnOffsets[t] ... turnOffsets[t + 1] - 1; by default every row is a turn. */
    turnOffsets?: ArrayOrTensor<Int32Array> | undefined;
    /** [K + 1], the turns of trajectory k, likewise. */
    trajectoryOffsets?: ArrayOrTensor<Int32Array> | undefined;
  };

type NoOut = object;

/** What `policyGradientUpdate` takes. */
export type PolicyGradientUpdateOptions<L extends FloatArray = FloatArray> = Inputs &
  (LogitsUpdate<L, NoOut> | LinearUpdate<boolean, boolean, NoOut>);

/** The loss, its terms and metrics, the log-probs, and the entropies where `entropyCoef` is not 0. */
export type PolicyGradientUpdateResult = RowResult & { [name in (typeof SCALARS)[number]]: number };

/** The result of an update whose head is not known: a wrapper that passes its options on. */
export type AnyPolicyGradientUpdateResult = PolicyGradientUpdateResult & AnyGradients;

/** In the order of PolicyScalar of native/policy_gradient_update.h. */
const SCALARS = ['loss', 'policyLoss', 'klLoss', 'entropyBonus', 'clipFraction', 'approxKl'] as const;

const TOKEN_NUMBERS = ['advantages', 'oldLogps', 'importanceWeights'] as const;
const LOSS_OPTIONS = [
  ...TOKEN_NUMBERS,
  ...(['turnOffsets', 'trajectoryOffsets'] as const),
  ...POLICY_SETTINGS,
] as const;
const KNOWN = new Set<string>([...UPDATE_OPTIONS, ...LOSS_OPTIONS]);

const ENTROPY_HINT = 'an entropyCoef other than 0 asks for it';

/** Options of other updates, and what has their place here. */
const ELSEWHERE = [
  ['entropy', ENTROPY_HINT],
  ['tokenWeights', 'pass importanceWeights'],
] as const;
const OUT_NAMES = new Set<string>(UPDATE_OUT);

type Given = { readonly [name in (typeof LOSS_OPTIONS)[number]]?: unknown };

function reals(argument: string, value: unknown, rows: number): native.Reals {
  const data = typedArray(argument, value, ['Float32Array', 'Float64Array'], rows);
  return { wide: classOf(data) === 'Float64Array', data };
}

const optionalReals = (argument: string, value: unknown, rows: number): native.OptionalReals =>
  value === undefined ? { wide: false, data: undefined } : reals(argument, value, rows);

function batchOf(given: Given, rows: number): native.PolicyGradientBatch {
  const optionalOffsets = (argument: string, value: unknown) =>
    value === undefined ? undefined : offsets(argument, value);
  const turnOffsets = optionalOffsets('turnOffsets', given.turnOffsets);
  const trajectoryOffsets = optionalOffsets('trajectoryOffsets', given.trajectoryOffsets);
  return {
    tokens: rows,
    turns: turnOffsets === undefined ? rows : lengthOf(turnOffsets) - 1,
    trajectories: trajectoryOffsets === undefined ? 0 : lengthOf(trajectoryOffsets) - 1,
    turnOffsets,
    trajectoryOffsets,
    advantages: reals('advantages', given.advantages, rows),
    oldLogps: optionalReals('oldLogps', given.oldLogps, rows),
    importanceWeights: optionalReals('importanceWeights', given.importanceWeights, rows),
  };
}

function inputsOf(batch: native.PolicyGradientBatch): NamedArray[] {
  const named: NamedArray[] = [
    ['advantages', batch.advantages.data],
    ['oldLogps', batch.oldLogps.data],
    ['importanceWeights', batch.importanceWeights.data],
    ['turnOffsets', batch.turnOffsets],
    ['trajectoryOffsets', batch.trajectoryOffsets],
  ];
  return named.filter(([, array]) => array !== undefined);
}

function checkSettings(given: Given): native.PolicyGradientOptions {
  const { objective, ratioLevel, bounds } = checkObjective(given);
  const { reduction, denominator, bySequence } = checkReduction(given);
  const coefs = checkCoefs(given);
  const kl = checkKl(given, coefs.klCoef === 0 ? 'a klCoef of 0' : undefined);
  const by = bySequence ? `reduction '${reduction}'` : `ratioLevel '${ratioLevel}'`;
  if ((bySequence || ratioLevel === 'trajectory') && given.trajectoryOffsets === undefined) {
    throw missing('trajectoryOffsets', 'Int32Array', by);
  }
  if (ratioLevel === 'turn' && given.turnOffsets === undefined) {
    throw missing('turnOffsets', 'Int32Array', "ratioLevel 'turn'");
  }
  return {
    ...{ objective, ratioLevel, reduction, denominator: denominator ?? 0, ...coefs, ...kl },
    ...{ clipLow: bounds.clipLow, clipHigh: bounds.clipHigh, dualClip: bounds.dualClip },
    ...{ tauPositive: bounds.sapoTauPos, tauNegative: bounds.sapoTauNeg },
  };
}

/** A reference is given where klCoef is not 0, and only there. */
function checkReferenceGiven(given: object, klCoef: number): void {
  const isGiven = REFERENCE_OPTIONS.some((name) => (given as Record<string, unknown>)[name] !== undefined);
  if (klCoef === 0) refuseUnused(given, REFERENCE_OPTIONS, 'a klCoef of 0');
  else if (!isGiven) throw missing('refLogps, refLogits or refHidden', 'a reference', 'a klCoef other than 0');
}

const NO_NEED: ReferenceNeed = { referenceFree: false, needsReference: false, names: '' };

function prepare(given: PolicyGradientUpdateOptions, mode: Mode): PreparedCall<'policyGradientUpdate'> {
  const known = checkOptions('policyGradientUpdate', given, KNOWN, mode, OUT_NAMES);
  for (const [name, hint] of ELSEWHERE) {
    if ((known as Record<string, unknown>)[name] === undefined) continue;
    throw typeError('ERR_UNKNOWN_OPTION', `Expected no ${name} for policyGradientUpdate but received one: ${hint}`);
  }
  const options = checkSettings(known);
  checkReferenceGiven(known, options.klCoef);
  const rows = { ...known, entropy: options.entropyCoef !== 0 };
  return prepareUpdate('policyGradientUpdate', rows, NO_NEED, (tokens: CheckedTokens) => {
    const batch = batchOf(known, tokens.rows);
    return {
      batch,
      options,
      inputs: [...labelInputs(tokens), ...inputsOf(batch)],
      out: (results) => {
        if (!rows.entropy && results.has('entropy')) results.refuse('entropy', ENTROPY_HINT);
        return { scalars: results.scalars(SCALARS) };
      },
      matrices: (mask) => TOKEN_NUMBERS.map((name): Matrix => ({ name, array: batch[name].data, unit: 'row', mask })),
    };
  });
}

/**
 * One policy-gradient update: log-probs and entropies of the tokens, the loss of given advantages, its gradient at the head.
 *
 *     loss = policyGradientLoss({ logps, entropy, advantages, ... }),  g = dloss/dlogps,  h = dloss/dentropy
 *     dloss/dlogits_iv = (g_i (1[v = label_i] - p_iv) - h_i p_iv (log p_iv + entropy_i)) / temperature
 *
 * The same numbers as `tokenLogps`, `policyGradientLoss` of sweet-rl/objectives and `tokenLogpsBackward`, but masked and ignored rows
 * are never read and count nowhere. With a ratio per token, each row, or chunk of rows, is finished when it is read. Nothing of size
 * [N, V] is stored except the gradient of logits.
 *
 * @param options.logits [N, V], or `hidden` [N, H] and `weight` [V, H] with or without `bias` [V].
 * @param options.labels [N] the tokens taken; `mask` [N] and `ignoreIndex` as for `tokenLogps`.
 * @param options.advantages [N]; `oldLogps` and `importanceWeights` [N] likewise Float32Array or Float64Array, not read at masked and
 *   ignored rows.
 * @param options.turnOffsets [T + 1] into rows, which ratioLevel 'turn' needs; `trajectoryOffsets` [K + 1] into turns, which ratioLevel
 *   'trajectory' and the reductions of sequences need.
 * @param options.objective 'clip' by default; `ratioLevel`, `clipLow`, `clipHigh`, `dualClip`, `sapoTauPos`, `sapoTauNeg`, `reduction` and
 *   `denominator` are those of `policyGradientLoss`.
 * @param options.klCoef 0 by default; another value needs a reference: `refLogps` [N], or `refLogits`, or `refHidden` and `refWeight`.
 *   `klType` 'k3' and `klMax` 10 by default.
 * @param options.entropyCoef 0 by default; another value computes the entropies.
 * @param options.vocabSize V; with hidden states `hiddenSize` H. Give them: a length that does not fit is an error then. The other
 *   options of heads, references, statistics and gradients are those of `policyUpdate`.
 * @param options.out buffers for any array of the result; `gradLogits` may be `logits` itself.
 * @returns loss, policyLoss, klLoss, entropyBonus, clipFraction, approxKl; `logps` [N], `entropy` [N] where it is computed, and
 *   `gradLogits` or `gradHidden`, `gradWeight`, `gradBias`.
 * @throws as `tokenLogps` and `policyGradientLoss` do; nothing is written then.
 * @see PPO arXiv 1707.06347; docs/guide/objectives.md has the other objectives.
 * @example
 * const { loss, gradLogits } = policyGradientUpdate({
 *   ...{ logits, vocabSize, labels, mask },
 *   ...{ advantages: Float32Array.from(labels, () => 1), oldLogps: refLogps, entropyCoef: 0.01 },
 * });
 */
export function policyGradientUpdate<L extends FloatArray>(
  options: Inputs & LogitsUpdate<L, NoOut>,
): PolicyGradientUpdateResult & { gradLogits: L };
export function policyGradientUpdate<FW extends boolean = false, FH extends boolean = false>(
  options: Inputs & LinearUpdate<FW, FH, NoOut>,
): PolicyGradientUpdateResult & LinearGradientsOf<FW, FH>;
export function policyGradientUpdate<O extends OnDevice<PolicyGradientUpdateOptions>>(
  options: O,
): DeviceUpdateResult<O, PolicyGradientUpdateResult>;
export function policyGradientUpdate(options: PolicyGradientUpdateOptions): AnyPolicyGradientUpdateResult;
export function policyGradientUpdate(
  options: PolicyGradientUpdateOptions | OnDevice<PolicyGradientUpdateOptions>,
): unknown {
  return runSync(prepare(options as PolicyGradientUpdateOptions, 'sync'));
}

/**
 * `policyGradientUpdate` on another thread.
 *
 *     loss = policyGradientLoss({ logps, entropy, advantages, ... }),  gradient = dloss/dlogps dlogps/dhead + dloss/dentropy dentropy/dhead
 *
 * @param options as `policyGradientUpdate` takes them, which must not be changed until the promise settles.
 * @param options.signal ends the call, waiting or running; the contents of `out` are then undefined.
 * @returns a promise of the result of `policyGradientUpdate`; the same bits.
 * @throws nothing; the promise rejects with what `policyGradientUpdate` throws, with the signal's reason, and with TypeError
 * ERR_DETACHED where a buffer of `out` was detached meanwhile.
 * @see PPO arXiv 1707.06347.
 * @example
 * const batch = { labels, mask, advantages: Float32Array.from(labels, () => 1) };
 * const { loss, gradLogits } = await policyGradientUpdateAsync({ ...batch, logits, vocabSize, out: { gradLogits: logits } });
 */
export function policyGradientUpdateAsync<L extends FloatArray>(
  options: Inputs & LogitsUpdate<L, NoOut> & Abortable,
): Promise<PolicyGradientUpdateResult & { gradLogits: L }>;
export function policyGradientUpdateAsync<FW extends boolean = false, FH extends boolean = false>(
  options: Inputs & LinearUpdate<FW, FH, NoOut> & Abortable,
): Promise<PolicyGradientUpdateResult & LinearGradientsOf<FW, FH>>;
export function policyGradientUpdateAsync<O extends OnDevice<PolicyGradientUpdateOptions>>(
  options: O & Abortable,
): Promise<DeviceUpdateResult<O, PolicyGradientUpdateResult>>;
export function policyGradientUpdateAsync(
  options: PolicyGradientUpdateOptions & Abortable,
): Promise<AnyPolicyGradientUpdateResult>;
export function policyGradientUpdateAsync(
  options: (PolicyGradientUpdateOptions | OnDevice<PolicyGradientUpdateOptions>) & Abortable,
): Promise<unknown> {
  return runAsync(options as PolicyGradientUpdateOptions, prepare);
}
