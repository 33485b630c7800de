// sweet-rl/objectives: advantages, policy-gradient and value losses of the related systems and of multi-turn trainers. Host
// side, without native code: it imports no addon, so it loads where there is no binary, and in a browser.
export type { Mask } from '../args/arrays.js';
export type { KlType, Objective, PolicyGradientSettings, RatioLevel, Reduction } from '../args/policy-gradient.js';
export type { ArrayOrTensor, Tensor } from '../args/tensors.js';
export { type CollaborativeReturnsOptions, collaborativeReturns } from './collaborative-returns.js';
export {
  type IlqlLoss,
  type IlqlLossOptions,
  type ImplicitRewardLossOptions,
  ilqlLoss,
  implicitRewardLoss,
} from './critic-losses.js';
export { type GroupAdvantages, type GroupAdvantagesOptions, groupAdvantages } from './group-advantages.js';
export type { Float64s, Int32s, LayoutOptions, Optional, OutOf, Reals, SameClass } from './host-call.js';
export { type ImportanceWeightsOptions, importanceWeights } from './importance-weights.js';
export {
  type PrivilegedAdvantagesOptions,
  privilegedAdvantages,
  type SelectAgentTokensOptions,
  type SoftValueOptions,
  selectAgentTokens,
  softValue,
} from './planning.js';
export {
  type PolicyGradientLoss,
  type PolicyGradientLossOptions,
  policyGradientLoss,
} from './policy-gradient.js';
export {
  type BroadcastTurnsOptions,
  broadcastTurns,
  type DiscountedReturnsOptions,
  discountedReturns,
  type GeneralizedAdvantagesOptions,
  generalizedAdvantages,
  type WhitenOptions,
  whiten,
} from './returns.js';
export {
  type MonteCarloValuesOptions,
  monteCarloValues,
  type SiblingPairsOptions,
  siblingPairs,
  type TreeValuesOptions,
  treeValues,
} from './rollout-values.js';
export {
  type StepGroupAdvantages,
  type StepGroupAdvantagesOptions,
  stepGroupAdvantages,
  type TurnRewardAdvantagesOptions,
  turnRewardAdvantages,
} from './step-advantages.js';
export {
  type ClippedValueLossOptions,
  clippedValueLoss,
  type DoubleMinAdvantagesOptions,
  doubleMinAdvantages,
  type ExpectileLossOptions,
  expectileLoss,
  type TdLossOptions,
  tdLoss,
} from './value-losses.js';
