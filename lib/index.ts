export type { Mask } from './args/arrays.js';
export type { DType, FloatArray, HalfArray } from './args/dtypes.js';
export type { LinearHead, LogitsHead, WeightLayout } from './args/head.js';
export { IGNORE_INDEX, type Labels } from './args/labels.js';
export type { FDivergence, LossType } from './args/loss-types.js';
export type { Normalization } from './args/preference.js';
export type { DivergenceOption, TeacherLinear, TeacherLogits, TopKTeacher } from './args/teacher.js';
export type { ArrayOrTensor, Tensor } from './args/tensors.js';
export type { RunningMean, UnpairedLossType } from './args/unpaired.js';
export type { ShardOptions } from './args/vocab-shard.js';
export type { PackOptions, TokenIds, Turn } from './data/messages.js';
export { type CandidateState, type PackedCandidates, packCandidates } from './data/pack-candidates.js';
export { type PackedTurns, packTurns, type Trajectory } from './data/pack-turns.js';
export { rankCandidates } from './data/rank-candidates.js';
export { type SampledPairs, type SamplePairsOptions, samplePairs } from './data/sample-pairs.js';
export { type TrajectoryPairs, type TrajectoryPairsOptions, trajectoryPairs } from './data/trajectory-pairs.js';
export {
  type CheckGradOptions,
  checkGrad,
  type GradComparison,
  type GradReport,
  type GradSuspicion,
  type Parameters,
} from './debug/check-grad.js';
export { type CheckLogpsOptions, checkLogps, type LogpsReport, type LogpsSuspicion } from './debug/check-logps.js';
export { DeviceBuffer, type OnDevice } from './device/device-buffer.js';
export type {
  DeviceDType,
  ForeignMemory,
  HostArray,
  IpcMemory,
  ViewOptions,
} from './device/device-memory.js';
export { CudaError, SweetError } from './errors.js';
export {
  type BinaryValue,
  type BinaryValueOptions,
  binaryValueLoss,
  type ValueAdvantagesOptions,
  valueAdvantages,
} from './objectives/binary-value.js';
export { type BradleyTerryOptions, type BradleyTerryResult, bradleyTerryLoss } from './objectives/bradley-terry.js';
export { type FilteredNll, type FilteredNllOptions, filteredNll } from './objectives/filtered-nll.js';
export { type TrlMetrics, type TrlUnpairedMetrics, trlMetrics } from './objectives/trl-metrics.js';
export type { RowDivergences } from './ops/divergence.js';
export type { LinearGradients, LinearGradientsOf } from './ops/head-gradients.js';
export {
  type LinearDivergenceBackwardOptions,
  type LinearDivergenceOptions,
  linearDivergence,
  linearDivergenceAsync,
  linearDivergenceBackward,
  linearDivergenceBackwardAsync,
} from './ops/linear-divergence.js';
export {
  type LinearLogpsBackwardOptions,
  type LinearLogpsOptions,
  linearLogps,
  linearLogpsAsync,
  linearLogpsBackward,
  linearLogpsBackwardAsync,
} from './ops/linear-logps.js';
export type { Logps, RowStatistics } from './ops/logps.js';
export {
  type MergePartialsOptions,
  mergePartials,
  type Partials,
  type PartialsOptions,
  partials,
  partialsAsync,
} from './ops/partials.js';
export {
  type AnyPolicyGradientUpdateResult,
  type PolicyGradientUpdateOptions,
  type PolicyGradientUpdateResult,
  policyGradientUpdate,
  policyGradientUpdateAsync,
} from './ops/policy-gradient-update.js';
export {
  type PreferenceResult,
  type TrajectoryPreferenceOptions,
  type TurnPreferenceOptions,
  trajectoryPreferenceLoss,
  turnPreferenceLoss,
} from './ops/preference-loss.js';
export {
  type AnyUpdateResult,
  type CriticUpdateOptions,
  criticUpdate,
  criticUpdateAsync,
  type PolicyUpdateOptions,
  policyUpdate,
  policyUpdateAsync,
  type Reference,
  type UpdateResult,
} from './ops/preference-update.js';
export {
  type TokenDivergenceBackwardOptions,
  type TokenDivergenceOptions,
  tokenDivergence,
  tokenDivergenceAsync,
  tokenDivergenceBackward,
  tokenDivergenceBackwardAsync,
} from './ops/token-divergence.js';
export {
  type TokenLogpsBackwardOptions,
  type TokenLogpsOptions,
  tokenLogps,
  tokenLogpsAsync,
  tokenLogpsBackward,
  tokenLogpsBackwardAsync,
} from './ops/token-logps.js';
export {
  type Reduction,
  type TurnAdvantagesBackwardOptions,
  type TurnAdvantagesOptions,
  turnAdvantages,
  turnAdvantagesBackward,
} from './ops/turn-advantages.js';
export { type UnpairedPreferenceOptions, type UnpairedResult, unpairedPreferenceLoss } from './ops/unpaired-loss.js';
export {
  type AnyUnpairedUpdateResult,
  type UnpairedUpdateOptions,
  type UnpairedUpdateResult,
  unpairedUpdate,
  unpairedUpdateAsync,
} from './ops/unpaired-update.js';
export {
  type MergeVocabParallelStatsOptions,
  mergeVocabParallelStats,
  type VocabParallelStats,
  type VocabParallelStatsOptions,
  vocabParallelStats,
  vocabParallelStatsAsync,
} from './ops/vocab-parallel.js';
export type { Abortable } from './runtime/call.js';
export {
  type Backend,
  backends,
  freeCachedMemory,
  peakWorkingMemory,
  setThreads,
  threads,
  useBackend,
} from './runtime/machine.js';
