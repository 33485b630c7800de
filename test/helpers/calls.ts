/** A valid call of every public function that takes options, and what each of its arguments may be. */
import { constants } from 'node:buffer';
import * as sweetRl from 'sweet-rl';
import * as jax from 'sweet-rl/jax';
import * as safetensors from 'sweet-rl/safetensors';
import * as shm from 'sweet-rl/shm';
import * as tfjs from 'sweet-rl/tfjs';
import { lossTypes } from '../../scripts/loss-types.js';
import {
  type Argument,
  array,
  boolean,
  choice,
  coefficient,
  divisor,
  foreign,
  integer,
  isArray,
  isObject,
  type Kind,
  number,
  type Options,
  ofType,
  scaleFactor,
  signedCoefficient,
  tagOf,
} from './arguments.ts';
import { OBJECTIVE_SUBJECTS } from './objective-calls.ts';
import { type Subject, subject } from './subject.ts';

export type { Subject } from './subject.ts';

export const ints = (...values: number[]) => Int32Array.from(values);
export const floats = (...values: number[]) => Float32Array.from(values);
export const filled = (length: number) => new Float32Array(length).fill(7);
export const ones = (length: number) => new Float32Array(length).fill(1);

const FLOATS = 'Float32Array Uint16Array Float16Array';
const MASKS = 'Uint8Array Int32Array BigInt64Array';
const fixed = { fixed: true };
const both = { fixed: true, optional: true };
const out = ofType((value) => value === undefined || isObject(value));
const positive = number((x) => x > 0 && x < Infinity);
const notNegative = number((x) => x >= 0 && x < Infinity);
const dtype: Kind = {
  ...choice('float32', 'bfloat16', 'float16'),
  // A Float32Array is of no other.
  verdict(value, valid) {
    if (value === 'bfloat16' || value === 'float16') return { class: TypeError, code: 'ERR_ARG_TYPE' };
    return choice('float32').verdict(value, valid);
  },
};

const cap = number((x) => x >= 1e-3 && x <= 1e6);
/** null is none. */
const softcap: Kind = { ...cap, verdict: (value, valid) => (value === null ? 'any' : cap.verdict(value, valid)) };

// -- rows over the vocabulary: 3 rows of 4 words

const logits: Record<string, Kind> = {
  logits: array(FLOATS),
  dtype,
  rowStride: integer(1, 2 ** 53 - 1),
  vocabSize: integer(1, 2 ** 31 - 1),
  temperature: number((x) => x >= 1e-30 && x <= 1e30),
  softcap,
};
const linear: Record<string, Kind> = {
  hidden: array(FLOATS),
  weight: array(FLOATS),
  weightDtype: dtype,
  weightLayout: choice('VH', 'HV'),
  bias: array(FLOATS, both),
  hiddenSize: integer(1, 2 ** 53 - 1),
  hiddenStride: integer(1, 2 ** 53 - 1),
  precision: choice('float32', 'storage'),
  vocabSize: logits.vocabSize!,
  dtype,
  temperature: logits.temperature!,
  softcap,
};
/** Which gradients of a linear head there are. */
const gradients: Record<string, Kind> = { accumulate: boolean, frozenWeight: boolean, frozenHidden: boolean };
const debug = choice('finite');
const labels: Record<string, Kind> = {
  debug,
  labels: array('Int32Array BigInt64Array'),
  mask: array(MASKS, both),
  ignoreIndex: integer(-(2 ** 31), 2 ** 31 - 1),
};
const shard: Record<string, Kind> = {
  vocabOffset: integer(0, 6),
  totalVocab: { ...integer(4, 2 ** 31 - 1), values: [3, 4, 5, 6, 7, 2 ** 31, 1.5] },
};
const ofEntropy = array('Float32Array', fixed);
const backward: Record<string, Kind> = {
  lse: array('Float32Array', fixed),
  gradLogps: array('Float32Array', both),
  gradEntropy: {
    ...ofEntropy,
    // The entropy is without use then.
    verdict: (value, valid) =>
      value === undefined ? { class: TypeError, code: 'ERR_UNKNOWN_OPTION' } : ofEntropy.verdict(value, valid),
  },
  entropy: ofEntropy,
  gradLse: array('Float32Array', both),
};

export const logitsHead = () => ({
  logits: floats(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11),
  labels: ints(0, 1, 2),
  mask: Uint8Array.of(1, 1, 1),
});
export const linearHead = () => ({
  hidden: floats(1, 2, 3, 4, 5, 6),
  weight: floats(1, 2, 3, 4, 5, 6, 7, 8),
  bias: floats(1, 2, 3, 4),
  labels: ints(0, 1, 2),
  mask: Uint8Array.of(1, 1, 1),
});
const given = () => ({
  ...{ lse: floats(60, 60, 60), gradLogps: floats(1, 1, 1) },
  ...{ gradEntropy: floats(1, 2, 1), entropy: floats(1, 1, 1), gradLse: floats(2, 1, 1) },
});
const statsOut = () => ({ stats: new Float64Array(29).fill(7) });
const strangersTo = (own: Record<string, Kind>, others: Record<string, Kind>) =>
  Object.fromEntries(
    Object.keys(others)
      .filter((name) => !(name in own))
      .map((name) => [name, foreign]),
  );
/** Statistics of rows: all of them asked for, and what the options may be. */
const asked = { entropy: true, argmax: true, sumSquaredProbs: true };
const statistics: Record<string, Kind> = { entropy: boolean, argmax: boolean, sumSquaredProbs: boolean };
const statisticsOut = (rows: number) => ({
  entropy: filled(rows),
  argmax: new Int32Array(rows).fill(7),
  sumSquaredProbs: filled(rows),
});
const logpsOut = () => ({ logps: filled(3), lse: filled(3), ...statisticsOut(3) });

const rows: Subject[] = [
  subject(sweetRl.tokenLogps, '', () => ({ ...logitsHead(), ...asked, out: logpsOut() }), {
    ...logits,
    ...labels,
    ...statistics,
    out,
  }),
  subject(
    sweetRl.tokenLogpsBackward as (options: never) => unknown,
    '',
    () => ({ ...logitsHead(), ...given(), out: { gradLogits: filled(12) } }),
    { ...logits, ...shard, vocabOffset: integer(0, 0), ...labels, ...backward, out },
    ['gradLogits', 'logits'],
  ),
  subject(sweetRl.linearLogps, '', () => ({ ...linearHead(), ...asked, out: logpsOut() }), {
    ...linear,
    ...labels,
    ...statistics,
    out,
  }),
  subject(
    sweetRl.linearLogpsBackward,
    '',
    () => ({
      ...linearHead(),
      ...given(),
      out: { gradHidden: filled(6), gradWeight: filled(8), gradBias: filled(4) },
    }),
    { ...linear, ...shard, vocabOffset: integer(0, 0), ...labels, ...backward, ...gradients, out },
  ),
  subject(
    sweetRl.vocabParallelStats as (options: never) => unknown,
    'of logits',
    () => ({ ...logitsHead(), vocabOffset: 2, totalVocab: 10, ...asked, out: statsOut() }),
    { ...strangersTo(logits, linear), ...logits, ...shard, ...labels, ...statistics, out },
  ),
  subject(
    sweetRl.vocabParallelStats as (options: never) => unknown,
    'of hidden states',
    () => ({ ...linearHead(), vocabOffset: 2, totalVocab: 10, ...asked, out: statsOut() }),
    { ...strangersTo(linear, logits), ...linear, ...shard, ...labels, ...statistics, out },
  ),
  subject(
    sweetRl.mergeVocabParallelStats,
    '',
    () => ({
      stats: sweetRl.vocabParallelStats({ ...logitsHead(), ...asked }).stats,
      labels: ints(0, 1, 2),
      mask: Uint8Array.of(1, 1, 1),
      ...asked,
      out: logpsOut(),
    }),
    { stats: array('Float64Array', fixed), ...labels, ...statistics, out },
  ),
];

// -- turns: 5 tokens in 3 turns in 2 trajectories

const tokens: Record<string, Kind> = {
  debug,
  logps: array('Float32Array'),
  refLogps: array('Float32Array', fixed),
};
/** Of the losses of pairs, whose valid calls have no weighting. */
const squares: Record<string, Kind> = { sumSquaredProbs: foreign };
/** Which tokens count. */
const counted: Record<string, Kind> = {
  mask: array(MASKS, both),
  labels: array('Int32Array BigInt64Array', both),
  ignoreIndex: labels.ignoreIndex!,
};
const weights: Record<string, Kind> = { tokenWeights: array('Float32Array', both) };
const turnOptions: Record<string, Kind> = {
  turnOffsets: array('Int32Array'),
  trajectoryOffsets: array('Int32Array', { optional: true }),
  reduction: choice('mean', 'sum'),
  allowEmptyTurns: boolean,
};
/** An option that the loss type of the valid call does not take. */
const notTaken = (kind: Kind): Kind => ({
  ...kind,
  verdict(value, valid) {
    const verdict = kind.verdict(value, valid);
    return verdict === 'any' && value !== undefined ? { class: TypeError, code: 'ERR_UNKNOWN_OPTION' } : verdict;
  },
});
/** Of a list, whose rules are in the tests of the losses, or else of this kind. */
const orList = (kind: Kind): Kind => ({
  ...kind,
  verdict: (value, valid) => (isArray(value) ? 'any' : kind.verdict(value, valid)),
});
const lossTypeOptions: Record<string, Kind> = {
  beta: scaleFactor,
  lossType: orList(choice(...lossTypes.map(({ name }) => String(name)))),
  lossWeights: orList(ofType((value) => value === undefined)),
  labelSmoothing: number((x) => x >= 0 && x < 0.5),
  gamma: notTaken(coefficient),
  discopopTau: notTaken(scaleFactor),
  fDivergence: choice('reverse_kl', 'forward_kl', 'js_divergence', 'alpha_divergence'),
  fAlpha: notTaken(number(Number.isFinite)),
  dpopLambda: coefficient,
  ldAlpha: number((x) => x >= 0 && x <= 1),
  useWeighting: boolean,
  referenceFree: boolean,
};
const pairOptions: Record<string, Kind> = {
  turnOffsets: array('Int32Array'),
  chosen: array('Int32Array'),
  rejected: array('Int32Array', fixed),
  ...lossTypeOptions,
  pairWeights: array('Float32Array', both),
  pairDenominator: divisor,
  nllCoef: coefficient,
  nllDenominator: divisor,
  allowEmptyTurns: boolean,
};
const ofTrajectories: Record<string, Kind> = {
  trajectoryOffsets: array('Int32Array'),
  normalization: choice('turn-mean', 'token-mean', 'sum'),
};
const ofTurns: Record<string, Kind> = { reduction: choice('mean', 'sum') };

export const turns = () => ({
  turnOffsets: ints(0, 2, 3, 5),
  mask: Uint8Array.of(1, 1, 1, 1, 1),
  labels: ints(0, 0, 0, 0, 0),
  tokenWeights: floats(1, 2, 1, 0.5, 3),
});
export const batch = () => ({ logps: floats(1, 2, 3, 4, 5), refLogps: new Float32Array(5), ...turns() });
export const pairs = () => ({ chosen: ints(0, 1), rejected: ints(1, 0), pairWeights: floats(1, 2) });
export const trajectories = () => ({ ...turns(), trajectoryOffsets: ints(0, 2, 3), ...pairs() });
export const preferenceOut = () => ({
  pairLosses: filled(2),
  margins: filled(2),
  chosenRewards: filled(2),
  rejectedRewards: filled(2),
  turnAdvantages: filled(3),
  gradLogps: filled(5),
});

const losses: Subject[] = [
  subject(sweetRl.turnAdvantages, '', () => ({ ...batch(), reduction: 'mean' }), {
    ...tokens,
    ...counted,
    ...weights,
    ...turnOptions,
  }),
  subject(sweetRl.turnAdvantagesBackward, '', () => ({ ...turns(), gradAdvantages: floats(1, 2, 3) }), {
    ...turnOptions,
    debug,
    gradAdvantages: array('Float32Array', fixed),
    ...counted,
    ...weights,
  }),
  subject(sweetRl.trajectoryPreferenceLoss, '', () => ({ ...batch(), ...trajectories(), out: preferenceOut() }), {
    ...tokens,
    ...counted,
    ...weights,
    ...pairOptions,
    ...squares,
    ...ofTrajectories,
    out,
  }),
  subject(sweetRl.turnPreferenceLoss, '', () => ({ ...batch(), ...pairs(), out: preferenceOut() }), {
    ...tokens,
    ...counted,
    ...weights,
    ...pairOptions,
    ...squares,
    ...ofTurns,
    out,
  }),
];

// -- losses of single items

const unpaired: Record<string, Kind> = {
  turnOffsets: array('Int32Array'),
  trajectoryOffsets: foreign,
  normalization: foreign,
  reduction: choice('mean', 'sum'),
  desirable: array('Uint8Array', fixed),
  lossType: choice('kto', 'apo_zero_unpaired', 'bco'),
  beta: scaleFactor,
  desirableWeight: coefficient,
  undesirableWeight: coefficient,
  unitWeights: array('Float32Array', both),
  unitDenominator: divisor,
  klLogps: array('Float32Array'),
  klRefLogps: array('Float32Array', fixed),
  referencePoint: foreign,
  running: foreign,
  referenceFree: boolean,
  allowEmptyTurns: boolean,
};
const finite = number(Number.isFinite);
const unpairedTrajectories: Record<string, Kind> = {
  ...unpaired,
  trajectoryOffsets: array('Int32Array', { optional: true }),
  normalization: ofTrajectories.normalization!,
  reduction: foreign,
};
const unpairedRunning: Record<string, Kind> = {
  ...unpaired,
  klLogps: foreign,
  klRefLogps: foreign,
  running: ofType((value) => value === undefined || isObject(value)),
};
const sequences = () => ({ klLogps: floats(2, 3), klRefLogps: floats(1, 1) });
export const unpairedTurns = () => ({
  ...turns(),
  ...sequences(),
  desirable: Uint8Array.of(1, 0, 1),
  unitWeights: floats(1, 2, 0.5),
});
const unpairedOut = () => ({
  unitLosses: filled(3),
  rewards: filled(3),
  turnAdvantages: filled(3),
  gradLogps: filled(5),
});
const ofThree = () => ({
  trajectoryOffsets: ints(0, 1, 2, 3),
  normalization: 'turn-mean',
});

const unpairedLosses: Subject[] = [
  subject(sweetRl.unpairedPreferenceLoss, 'of turns', () => ({ ...batch(), ...unpairedTurns(), out: unpairedOut() }), {
    ...tokens,
    ...counted,
    ...weights,
    ...unpaired,
    out,
  }),
  subject(
    sweetRl.unpairedPreferenceLoss,
    'of trajectories',
    () => ({ ...batch(), ...unpairedTurns(), ...ofThree(), out: unpairedOut() }),
    { ...tokens, ...counted, ...weights, ...unpairedTrajectories, out },
  ),
  subject(
    sweetRl.unpairedPreferenceLoss,
    'of running means',
    () => {
      const { klLogps: _, klRefLogps: __, ...given } = unpairedTurns();
      return { ...batch(), ...given, lossType: 'bco', running: { mean: 1, count: 2 } };
    },
    { ...tokens, ...counted, ...weights, ...unpairedRunning, out },
  ),
  subject(
    sweetRl.unpairedPreferenceLoss,
    'of a given reference point',
    () => {
      const { klLogps: _, klRefLogps: __, ...given } = unpairedTurns();
      return { ...batch(), ...given, referencePoint: 0.5 };
    },
    {
      ...tokens,
      ...counted,
      ...weights,
      ...unpaired,
      referencePoint: { ...finite, verdict: (value, valid) => finite.verdict(value ?? null, valid) },
      // The error names referencePoint.
      klLogps: ofType(() => true),
      klRefLogps: ofType(() => true),
      out,
    },
  ),
];

// -- divergences: 3 rows of 4 words

const divergenceNames = choice('forward_kl', 'reverse_kl', 'jsd');
const kind: Record<string, Kind> = {
  divergence: { ...divergenceNames, verdict: (value, valid) => divergenceNames.verdict(value ?? null, valid) },
  debug,
  ...counted,
};
const teacherOptions: Record<string, Kind> = {
  teacherDtype: dtype,
  teacherTemperature: logits.temperature!,
  teacherSoftcap: softcap,
  teacherVocabSize: logits.vocabSize!,
};
const topKOptions: Record<string, Kind> = {
  teacherIndices: array('Int32Array'),
  teacherLogps: array('Float32Array', fixed),
  topKTail: choice('bucket', 'renormalize'),
};
const topK = () => ({ teacherIndices: ints(0, 1, 2, 3, 1, 0), teacherLogps: floats(-1, -2, -3, -1, -2, -3) });
const ofDivergence = () => ({ divergence: 'jsd', labels: ints(0, 1, 2), mask: Uint8Array.of(1, 1, 1) });
const divergenceOut = () => ({ divergence: filled(3), saved: new Float64Array(12).fill(7) });
const DIVERGENCE_HEADS = [
  {
    way: 'logits',
    calls: [sweetRl.tokenDivergence, sweetRl.tokenDivergenceBackward],
    valid: () => ({ ...logitsHead(), vocabSize: 4, ...ofDivergence() }),
    kinds: logits,
    gradients: {},
    out: () => ({ gradLogits: filled(12) }),
    teacher: () => ({ teacherLogits: floats(11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0) }),
    teacherKinds: { teacherLogits: array(FLOATS), teacherRowStride: integer(1, 2 ** 53 - 1), ...teacherOptions },
  },
  {
    way: 'hidden states',
    calls: [sweetRl.linearDivergence, sweetRl.linearDivergenceBackward],
    valid: () => ({ ...linearHead(), hiddenSize: 2, ...ofDivergence() }),
    kinds: linear,
    gradients,
    out: () => ({ gradHidden: filled(6), gradWeight: filled(8), gradBias: filled(4) }),
    teacher: () => ({
      teacherHidden: floats(1, 2, 3),
      teacherWeight: floats(1, 2, 3, 4),
      teacherBias: floats(1, 2, 3, 4),
    }),
    teacherKinds: {
      teacherHidden: array(FLOATS),
      teacherHiddenStride: integer(1, 2 ** 53 - 1),
      teacherHiddenSize: linear.hiddenSize!,
      teacherWeight: array(FLOATS),
      teacherWeightDtype: dtype,
      teacherWeightLayout: linear.weightLayout!,
      teacherBias: array(FLOATS, both),
      ...teacherOptions,
    },
  },
];

/** The options of the other ways, none of which may be given. */
const strangers = (ways: { kinds: Record<string, Kind> }[]) =>
  Object.fromEntries(ways.flatMap(({ kinds }) => Object.keys(kinds)).map((name) => [name, foreign]));

const divergences: Subject[] = DIVERGENCE_HEADS.flatMap((head) => {
  const [forward, backwardOf] = head.calls as ((options: never) => unknown)[];
  const teachers = [
    { from: 'a head', valid: head.teacher, kinds: head.teacherKinds },
    { from: 'top-k', valid: topK, kinds: topKOptions },
  ];
  return teachers.flatMap(({ from, valid, kinds }) => {
    const inputs = () => ({ ...head.valid(), ...valid() });
    const all = {
      ...strangers(teachers),
      ...head.kinds,
      ...kind,
      jsdBeta: number((x) => x > 0 && x < 1),
      ...kinds,
      out,
    };
    const saved = () => (forward!(inputs() as never) as { saved: Float64Array }).saved;
    return [
      subject(forward!, `of ${head.way} from ${from}`, () => ({ ...inputs(), out: divergenceOut() }), all),
      subject(
        backwardOf!,
        `of ${head.way} from ${from}`,
        () => ({ ...inputs(), saved: saved(), gradDivergence: floats(1, 2, 3), out: head.out() }),
        {
          ...all,
          ...head.gradients,
          saved: array('Float64Array', fixed),
          gradDivergence: array('Float32Array', fixed),
        },
        head.way === 'logits' ? ['gradLogits', 'logits'] : undefined,
      ),
    ];
  });
});

// -- updates: 5 rows of 2 words

const updateRows = () => ({ labels: ints(0, 1, 0, 1, 0) });
const updateLogits = () => ({ logits: ones(10), ...updateRows(), ...asked });
const updateHidden = () => ({ hidden: ones(15), weight: ones(6), bias: ones(2), ...updateRows(), ...asked });
const rowsOut = () => ({ logps: filled(5), ...statisticsOut(5), gradLogits: filled(10) });
const hiddenRowsOut = () => ({
  logps: filled(5),
  ...statisticsOut(5),
  gradHidden: filled(15),
  gradWeight: filled(6),
  gradBias: filled(2),
});

export const logitsOut = () => ({ ...preferenceOut(), ...rowsOut() });
export const hiddenOut = () => ({ ...preferenceOut(), ...hiddenRowsOut() });

/** The heads and the references with what belongs to none but them. */
const HEADS = [
  { way: 'logits', valid: updateLogits, out: rowsOut, kinds: logits },
  { way: 'hidden states', valid: updateHidden, out: hiddenRowsOut, kinds: { ...linear, ...gradients } },
];
const ofReference = {
  refDtype: dtype,
  refTemperature: logits.temperature!,
  refSoftcap: softcap,
  refVocabSize: logits.vocabSize!,
};
const REFERENCES = [
  { way: 'log-probs', valid: () => ({ refLogps: new Float32Array(5) }), kinds: { refLogps: tokens.refLogps! } },
  {
    way: 'logits',
    valid: () => ({ refLogits: ones(10) }),
    kinds: { refLogits: array(FLOATS, fixed), refRowStride: logits.rowStride!, ...ofReference },
  },
  {
    way: 'hidden states',
    valid: () => ({ refHidden: ones(15), refWeight: ones(6), refBias: ones(2) }),
    kinds: {
      refHidden: array(FLOATS),
      refHiddenSize: linear.hiddenSize!,
      refHiddenStride: linear.hiddenStride!,
      refWeight: array(FLOATS),
      refWeightDtype: dtype,
      refWeightLayout: linear.weightLayout!,
      refBias: array(FLOATS, both),
      ...ofReference,
    },
  },
];

/** In an update, where the losses of log-probs take an array under the same name. */
const computed: Kind = {
  ...boolean,
  verdict: (value, valid) =>
    tagOf(value) === 'undefined' ? boolean.verdict(value, valid) : { class: TypeError, code: 'ERR_UNKNOWN_OPTION' },
};

function updates(
  call: (options: never) => unknown,
  units: () => Options,
  kinds: Record<string, Kind>,
  outOfLoss: () => Options = preferenceOut,
): Subject[] {
  return HEADS.flatMap((head) =>
    REFERENCES.map((reference) =>
      subject(
        call,
        `of ${head.way} against ${reference.way}`,
        () => ({ ...head.valid(), ...reference.valid(), ...units(), out: { ...outOfLoss(), ...head.out() } }),
        {
          ...strangers([...HEADS, ...REFERENCES]),
          ...head.kinds,
          ...reference.kinds,
          ...labels,
          ...weights,
          ...statistics,
          sumSquaredProbs: computed,
          ...kinds,
          out,
        },
        head.way === 'logits' ? ['gradLogits', 'logits'] : undefined,
      ),
    ),
  );
}

// -- the policy-gradient update

const REALS = 'Float32Array Float64Array';
const notUsed: Kind = {
  ...finite,
  verdict: (value) => (value === undefined ? 'any' : { class: RangeError, code: 'ERR_ARG_VALUE' }),
};
const policyGradient: Record<string, Kind> = {
  tokenWeights: foreign,
  entropy: foreign,
  advantages: array(REALS, fixed),
  oldLogps: array(REALS, both),
  importanceWeights: array(REALS, both),
  turnOffsets: array('Int32Array', { optional: true }),
  trajectoryOffsets: array('Int32Array', { optional: true }),
  objective: choice('clip', 'cispo', 'sapo', 'dppo', 'reinforce'),
  ratioLevel: choice('token', 'turn', 'trajectory'),
  clipLow: number((x) => x >= 0 && x <= 1),
  clipHigh: number((x) => x >= 0),
  dualClip: number((x) => x > 1),
  sapoTauPos: notUsed,
  sapoTauNeg: notUsed,
  reduction: choice('token-mean', 'sequence-mean-token-sum', 'sequence-mean-token-mean', 'constant'),
  denominator: divisor,
  klCoef: coefficient,
  klType: choice('k1', 'k2', 'k3'),
  klMax: number((x) => x > 0),
  entropyCoef: signedCoefficient,
};
const policyGradientRows = () => ({
  advantages: floats(1, -1, 0.5, 2, 1),
  oldLogps: Float64Array.of(-1, -2, -3, -1, -1),
  importanceWeights: floats(1, 1, 0.5, 1, 2),
  ...turns(),
  trajectoryOffsets: ints(0, 2, 3),
  entropy: undefined,
  tokenWeights: undefined,
  klCoef: 0.1,
  entropyCoef: 0.01,
});

// -- the baselines' losses

const outcomes = () => ({
  trajectoryOffsets: ints(0, 2, 3),
  outcomes: floats(1, 0),
  mask: Uint8Array.of(1, 1, 1),
  labels: ints(0, 0, 0),
});
const outcomeKinds = {
  ...counted,
  trajectoryOffsets: array('Int32Array'),
  outcomes: array('Float32Array Float64Array', fixed),
};
const { chosen, rejected, beta, labelSmoothing, pairWeights, pairDenominator } = pairOptions as Record<
  'chosen' | 'rejected' | 'beta' | 'labelSmoothing' | 'pairWeights' | 'pairDenominator',
  Kind
>;

const baselines: Subject[] = [
  subject(
    sweetRl.filteredNll,
    '',
    () => ({
      logps: floats(1, 2, 3, 4, 5),
      ...turns(),
      trajectoryOffsets: ints(0, 2, 3),
      rewards: floats(1, 1),
      out: { gradLogps: filled(5) },
    }),
    {
      logps: array('Float32Array'),
      ...counted,
      ...weights,
      turnOffsets: array('Int32Array'),
      trajectoryOffsets: array('Int32Array'),
      rewards: array('Float32Array Float64Array', fixed),
      threshold: number((x) => !Number.isNaN(x)),
      nllDenominator: divisor,
      debug,
      out,
    },
  ),
  subject(
    sweetRl.binaryValueLoss,
    '',
    () => ({
      valueLogits: floats(1, 2, 3),
      ...outcomes(),
      out: { valueLosses: filled(3), values: filled(3), gradValueLogits: filled(3) },
    }),
    { valueLogits: array('Float32Array'), ...outcomeKinds, valueDenominator: divisor, out },
  ),
  subject(
    sweetRl.valueAdvantages,
    '',
    () => ({ values: floats(1, 2, 3), ...outcomes(), out: { advantages: filled(3) } }),
    { values: array('Float32Array'), ...outcomeKinds, out },
  ),
  subject(
    sweetRl.bradleyTerryLoss,
    '',
    () => {
      const { turnAdvantages: _, gradLogps: __, ...perPair } = preferenceOut();
      return { scores: floats(3, 1, 2), ...pairs(), out: { ...perPair, gradScores: filled(3) } };
    },
    {
      scores: array('Float32Array'),
      chosen,
      rejected,
      beta,
      lossType: choice('sigmoid', 'hinge', 'ipo'),
      labelSmoothing,
      pairWeights,
      pairDenominator,
      out,
    },
  ),
];

// -- candidates and rewards

const states = () => ({ scores: floats(1, 3, 2, 5, 4), candidateOffsets: ints(0, 3, 5) });
const stateKinds = { scores: array('Float32Array Float64Array'), candidateOffsets: array('Int32Array') };

const selections: Subject[] = [
  subject(sweetRl.rankCandidates, '', states, stateKinds),
  subject(sweetRl.samplePairs, '', () => ({ ...states(), seed: 1 }), {
    ...stateKinds,
    seed: integer(0, 2 ** 32 - 1, true),
    numPairs: { ...integer(1, 2 ** 31 - 1), values: [0, 1, 2, 1.5] },
    rule: choice('halves', 'best-worst'),
  }),
  subject(
    sweetRl.trajectoryPairs,
    '',
    () => ({ rewards: floats(1, 0, 0.5, 1, 0), taskOffsets: ints(0, 3, 5), rule: 'threshold' }),
    {
      rewards: array('Float32Array Float64Array'),
      taskOffsets: array('Int32Array'),
      rule: choice('best-vs-worse', 'threshold'),
      minDifference: notNegative,
    },
  ),
];

// -- checks of wiring

const isFunction = (value: unknown) => typeof value === 'function';
const model = () => ({
  parameters: floats(1, 2),
  gradient: floats(2, 4),
  loss: (x: Float32Array) => x[0]! * x[0]! + x[1]! * x[1]!,
});
const beside = ofType((value) => value === undefined, 'ERR_ARG_TYPE|ERR_UNKNOWN_OPTION');

const { debug: _, ...rowsToCheck } = labels;

const checks: Subject[] = [
  subject(sweetRl.checkLogps, '', () => ({ ...logitsHead(), logps: floats(-3, -2, -1) }), {
    ...logits,
    ...rowsToCheck,
    logps: array('Float32Array', fixed),
    tolerance: positive,
  }),
  subject(sweetRl.checkGrad as (options: never) => unknown, 'of a loss', model, {
    parameters: ofType((value) => /^Float(32|64)Array$/.test(tagOf(value)) || isObject(value)),
    gradient: ofType((value) => /^Float(32|64)Array$/.test(tagOf(value)) || isObject(value)),
    loss: ofType(isFunction),
    forward: beside,
    batch: beside,
    logits: beside,
    logps: beside,
    refLogits: beside,
    inputIds: beside,
    rewards: beside,
    coordinates: { ...integer(1, 65536), values: [0, 1, 1.5, 65537] },
    seed: integer(0, 2 ** 32 - 1),
    epsilon: positive,
    tolerance: positive,
  }),
];

const argument = (path: Argument['path'], name: string, kind: Kind): Argument => ({ path, name, kind });

const adapterBatch = () => ({ ...updateRows(), refLogps: new Float32Array(5), ...trajectories() });

/** Logits that are the parameters themselves. */
const wired = () => {
  const { trajectoryOffsets: _, ...batch } = adapterBatch();
  const parameters = Float32Array.from({ length: 10 }, (_, i) => Math.sin(i));
  const { logps, gradLogits } = sweetRl.policyUpdate({ ...batch, logits: parameters } as never) as unknown as Options;
  return {
    parameters,
    gradient: gradLogits,
    forward: (logits: Float32Array) => Float32Array.from({ length: 10 }, (_, i) => logits[i]!),
    batch,
    logits: parameters.slice(),
    logps,
    refLogits: new Float32Array(10),
    inputIds: ints(0, 0, 1, 0, 1),
    rewards: floats(2, 1, 0),
  };
};

const ofForward: Subject = subject(sweetRl.checkGrad as (options: never) => unknown, 'of a forward pass', wired, {
  ...Object.fromEntries(checks.at(-1)!.arguments.map(({ name, kind }) => [name, kind])),
  loss: ofType((value) => value === undefined || isFunction(value)),
  forward: ofType(isFunction, 'ERR_ARG_TYPE|ERR_UNKNOWN_OPTION'),
  batch: ofType(isObject, 'ERR_ARG_TYPE|ERR_UNKNOWN_OPTION'),
  logits: array('Float32Array', both),
  logps: array('Float32Array', both),
  refLogits: array('Float32Array', both),
  inputIds: array('Int32Array', both),
  rewards: array('Float32Array Float64Array', both),
});

checks.push({
  ...ofForward,
  arguments: [
    ...ofForward.arguments,
    ...Object.entries({ ...labels, ...weights, ...pairOptions, ...ofTurns }).map(([name, kind]) =>
      argument(['batch', name], name, kind),
    ),
  ],
});

const OPERATIONS: Subject[] = [
  ...rows,
  ...divergences,
  ...losses,
  ...baselines,
  ...unpairedLosses,
  ...updates(sweetRl.criticUpdate as never, trajectories, { ...pairOptions, ...ofTrajectories }),
  ...updates(sweetRl.policyUpdate as never, () => ({ ...turns(), ...pairs() }), { ...pairOptions, ...ofTurns }),
  ...updates(sweetRl.unpairedUpdate as never, unpairedTurns, unpaired, unpairedOut),
  ...updates(sweetRl.policyGradientUpdate as never, policyGradientRows, policyGradient, () => ({})),
  ...selections,
  ...checks,
];

const asyncTwins: Record<string, unknown> = sweetRl;

/** The same call run later, with an AbortSignal beside the options. */
function twinOf(subject: Subject): Subject[] {
  const call = asyncTwins[`${subject.call.name}Async`] as Subject['call'] | undefined;
  if (call === undefined) return [];
  const signal = ofType((value) => value === undefined);
  const all = [...subject.arguments, { path: ['signal'], name: 'signal', kind: signal }];
  return [{ ...subject, name: `${subject.name}, later`, call, arguments: all }];
}

export const SUBJECTS: Subject[] = [...OPERATIONS, ...OPERATIONS.flatMap(twinOf), ...OBJECTIVE_SUBJECTS];

// -- functions whose arguments stand one after the other: the root is the list of them

export interface Positional {
  name: string;
  call: (...args: never[]) => unknown;
  valid: () => unknown[];
  arguments: Argument[];
}

const text = (rule: (value: string) => boolean = () => true): Kind => ({
  values: ['', '.', '..', 'a/b', 'a\0b', 'é'.repeat(126), 'x'.repeat(251)],
  verdict(value) {
    if (typeof value !== 'string') return { class: TypeError, code: 'ERR_ARG_TYPE' };
    return rule(value) ? 'any' : { class: RangeError, code: 'ERR_ARG_VALUE' };
  },
});
const options = ofType((value) => value === undefined || isObject(value));
const record = ofType(isObject);
const list = ofType(isArray);
const shmName = text(
  (name) => /^[^/\0]{1,250}$/.test(name) && !/^\.\.?$/.test(name) && Buffer.from(name).length <= 250,
);

const preferenceResult = () => ({
  loss: 1,
  accuracy: 0.5,
  margins: floats(1, 2),
  chosenRewards: floats(1, 2),
  rejectedRewards: floats(1, 2),
});
const unpairedResult = () => {
  const { margins: _, ...result } = preferenceResult();
  return { ...result, referencePoint: 1, beta: 0.1, lossType: 'bco', unitLosses: floats(1, 2, 3, 4) };
};
const ofNumber: Kind = { ...number(() => true, true) };

const dialogues = () => [
  [
    {
      turns: [
        { tokens: [1, 2], agent: false },
        { tokens: ints(3, 4), agent: true, mask: Uint8Array.of(1, 1) },
      ],
    },
  ],
  { ignoreIndex: -1 },
];
const historyAndCandidates = () => [
  [{ history: [{ tokens: ints(1, 2), agent: false }], candidates: [[3, 4], ints(5)] }],
  { ignoreIndex: -1 },
];
/** No object has the properties that are needed and no others. */
const notKnown = ofType(() => false, 'ERR_ARG_TYPE|ERR_UNKNOWN_OPTION');
const TOKENS = 'Int32Array Uint32Array BigInt64Array';
const tokenIds = ofType((x) => isArray(x) || TOKENS.split(' ').includes(tagOf(x)));
const firstTurn = [0, 0, 'turns', 0] as const;
const secondTurn = [0, 0, 'turns', 1] as const;

const TENSORS = 'Float32Array Float64Array BigInt64Array BigUint64Array Int32Array Uint32Array Int16Array Uint8Array';

const never = ofType(() => false);
const jaxModule = () => ({ vjp: () => {}, numpy: {}, tree: {} });
const tensorflow = () => ({
  customGrad: (op: (logits: unknown, save: () => void) => { value: unknown }) => (x: unknown) => op(x, () => {}).value,
  scalar: (value: number) => value,
  tensor: (values: Float32Array) => values,
  mul: () => {},
});
const tensor = () => ({ dtype: 'float32', shape: [5, 2], dataSync: () => ones(10) });

/** The functions of the adapters to frameworks, without the frameworks. */
const ADAPTERS: Positional[] = [
  ...[jax.criticValueAndGrad, jax.policyValueAndGrad].map((call) => ({
    name: call.name,
    call: call as never,
    valid: () => [jaxModule(), () => {}],
    arguments: [argument([0], 'jax', never), argument([1], 'forward', ofType(isFunction))],
  })),
  ...[tfjs.criticLoss, tfjs.policyLoss].map((call) => ({
    name: call.name,
    call: call as never,
    valid: () => {
      const { trajectoryOffsets, ...ofTurnsAlone } = adapterBatch();
      return [tensorflow(), tensor(), call.name === 'criticLoss' ? adapterBatch() : ofTurnsAlone, () => {}];
    },
    arguments: [
      argument([0], 'tf', never),
      argument([1], 'logits', never),
      argument([1, 'shape'], 'logits.shape', list),
      argument([1, 'dataSync'], 'logits.dataSync', ofType(isFunction)),
      argument([2], 'batch', record),
      argument([2, 'beta'], 'beta', scaleFactor),
      argument([2, 'labels'], 'labels', labels.labels!),
      argument(
        [3],
        'onResult',
        ofType((x) => x === undefined || isFunction(x)),
      ),
    ],
  })),
];

export const POSITIONAL: Positional[] = [
  ...ADAPTERS,
  {
    name: 'packTurns',
    call: sweetRl.packTurns as never,
    valid: dialogues,
    arguments: [
      argument([0], 'trajectories', list),
      argument([0, 0], 'trajectories[0]', notKnown),
      argument([0, 0, 'turns'], 'trajectories[0].turns', list),
      argument([...firstTurn], 'trajectories[0].turns[0]', notKnown),
      argument([...firstTurn, 'tokens'], 'trajectories[0].turns[0].tokens', tokenIds),
      argument(
        [...firstTurn, 'agent'],
        'trajectories[0].turns[0].agent',
        ofType((x) => typeof x === 'boolean'),
      ),
      argument([...firstTurn, 'tokens', 1], 'trajectories[0].turns[0].tokens[1]', {
        verdict: (x) =>
          (typeof x === 'bigint' || Number.isInteger(x)) && (x as number) >= 0 && (x as number) < 2 ** 31
            ? 'any'
            : { class: RangeError, code: 'ERR_ARG_VALUE' },
      }),
      argument([...secondTurn, 'tokens'], 'trajectories[0].turns[1].tokens', {
        ...array(TOKENS),
        verdict: (x, valid) => (isArray(x) ? 'any' : array(TOKENS).verdict(x, valid)),
      }),
      argument([...secondTurn, 'mask'], 'trajectories[0].turns[1].mask', {
        ...array(MASKS, both),
        verdict: (x, valid) => (isArray(x) ? 'any' : array(MASKS, both).verdict(x, valid)),
      }),
      argument([1], 'packTurns', options),
      argument([1, 'allowEmptyTurns'], 'allowEmptyTurns', boolean),
      argument([1, 'ignoreIndex'], 'ignoreIndex', labels.ignoreIndex!),
    ],
  },
  {
    name: 'packCandidates',
    call: sweetRl.packCandidates as never,
    valid: historyAndCandidates,
    arguments: [
      argument([0], 'states', list),
      argument([0, 0], 'states[0]', notKnown),
      argument([0, 0, 'history'], 'states[0].history', ofType(isArray, 'ERR_ARG_TYPE|ERR_ARG_VALUE')),
      argument([0, 0, 'history', 0], 'states[0].history[0]', notKnown),
      argument([0, 0, 'history', 0, 'tokens'], 'states[0].history[0].tokens', {
        ...array(TOKENS),
        verdict: (x, valid) => (isArray(x) ? 'any' : array(TOKENS).verdict(x, valid)),
      }),
      argument([0, 0, 'candidates'], 'states[0].candidates', list),
      argument([0, 0, 'candidates', 0], 'states[0].candidates[0]', tokenIds),
      argument([1], 'packCandidates', options),
      argument([1, 'allowEmptyTurns'], 'allowEmptyTurns', boolean),
      argument([1, 'ignoreIndex'], 'ignoreIndex', labels.ignoreIndex!),
    ],
  },
  {
    name: 'trlMetrics',
    call: sweetRl.trlMetrics as never,
    valid: () => [preferenceResult()],
    arguments: [
      argument([0], 'result', record),
      ...['margins', 'chosenRewards', 'rejectedRewards'].map((name) =>
        argument([0, name], `result.${name}`, array('Float32Array')),
      ),
      ...['loss', 'accuracy'].map((name) => argument([0, name], `result.${name}`, ofNumber)),
    ],
  },
  {
    name: 'trlMetrics of an unpaired loss',
    call: sweetRl.trlMetrics as never,
    valid: () => [unpairedResult()],
    arguments: [
      argument([0], 'result', record),
      ...['chosenRewards', 'rejectedRewards'].map((name) =>
        argument([0, name], `result.${name}`, array('Float32Array')),
      ),
      ...['loss', 'accuracy', 'referencePoint', 'beta'].map((name) => argument([0, name], `result.${name}`, ofNumber)),
      argument([0, 'lossType'], 'result.lossType', {
        ...unpaired.lossType!,
        verdict: (value, valid) => unpaired.lossType!.verdict(value ?? null, valid),
      }),
    ],
  },
  {
    name: 'useBackend',
    call: sweetRl.useBackend as never,
    valid: () => [sweetRl.backends().find(({ active }) => active)!.name],
    arguments: [argument([0], 'name', { ...text(() => false), values: ['', 'AVX2', 'toString'] })],
  },
  {
    name: 'setThreads',
    call: sweetRl.setThreads as never,
    valid: () => [sweetRl.threads()],
    arguments: [argument([0], 'n', { ...integer(1, 256, true), values: [0, -0, 1.5, 257, 2 ** 32 + 1, 5e-324] })],
  },
  {
    name: 'openShm',
    call: ((...args: Parameters<typeof shm.openShm>) => shm.openShm(...args).close()) as never,
    valid: () => ['sweet-rl-no-such-name', { create: false, byteLength: 64 }],
    arguments: [
      argument([0], 'name', shmName),
      argument([1], 'openShm', options),
      argument([1, 'create'], 'create', boolean),
      argument([1, 'byteLength'], 'byteLength', { ...integer(1, constants.MAX_LENGTH), values: [0, -1, 1.5, 2 ** 53] }),
    ],
  },
  {
    name: 'unlinkShm',
    call: shm.unlinkShm as never,
    valid: () => ['sweet-rl-no-such-name'],
    arguments: [argument([0], 'name', shmName)],
  },
  {
    name: 'parseSafetensors',
    call: safetensors.parseSafetensors as never,
    valid: () => [safetensors.serializeSafetensors({ tensors: { a: floats(1, 2) } }), { names: ['a'] }],
    arguments: [
      argument([0], 'bytes', array('Uint8Array')),
      argument([1], 'reading safetensors', options),
      argument(
        [1, 'names'],
        'names',
        ofType((x) => x === undefined || isArray(x)),
      ),
    ],
  },
  {
    name: 'readSafetensors',
    call: safetensors.readSafetensors as never,
    valid: () => ['no/such/file.safetensors', {}],
    arguments: [argument([0], 'path', { ...text(), values: [] })],
  },
  {
    name: 'writeSafetensors',
    // No string that is tried may name a file.
    call: ((path: unknown, contents: never) =>
      safetensors.writeSafetensors(
        (typeof path === 'string' ? `no/such/folder/${path}` : path) as string,
        contents,
      )) as never,
    valid: () => ['file.safetensors', { tensors: {} }],
    arguments: [argument([0], 'path', { ...text(), values: [] }), argument([1], 'writing safetensors', record)],
  },
  {
    name: 'serializeSafetensors',
    call: safetensors.serializeSafetensors as never,
    valid: () => [
      { tensors: { a: { data: floats(1, 2), dtype: 'float32', shape: [2, 1] } }, metadata: { model: 'm' } },
    ],
    arguments: [
      argument([0], 'writing safetensors', record),
      argument([0, 'tensors'], 'tensors', record),
      argument([0, 'metadata'], 'metadata', options),
      argument(
        [0, 'metadata', 'model'],
        'metadata.model',
        ofType((x) => typeof x === 'string'),
      ),
      argument(
        [0, 'tensors', 'a'],
        'tensors.a',
        ofType((x) => isObject(x) || ArrayBuffer.isView(x)),
      ),
      argument([0, 'tensors', 'a', 'data'], 'tensors.a', {
        isArray: true,
        verdict: (x, valid) =>
          ['Uint32Array', 'Uint8ClampedArray', 'Int8Array'].includes(tagOf(x))
            ? 'any'
            : array(TENSORS).verdict(x, valid),
      }),
      argument(
        [0, 'tensors', 'a', 'dtype'],
        'tensors.a.dtype',
        ofType((x) => x === undefined || x === 'float32'),
      ),
      argument(
        [0, 'tensors', 'a', 'shape'],
        'tensors.a.shape',
        ofType((x) => x === undefined || isArray(x)),
      ),
      argument(
        [0, 'tensors', 'a', 'shape', 0],
        'tensors.a.shape',
        ofType(() => false, 'ERR_ARG_VALUE'),
      ),
    ],
  },
  ...[floats(1, 2), Float64Array.of(1, 2), Uint16Array.of(1, 2)].map((data, i) => ({
    name: 'toFloat32',
    call: safetensors.toFloat32 as never,
    valid: () => [{ dtype: ['float32', 'float64', 'bfloat16'][i], shape: [2], data: data.slice() }],
    arguments: [
      argument(
        [0],
        'tensor',
        ofType(() => false),
      ),
      argument([0, 'data'], 'tensor.data', array(data.constructor.name)),
    ],
  })),
];
