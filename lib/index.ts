export {
  type BinaryValue,
  type BinaryValueOptions,
  binaryValueLoss,
  type ValueAdvantagesOptions,
  valueAdvantages,
} from './binary-value.js';
export { type BradleyTerryOptions, type BradleyTerryResult, bradleyTerryLoss } from './bradley-terry.js';
export type { Abortable } from './call.js';
export {
  type CheckGradOptions,
  checkGrad,
  type GradComparison,
  type GradReport,
  type GradSuspicion,
  type Parameters,
} from './check-grad.js';
export { type CheckLogpsOptions, checkLogps, type LogpsReport, type LogpsSuspicion } from './check-logps.js';
export { type CriticUpdateOptions, criticUpdate, criticUpdateAsync } from './critic-update.js';
export { DeviceBuffer, type OnDevice } from './device.js';
export type {
  DeviceDType,
  ForeignMemory,
  HostArray,
  IpcMemory,
  ViewOptions,
} from './device-memory.js';
export type { DType, FloatArray, HalfArray } from './dtypes.js';
export { CudaError, SweetError } from './errors.js';
export { type FilteredNll, type FilteredNllOptions, filteredNll } from './filtered-nll.js';
export type { LinearGradients, LinearHead, LogitsHead } from './head.js';
export { IGNORE_INDEX, type Labels } from './labels.js';
export {
  type LinearLogpsBackwardOptions,
  type LinearLogpsOptions,
  linearLogps,
  linearLogpsAsync,
  linearLogpsBackward,
  linearLogpsBackwardAsync,
} from './linear-logps.js';
export { type Backend, backends, peakWorkingMemory, setThreads, threads, useBackend } from './machine.js';
export { type PackedTurns, packTurns, type Trajectory, type Turn } from './pack-turns.js';
export {
  type MergePartialsOptions,
  mergePartials,
  type Partials,
  type PartialsOptions,
  partials,
  partialsAsync,
} from './partials.js';
export { type PolicyUpdateOptions, policyUpdate, policyUpdateAsync } from './policy-update.js';
export type { LossType, Normalization, PreferenceResult } from './preference.js';
export { rankCandidates } from './rank-candidates.js';
export { type SampledPairs, type SamplePairsOptions, samplePairs } from './sample-pairs.js';
export type { ShardOptions } from './shard.js';
export {
  type Logps,
  type TokenLogpsBackwardOptions,
  type TokenLogpsOptions,
  tokenLogps,
  tokenLogpsAsync,
  tokenLogpsBackward,
  tokenLogpsBackwardAsync,
} from './token-logps.js';
export { type TrajectoryPairsOptions, trajectoryPairs } from './trajectory-pairs.js';
export { type TrajectoryPreferenceOptions, trajectoryPreferenceLoss } from './trajectory-preference.js';
export { type TrlMetrics, trlMetrics } from './trl-metrics.js';
export {
  type Reduction,
  type TurnAdvantagesBackwardOptions,
  type TurnAdvantagesOptions,
  turnAdvantages,
  turnAdvantagesBackward,
} from './turn-advantages.js';
export { type TurnPreferenceOptions, turnPreferenceLoss } from './turn-preference.js';
export type { Reference, UpdateResult } from './update.js';
