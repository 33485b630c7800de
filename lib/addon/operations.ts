// Generated from binding/operations.js by `npm run generate`. Do not edit.

/** A typed array, or the device buffer that takes its place. */
export type View = ArrayBufferView & { readonly length: number };

export const DTYPE = { float32: 0, bfloat16: 1, float16: 2 } as const;
export type DType = keyof typeof DTYPE;

export const PRECISION = { fastest: 0, float32: 1, storage: 2 } as const;
export type Precision = keyof typeof PRECISION;

export const LOSS_TYPE = { sigmoid: 0, hinge: 1, ipo: 2, sigmoid_norm: 3, cpo: 4, simpo: 5, robust: 6, exo_pair: 7, discopop: 8, nca_pair: 9, bco_pair: 10, sppo_hard: 11, apo_zero: 12, apo_down: 13, orpo: 14, aot: 15, aot_unpaired: 16, sft: 17 } as const;
export type LossType = keyof typeof LOSS_TYPE;

export const SCORE_MAP = { reverse_kl: 0, forward_kl: 1, js_divergence: 2, alpha_divergence: 3 } as const;
export type ScoreMap = keyof typeof SCORE_MAP;

export const UNPAIRED_TYPE = { kto: 0, apo_zero_unpaired: 1, bco: 2 } as const;
export type UnpairedType = keyof typeof UNPAIRED_TYPE;

export const NORMALIZATION = { 'turn-mean': 0, 'token-mean': 1, sum: 2 } as const;
export type Normalization = keyof typeof NORMALIZATION;

export const PREFERENCE_LEVEL = { turn: 0, trajectory: 1 } as const;
export type PreferenceLevel = keyof typeof PREFERENCE_LEVEL;

export const TOP_K_TAIL = { bucket: 0, renormalize: 1 } as const;
export type TopKTail = keyof typeof TOP_K_TAIL;

export const DIVERGENCE = { forward_kl: 0, reverse_kl: 1, jsd: 2 } as const;
export type Divergence = keyof typeof DIVERGENCE;

export const OBJECTIVE = { clip: 0, cispo: 1, sapo: 2, dppo: 3, reinforce: 4 } as const;
export type Objective = keyof typeof OBJECTIVE;

export const RATIO_LEVEL = { token: 0, turn: 1, trajectory: 2 } as const;
export type RatioLevel = keyof typeof RATIO_LEVEL;

export const LOSS_REDUCTION = { 'token-mean': 0, 'sequence-mean-token-sum': 1, 'sequence-mean-token-mean': 2, constant: 3 } as const;
export type LossReduction = keyof typeof LOSS_REDUCTION;

export const KL_TYPE = { k1: 0, k2: 1, k3: 2 } as const;
export type KlType = keyof typeof KL_TYPE;

export interface LogitsHead {
  kind: 'logits';
  dtype: DType;
  rows: number;
  vocabSize: number;
  temperature: number;
  softcap: number;
  vocabOffset: number;
  totalVocab: number;
  rowStride: number;
  logitsLength: number;
  logits: View;
}

function pushLogitsHead(to: unknown[], g: LogitsHead): void {
  to.push(DTYPE[g.dtype], g.rows, g.vocabSize, g.temperature, g.softcap, g.vocabOffset, g.totalVocab, g.rowStride, g.logitsLength, g.logits);
}

export interface Operand {
  dtype: DType;
  rowStride: number;
  columnStride: number;
  data: View;
}

function pushOperand(to: unknown[], g: Operand): void {
  to.push(DTYPE[g.dtype], g.rowStride, g.columnStride, g.data);
}

export interface LinearHead {
  kind: 'linear';
  dtype: DType;
  rows: number;
  vocabSize: number;
  temperature: number;
  softcap: number;
  vocabOffset: number;
  totalVocab: number;
  hiddenSize: number;
  chunkBytes: number;
  precision: Precision;
  hidden: Operand;
  weight: Operand;
  biasDtype: DType;
  bias: View | undefined;
}

function pushLinearHead(to: unknown[], g: LinearHead): void {
  to.push(DTYPE[g.dtype], g.rows, g.vocabSize, g.temperature, g.softcap, g.vocabOffset, g.totalVocab, g.hiddenSize, g.chunkBytes, PRECISION[g.precision]);
  pushOperand(to, g.hidden);
  pushOperand(to, g.weight);
  to.push(DTYPE[g.biasDtype], g.bias);
}

export type Head = LogitsHead | LinearHead;

function pushHead(to: unknown[], g: Head): void {
  to.push(g.kind !== 'logits');
  if (g.kind === 'logits') pushLogitsHead(to, g);
  else pushLinearHead(to, g);
}

export interface Labels {
  wide: boolean;
  ignoreIndex: number;
  data: View;
  mask: View | undefined;
}

function pushLabels(to: unknown[], g: Labels): void {
  to.push(g.wide, g.ignoreIndex, g.data, g.mask);
}

export interface TokenLabels {
  wide: boolean;
  ignoreIndex: number;
  data: View | undefined;
  mask: View | undefined;
  weights: View | undefined;
}

function pushTokenLabels(to: unknown[], g: TokenLabels): void {
  to.push(g.wide, g.ignoreIndex, g.data, g.mask, g.weights);
}

export interface LogpsOut {
  logps: View;
  lse: View;
  entropy: View | undefined;
  argmax: View | undefined;
  sumSquaredProbs: View | undefined;
}

function pushLogpsOut(to: unknown[], g: LogpsOut): void {
  to.push(g.logps, g.lse, g.entropy, g.argmax, g.sumSquaredProbs);
}

export interface ShardFormat {
  entropy: boolean;
  argmax: boolean;
  sumSquares: boolean;
}

function pushShardFormat(to: unknown[], g: ShardFormat): void {
  to.push(g.entropy, g.argmax, g.sumSquares);
}

export interface LogitsGradients {
  kind: 'logits';
  logits: View;
}

function pushLogitsGradients(to: unknown[], g: LogitsGradients): void {
  to.push(g.logits);
}

export interface LinearGradients {
  kind: 'linear';
  accumulate: boolean;
  hidden: View | undefined;
  weight: View | undefined;
  bias: View | undefined;
}

function pushLinearGradients(to: unknown[], g: LinearGradients): void {
  to.push(g.accumulate, g.hidden, g.weight, g.bias);
}

export type HeadGradients = LogitsGradients | LinearGradients;

function pushHeadGradients(to: unknown[], g: HeadGradients): void {
  to.push(g.kind !== 'logits');
  if (g.kind === 'logits') pushLogitsGradients(to, g);
  else pushLinearGradients(to, g);
}

export interface TurnBatch {
  tokens: number;
  turns: number;
  mean: boolean;
  allowEmptyTurns: boolean;
  labels: TokenLabels;
  turnOffsets: View;
}

function pushTurnBatch(to: unknown[], g: TurnBatch): void {
  to.push(g.tokens, g.turns, g.mean, g.allowEmptyTurns);
  pushTokenLabels(to, g.labels);
  to.push(g.turnOffsets);
}

export interface Pairs {
  count: number;
  chosen: View;
  rejected: View;
  weights: View | undefined;
}

function pushPairs(to: unknown[], g: Pairs): void {
  to.push(g.count, g.chosen, g.rejected, g.weights);
}

export interface PreferenceBatch {
  level: PreferenceLevel;
  tokens: number;
  turns: number;
  trajectories: number;
  labels: TokenLabels;
  turnOffsets: View;
  trajectoryOffsets: View | undefined;
  pairs: Pairs;
}

function pushPreferenceBatch(to: unknown[], g: PreferenceBatch): void {
  to.push(PREFERENCE_LEVEL[g.level], g.tokens, g.turns, g.trajectories);
  pushTokenLabels(to, g.labels);
  to.push(g.turnOffsets, g.trajectoryOffsets);
  pushPairs(to, g.pairs);
}

export interface LossTerm {
  type: LossType;
  weight: number;
}

function pushLossTerm(to: unknown[], g: LossTerm): void {
  to.push(LOSS_TYPE[g.type], g.weight);
}

export interface PairParameters {
  beta: number;
  labelSmoothing: number;
  gamma: number;
  discopopTau: number;
  fDivergence: ScoreMap;
  fAlpha: number;
  dpopLambda: number;
}

function pushPairParameters(to: unknown[], g: PairParameters): void {
  to.push(g.beta, g.labelSmoothing, g.gamma, g.discopopTau, SCORE_MAP[g.fDivergence], g.fAlpha, g.dpopLambda);
}

export interface PairLoss {
  terms: readonly LossTerm[];
  parameters: PairParameters;
}

function pushPairLoss(to: unknown[], g: PairLoss): void {
  to.push(g.terms.length);
  for (const each of g.terms) pushLossTerm(to, each);
  pushPairParameters(to, g.parameters);
}

export interface PreferenceOptions {
  normalization: Normalization;
  allowEmptyTurns: boolean;
  pairLoss: PairLoss;
  pairDenominator: number;
  nllCoef: number;
  nllDenominator: number;
  ldAlpha: number;
  useWeighting: boolean;
}

function pushPreferenceOptions(to: unknown[], g: PreferenceOptions): void {
  to.push(NORMALIZATION[g.normalization], g.allowEmptyTurns);
  pushPairLoss(to, g.pairLoss);
  to.push(g.pairDenominator, g.nllCoef, g.nllDenominator, g.ldAlpha, g.useWeighting);
}

export interface PreferenceOut {
  scalars: View;
  pairLosses: View;
  margins: View;
  chosenRewards: View;
  rejectedRewards: View;
  turnAdvantages: View;
  gradLogps: View;
}

function pushPreferenceOut(to: unknown[], g: PreferenceOut): void {
  to.push(g.scalars, g.pairLosses, g.margins, g.chosenRewards, g.rejectedRewards, g.turnAdvantages, g.gradLogps);
}

export interface UnpairedBatch {
  level: PreferenceLevel;
  tokens: number;
  turns: number;
  trajectories: number;
  labels: TokenLabels;
  turnOffsets: View;
  trajectoryOffsets: View | undefined;
  desirable: View;
  unitWeights: View | undefined;
}

function pushUnpairedBatch(to: unknown[], g: UnpairedBatch): void {
  to.push(PREFERENCE_LEVEL[g.level], g.tokens, g.turns, g.trajectories);
  pushTokenLabels(to, g.labels);
  to.push(g.turnOffsets, g.trajectoryOffsets, g.desirable, g.unitWeights);
}

export interface ReferencePoint {
  value: number;
  isRunning: boolean;
  count: number;
  sequences: number;
  klLogps: View | undefined;
  klRefLogps: View | undefined;
}

function pushReferencePoint(to: unknown[], g: ReferencePoint): void {
  to.push(g.value, g.isRunning, g.count, g.sequences, g.klLogps, g.klRefLogps);
}

export interface UnpairedOptions {
  normalization: Normalization;
  allowEmptyTurns: boolean;
  type: UnpairedType;
  beta: number;
  desirableWeight: number;
  undesirableWeight: number;
  unitDenominator: number;
  referencePoint: ReferencePoint;
}

function pushUnpairedOptions(to: unknown[], g: UnpairedOptions): void {
  to.push(NORMALIZATION[g.normalization], g.allowEmptyTurns, UNPAIRED_TYPE[g.type], g.beta, g.desirableWeight, g.undesirableWeight, g.unitDenominator);
  pushReferencePoint(to, g.referencePoint);
}

export interface UnpairedOut {
  scalars: View;
  unitLosses: View;
  rewards: View;
  rewardsByKind: View;
  turnAdvantages: View;
  gradLogps: View;
}

function pushUnpairedOut(to: unknown[], g: UnpairedOut): void {
  to.push(g.scalars, g.unitLosses, g.rewards, g.rewardsByKind, g.turnAdvantages, g.gradLogps);
}

export interface Reals {
  wide: boolean;
  data: View;
}

function pushReals(to: unknown[], g: Reals): void {
  to.push(g.wide, g.data);
}

export interface OptionalReals {
  wide: boolean;
  data: View | undefined;
}

function pushOptionalReals(to: unknown[], g: OptionalReals): void {
  to.push(g.wide, g.data);
}

export interface PolicyGradientBatch {
  tokens: number;
  turns: number;
  trajectories: number;
  turnOffsets: View | undefined;
  trajectoryOffsets: View | undefined;
  advantages: Reals;
  oldLogps: OptionalReals;
  importanceWeights: OptionalReals;
}

function pushPolicyGradientBatch(to: unknown[], g: PolicyGradientBatch): void {
  to.push(g.tokens, g.turns, g.trajectories, g.turnOffsets, g.trajectoryOffsets);
  pushReals(to, g.advantages);
  pushOptionalReals(to, g.oldLogps);
  pushOptionalReals(to, g.importanceWeights);
}

export interface PolicyGradientOptions {
  objective: Objective;
  ratioLevel: RatioLevel;
  clipLow: number;
  clipHigh: number;
  dualClip: number;
  tauPositive: number;
  tauNegative: number;
  reduction: LossReduction;
  denominator: number;
  klType: KlType;
  klCoef: number;
  klMax: number;
  entropyCoef: number;
}

function pushPolicyGradientOptions(to: unknown[], g: PolicyGradientOptions): void {
  to.push(OBJECTIVE[g.objective], RATIO_LEVEL[g.ratioLevel], g.clipLow, g.clipHigh, g.dualClip, g.tauPositive, g.tauNegative, LOSS_REDUCTION[g.reduction], g.denominator, KL_TYPE[g.klType], g.klCoef, g.klMax, g.entropyCoef);
}

export interface PolicyGradientOut {
  scalars: View;
}

function pushPolicyGradientOut(to: unknown[], g: PolicyGradientOut): void {
  to.push(g.scalars);
}

export interface ReferenceLogps {
  kind: 'logps';
  logps: View | undefined;
}

function pushReferenceLogps(to: unknown[], g: ReferenceLogps): void {
  to.push(g.logps);
}

export interface ReferenceHead {
  kind: 'head';
  head: Head;
}

function pushReferenceHead(to: unknown[], g: ReferenceHead): void {
  pushHead(to, g.head);
}

export type Reference = ReferenceLogps | ReferenceHead;

function pushReference(to: unknown[], g: Reference): void {
  to.push(g.kind !== 'logps');
  if (g.kind === 'logps') pushReferenceLogps(to, g);
  else pushReferenceHead(to, g);
}

export interface TeacherHead {
  kind: 'head';
  head: Head;
}

function pushTeacherHead(to: unknown[], g: TeacherHead): void {
  pushHead(to, g.head);
}

export interface TeacherTopK {
  kind: 'topK';
  k: number;
  tail: TopKTail;
  indices: View;
  logps: View;
}

function pushTeacherTopK(to: unknown[], g: TeacherTopK): void {
  to.push(g.k, TOP_K_TAIL[g.tail], g.indices, g.logps);
}

export type Teacher = TeacherHead | TeacherTopK;

function pushTeacher(to: unknown[], g: Teacher): void {
  to.push(g.kind !== 'head');
  if (g.kind === 'head') pushTeacherHead(to, g);
  else pushTeacherTopK(to, g);
}

export interface Logps {
  head: Head;
  labels: Labels;
  out: LogpsOut;
}

function logps(g: Logps): unknown[] {
  const to: unknown[] = [];
  pushHead(to, g.head);
  pushLabels(to, g.labels);
  pushLogpsOut(to, g.out);
  return to;
}

export interface LogpsBackward {
  head: Head;
  labels: Labels;
  lse: View;
  entropy: View | undefined;
  gradLogps: View | undefined;
  gradEntropy: View | undefined;
  gradLse: View | undefined;
  gradients: HeadGradients;
}

function logpsBackward(g: LogpsBackward): unknown[] {
  const to: unknown[] = [];
  pushHead(to, g.head);
  pushLabels(to, g.labels);
  to.push(g.lse, g.entropy, g.gradLogps, g.gradEntropy, g.gradLse);
  pushHeadGradients(to, g.gradients);
  return to;
}

export interface VocabParallelStats {
  head: Head;
  labels: Labels;
  format: ShardFormat;
  stats: View;
}

function vocabParallelStats(g: VocabParallelStats): unknown[] {
  const to: unknown[] = [];
  pushHead(to, g.head);
  pushLabels(to, g.labels);
  pushShardFormat(to, g.format);
  to.push(g.stats);
  return to;
}

export interface MergeVocabParallelStats {
  rows: number;
  shards: number;
  format: ShardFormat;
  stats: View;
  labels: Labels;
  out: LogpsOut;
}

function mergeVocabParallelStats(g: MergeVocabParallelStats): unknown[] {
  const to: unknown[] = [];
  to.push(g.rows, g.shards);
  pushShardFormat(to, g.format);
  to.push(g.stats);
  pushLabels(to, g.labels);
  pushLogpsOut(to, g.out);
  return to;
}

export interface TurnAdvantages {
  batch: TurnBatch;
  logps: View;
  refLogps: View;
  advantages: View;
}

function turnAdvantages(g: TurnAdvantages): unknown[] {
  const to: unknown[] = [];
  pushTurnBatch(to, g.batch);
  to.push(g.logps, g.refLogps, g.advantages);
  return to;
}

export interface TurnAdvantagesBackward {
  batch: TurnBatch;
  gradAdvantages: View;
  gradLogps: View;
}

function turnAdvantagesBackward(g: TurnAdvantagesBackward): unknown[] {
  const to: unknown[] = [];
  pushTurnBatch(to, g.batch);
  to.push(g.gradAdvantages, g.gradLogps);
  return to;
}

export interface PreferenceLoss {
  batch: PreferenceBatch;
  options: PreferenceOptions;
  logps: View;
  refLogps: View | undefined;
  sumSquaredProbs: View | undefined;
  out: PreferenceOut;
}

function preferenceLoss(g: PreferenceLoss): unknown[] {
  const to: unknown[] = [];
  pushPreferenceBatch(to, g.batch);
  pushPreferenceOptions(to, g.options);
  to.push(g.logps, g.refLogps, g.sumSquaredProbs);
  pushPreferenceOut(to, g.out);
  return to;
}

export interface PreferenceUpdate {
  head: Head;
  labels: Labels;
  reference: Reference;
  batch: PreferenceBatch;
  options: PreferenceOptions;
  logps: View;
  entropy: View | undefined;
  argmax: View | undefined;
  sumSquaredProbs: View | undefined;
  out: PreferenceOut;
  gradients: HeadGradients;
}

function preferenceUpdate(g: PreferenceUpdate): unknown[] {
  const to: unknown[] = [];
  pushHead(to, g.head);
  pushLabels(to, g.labels);
  pushReference(to, g.reference);
  pushPreferenceBatch(to, g.batch);
  pushPreferenceOptions(to, g.options);
  to.push(g.logps, g.entropy, g.argmax, g.sumSquaredProbs);
  pushPreferenceOut(to, g.out);
  pushHeadGradients(to, g.gradients);
  return to;
}

export interface UnpairedLoss {
  batch: UnpairedBatch;
  options: UnpairedOptions;
  logps: View;
  refLogps: View | undefined;
  out: UnpairedOut;
}

function unpairedLoss(g: UnpairedLoss): unknown[] {
  const to: unknown[] = [];
  pushUnpairedBatch(to, g.batch);
  pushUnpairedOptions(to, g.options);
  to.push(g.logps, g.refLogps);
  pushUnpairedOut(to, g.out);
  return to;
}

export interface UnpairedUpdate {
  head: Head;
  labels: Labels;
  reference: Reference;
  batch: UnpairedBatch;
  options: UnpairedOptions;
  logps: View;
  entropy: View | undefined;
  argmax: View | undefined;
  sumSquaredProbs: View | undefined;
  out: UnpairedOut;
  gradients: HeadGradients;
}

function unpairedUpdate(g: UnpairedUpdate): unknown[] {
  const to: unknown[] = [];
  pushHead(to, g.head);
  pushLabels(to, g.labels);
  pushReference(to, g.reference);
  pushUnpairedBatch(to, g.batch);
  pushUnpairedOptions(to, g.options);
  to.push(g.logps, g.entropy, g.argmax, g.sumSquaredProbs);
  pushUnpairedOut(to, g.out);
  pushHeadGradients(to, g.gradients);
  return to;
}

export interface PolicyGradientUpdate {
  head: Head;
  labels: Labels;
  reference: Reference;
  batch: PolicyGradientBatch;
  options: PolicyGradientOptions;
  logps: View;
  entropy: View | undefined;
  argmax: View | undefined;
  sumSquaredProbs: View | undefined;
  out: PolicyGradientOut;
  gradients: HeadGradients;
}

function policyGradientUpdate(g: PolicyGradientUpdate): unknown[] {
  const to: unknown[] = [];
  pushHead(to, g.head);
  pushLabels(to, g.labels);
  pushReference(to, g.reference);
  pushPolicyGradientBatch(to, g.batch);
  pushPolicyGradientOptions(to, g.options);
  to.push(g.logps, g.entropy, g.argmax, g.sumSquaredProbs);
  pushPolicyGradientOut(to, g.out);
  pushHeadGradients(to, g.gradients);
  return to;
}

export interface HeadDivergence {
  head: Head;
  labels: TokenLabels;
  teacher: Teacher;
  type: Divergence;
  jsdBeta: number;
  divergence: View;
  saved: View;
}

function headDivergence(g: HeadDivergence): unknown[] {
  const to: unknown[] = [];
  pushHead(to, g.head);
  pushTokenLabels(to, g.labels);
  pushTeacher(to, g.teacher);
  to.push(DIVERGENCE[g.type], g.jsdBeta, g.divergence, g.saved);
  return to;
}

export interface HeadDivergenceBackward {
  head: Head;
  labels: TokenLabels;
  teacher: Teacher;
  type: Divergence;
  jsdBeta: number;
  saved: View;
  gradDivergence: View;
  gradients: HeadGradients;
}

function headDivergenceBackward(g: HeadDivergenceBackward): unknown[] {
  const to: unknown[] = [];
  pushHead(to, g.head);
  pushTokenLabels(to, g.labels);
  pushTeacher(to, g.teacher);
  to.push(DIVERGENCE[g.type], g.jsdBeta, g.saved, g.gradDivergence);
  pushHeadGradients(to, g.gradients);
  return to;
}

export interface FirstNonFinite {
  dtype: DType;
  rows: number;
  columns: number;
  rowStride: number;
  allowNegInf: boolean;
  data: View;
  mask: View | undefined;
}

function firstNonFinite(g: FirstNonFinite): unknown[] {
  const to: unknown[] = [];
  to.push(DTYPE[g.dtype], g.rows, g.columns, g.rowStride, g.allowNegInf, g.data, g.mask);
  return to;
}

/** Why an operation fails, by its number in the native code less 1; faults.ts has the error of each. */
export const FAULTS = ['memory', 'shape', 'label', 'turnOffsets', 'trajectoryOffsets', 'emptyTurn', 'emptyTrajectory', 'chosen', 'rejected', 'samePair', 'pairWeight', 'zeroWeights', 'tokenWeight', 'unitWeight', 'teacherIndex', 'teacherTwice', 'teacherLogps', 'shardRows', 'shardMismatch', 'shardNoEntropy', 'shardStatistics', 'shardMask', 'shardLabels', 'shardCoverage', 'device', 'deviceGemm', 'cancelled'] as const;
export type FaultCode = (typeof FAULTS)[number];

/** The operations and their arguments. */
export interface Operations {
  logps: Logps;
  logpsBackward: LogpsBackward;
  vocabParallelStats: VocabParallelStats;
  mergeVocabParallelStats: MergeVocabParallelStats;
  turnAdvantages: TurnAdvantages;
  turnAdvantagesBackward: TurnAdvantagesBackward;
  preferenceLoss: PreferenceLoss;
  preferenceUpdate: PreferenceUpdate;
  unpairedLoss: UnpairedLoss;
  unpairedUpdate: UnpairedUpdate;
  policyGradientUpdate: PolicyGradientUpdate;
  headDivergence: HeadDivergence;
  headDivergenceBackward: HeadDivergenceBackward;
  firstNonFinite: FirstNonFinite;
}

/** Those that also run on another thread. */
export const ASYNC_OPERATIONS = ['logps', 'logpsBackward', 'vocabParallelStats', 'preferenceUpdate', 'unpairedUpdate', 'policyGradientUpdate', 'headDivergence', 'headDivergenceBackward'] as const;
export type AsyncOperation = (typeof ASYNC_OPERATIONS)[number];

/** Those that the addon of sweet-rl-cuda has. */
export type DeviceOperation = 'logps' | 'logpsBackward' | 'vocabParallelStats' | 'mergeVocabParallelStats' | 'turnAdvantages' | 'turnAdvantagesBackward' | 'preferenceLoss' | 'preferenceUpdate' | 'unpairedLoss' | 'unpairedUpdate' | 'policyGradientUpdate' | 'headDivergence' | 'headDivergenceBackward';

/** What a native function returns: undefined or the rule that its input breaks, or a number. */
export interface Returns<Fault> {
  logps: Fault | undefined;
  logpsBackward: Fault | undefined;
  vocabParallelStats: Fault | undefined;
  mergeVocabParallelStats: Fault | undefined;
  turnAdvantages: Fault | undefined;
  turnAdvantagesBackward: Fault | undefined;
  preferenceLoss: Fault | undefined;
  preferenceUpdate: Fault | undefined;
  unpairedLoss: Fault | undefined;
  unpairedUpdate: Fault | undefined;
  policyGradientUpdate: Fault | undefined;
  headDivergence: Fault | undefined;
  headDivergenceBackward: Fault | undefined;
  firstNonFinite: number;
}

/** The arguments of the native functions, in their order. */
export const encode: { readonly [K in keyof Operations]: (call: Operations[K]) => unknown[] } = {
  logps,
  logpsBackward,
  vocabParallelStats,
  mergeVocabParallelStats,
  turnAdvantages,
  turnAdvantagesBackward,
  preferenceLoss,
  preferenceUpdate,
  unpairedLoss,
  unpairedUpdate,
  policyGradientUpdate,
  headDivergence,
  headDivergenceBackward,
  firstNonFinite,
};
