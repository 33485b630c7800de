/** A valid call of every function of sweet-rl/objectives, in several variants, and what each of its arguments may be. */
import * as objectives from 'sweet-rl/objectives';
import {
  array,
  boolean,
  choice,
  coefficient,
  divisor,
  integer,
  isObject,
  type Kind,
  number,
  type Options,
  ofType,
  scaleFactor,
  signedCoefficient,
} from './arguments.ts';
import { type Subject, subject } from './subject.ts';

const reals = (...values: number[]) => Float64Array.from(values);
const ints = (...values: number[]) => Int32Array.from(values);
const buffer = (length: number) => new Float64Array(length).fill(7);
const counts = (length: number) => new Int32Array(length).fill(7);

const REALS = 'Float32Array Float64Array';
const first = array(REALS);
const real = array(REALS, { fixed: true });
const optionalReal = array(REALS, { fixed: true, optional: true });
const int = array('Int32Array', { fixed: true });
const optionalInt = array('Int32Array', { fixed: true, optional: true });
const offsets = array('Int32Array');
const optionalOffsets = array('Int32Array', { optional: true });
const mask = array('Uint8Array Int32Array BigInt64Array', { fixed: true, optional: true });
const out = ofType((value) => value === undefined || isObject(value));
const finite = number(Number.isFinite);
const notNegative = number((x) => x >= 0 && x < Infinity);
const fraction = number((x) => x >= 0 && x <= 1);
const atLeast0 = number((x) => x >= 0);
/** An option that the variant does not use. */
const unused: Kind = {
  ...finite,
  verdict: (value) => (value === undefined ? 'any' : { class: RangeError, code: 'ERR_ARG_VALUE' }),
};
const ddof = integer(0, 1);
const agents = integer(1, 2 ** 31 - 1, true);

/** Two trajectories of three turns of five tokens. */
const layout = () => ({
  mask: Uint8Array.of(1, 1, 1, 1, 1),
  turnOffsets: ints(0, 2, 3, 5),
  trajectoryOffsets: ints(0, 2, 3),
});
const layoutKinds = { mask, turnOffsets: optionalOffsets, trajectoryOffsets: offsets };
const optionalLayout = { ...layoutKinds, trajectoryOffsets: optionalOffsets };

const gae = (way: string, change: () => Options, kinds: Record<string, Kind>) =>
  subject(
    objectives.generalizedAdvantages,
    way,
    () => ({
      rewards: reals(1, 0, -1, 0, 2),
      values: reals(0.1, 0.2, 0.3, 0.4, 0.5),
      ...layout(),
      bootstrapValues: reals(0.5, 0),
      ...change(),
      out: { advantages: buffer(5), returns: buffer(5) },
    }),
    {
      rewards: first,
      values: real,
      ...layoutKinds,
      gamma: fraction,
      lambda: fraction,
      bootstrapValues: optionalReal,
      level: choice('element', 'bilevel'),
      ...kinds,
      out,
    },
  );

const returns: Subject[] = [
  subject(
    objectives.discountedReturns,
    '',
    () => ({
      rewards: reals(1, 0, -1, 0, 2),
      ...layout(),
      bootstrapValues: reals(0.5, 0),
      out: { returns: buffer(5) },
    }),
    { rewards: first, ...layoutKinds, gamma: fraction, bootstrapValues: optionalReal, out },
  ),
  gae('', () => ({}), { fillMissing: boolean, turnGamma: unused, turnLambda: unused }),
  gae('bilevel', () => ({ level: 'bilevel' }), { fillMissing: unused, turnGamma: fraction, turnLambda: fraction }),
  subject(
    objectives.whiten,
    '',
    () => ({ advantages: reals(1, 2, 4, -3), mask: Uint8Array.of(1, 1, 1, 1), out: { advantages: buffer(4) } }),
    {
      advantages: first,
      mask,
      ddof,
      epsilon: notNegative,
      epsilonAt: choice('variance', 'std'),
      center: boolean,
      out,
    },
  ),
  subject(
    objectives.broadcastTurns,
    '',
    () => ({ advantages: reals(1, 2), ...layout(), out: { advantages: buffer(5) } }),
    { advantages: real, ...optionalLayout, out },
  ),
];

const groupOut = () => ({
  advantages: buffer(5),
  groups: counts(5),
  means: buffer(2),
  stds: buffer(2),
  sizes: counts(2),
});
const groupKinds = {
  rewards: first,
  agentIds: optionalInt,
  scale: choice('group', 'batch', 'mean', 'none'),
  ddof,
  singletons: choice('zero', 'reward'),
  out,
};
const groups: Subject[] = [
  subject(
    objectives.groupAdvantages,
    '',
    () => ({ rewards: reals(1, 0, 0, 1, 0.5), groupIds: ints(3, 3, 3, 8, 8), out: groupOut() }),
    {
      ...groupKinds,
      groupIds: int,
      groupOffsets: ofType((value) => value === undefined),
      lengths: unused,
      baseline: choice('mean', 'leave-one-out', 'length-weighted', 'none'),
      epsilon: notNegative,
    },
  ),
  subject(
    objectives.groupAdvantages,
    'length-weighted',
    () => ({
      rewards: reals(1, 0, 0, 1, 0.5),
      groupOffsets: ints(0, 3, 5),
      agentIds: ints(0, 0, 0, 0, 0),
      lengths: ints(1, 2, 3, 4, 5),
      baseline: 'length-weighted',
      scale: 'none',
      out: groupOut(),
    }),
    {
      ...groupKinds,
      groupIds: ofType((value) => value === undefined),
      groupOffsets: offsets,
      lengths: array(`Int32Array ${REALS}`, { fixed: true }),
      baseline: choice('mean', 'leave-one-out', 'length-weighted', 'none'),
      epsilon: unused,
    },
  ),
  ...(['gigpo', 'hgpo'] as const).map((method) =>
    subject(
      objectives.stepGroupAdvantages,
      method,
      () => ({
        returns: reals(0.95, 1, 0),
        trajectoryOffsets: ints(0, 2, 3),
        groupIds: ints(0, 0),
        observationIds: ints(0, 1, 0),
        episodeRewards: reals(1, 0),
        method,
        scale: method === 'gigpo' ? 'group' : 'none',
        out: {
          advantages: buffer(3),
          episodeAdvantages: buffer(3),
          stepAdvantages: buffer(3),
          groupSizes: counts(3),
        },
      }),
      {
        returns: first,
        trajectoryOffsets: offsets,
        groupIds: int,
        observationIds: int,
        episodeRewards: optionalReal,
        method: choice('gigpo', 'hgpo'),
        scale: choice('group', 'none'),
        singletons: choice('zero', 'reward'),
        episodeCounts: choice('trajectory', 'step'),
        ddof: method === 'gigpo' ? ddof : unused,
        epsilon: method === 'gigpo' ? notNegative : unused,
        stepCoef: method === 'gigpo' ? signedCoefficient : unused,
        historyLength: method === 'hgpo' ? integer(0, 1000) : unused,
        lengthPower: method === 'hgpo' ? number((x) => Math.abs(x) <= 30) : unused,
        includeEpisode: method === 'hgpo' ? boolean : unused,
        out,
      },
    ),
  ),
  ...(['aae', 'cae'] as const).map((method) =>
    subject(
      objectives.turnRewardAdvantages,
      method,
      () => ({
        turnRewards: reals(1, 0),
        outcomeRewards: reals(0, 1),
        groupIds: ints(0, 0),
        trajectoryOffsets: ints(0, 2, 3),
        splitTurns: ints(1, 0),
        method,
        scale: method === 'aae' ? 'group' : 'none',
        out: { advantages: buffer(3) },
      }),
      {
        turnRewards: real,
        outcomeRewards: real,
        groupIds: int,
        trajectoryOffsets: offsets,
        splitTurns: optionalInt,
        method: choice('aae', 'cae'),
        scale: choice('group', 'batch', 'mean', 'none'),
        ddof,
        turnCoef: method === 'aae' ? signedCoefficient : unused,
        gamma: method === 'cae' ? fraction : unused,
        epsilon: method === 'aae' ? notNegative : unused,
        out,
      },
    ),
  ),
];

const debate = (way: string, change: () => Options, kinds: Record<string, Kind>) =>
  subject(
    objectives.collaborativeReturns,
    way,
    () => ({
      scores: reals(0.2, 0.8, 0.6, 0.4, 1, 0.9),
      agents: 2,
      trajectoryOffsets: ints(0, 2, 3),
      ...change(),
      out: { returns: buffer(6), bonuses: buffer(6) },
    }),
    {
      scores: first,
      agents,
      trajectoryOffsets: offsets,
      horizon: choice('discounted', 'last', 'current'),
      share: choice('all', 'individual'),
      ...kinds,
      out,
    },
  );

const rollouts: Subject[] = [
  subject(
    objectives.monteCarloValues,
    '',
    () => ({
      returns: reals(1, 0, 1, 1),
      rolloutOffsets: ints(0, 3, 4),
      out: { values: buffer(2), standardErrors: buffer(2), counts: counts(2) },
    }),
    { returns: first, rolloutOffsets: offsets, emptyValue: number(() => true), out },
  ),
  subject(
    objectives.treeValues,
    '',
    () => ({
      parents: ints(-1, 0, 0, 1, 1),
      leafValues: reals(0, 0, 0.5, 1, 0),
      out: { values: buffer(5), advantages: buffer(5), childCounts: counts(5) },
    }),
    { parents: offsets, leafValues: real, average: choice('children', 'leaves'), out },
  ),
  subject(
    objectives.siblingPairs,
    '',
    () => ({ parents: ints(-1, 0, 0, 0), values: reals(0.5, 1, 0.5, 0), mask: Uint8Array.of(1, 1, 1, 1) }),
    { parents: offsets, values: real, mask, threshold: finite },
  ),
  debate('', () => ({ incentives: reals(0.1, 0.2, 0.3, 0.4) }), {
    gamma: fraction,
    incentives: optionalReal,
    influenceSign: number((x) => Math.abs(x) === 1),
    threshold: finite,
  }),
  debate('last', () => ({ horizon: 'last' }), {
    gamma: unused,
    incentives: { ...optionalReal, verdict: () => 'any' },
    influenceSign: unused,
    threshold: unused,
  }),
];

const policy = (way: string, change: () => Options, kinds: Record<string, Kind>) =>
  subject(
    objectives.policyGradientLoss,
    way,
    () => ({
      logps: reals(-1, -0.5, -2, -0.1, -3),
      advantages: reals(1, 1, -0.5, 2, 0),
      importanceWeights: reals(1, 1, 0.5, 1, 2),
      ...layout(),
      ...change(),
    }),
    {
      logps: first,
      oldLogps: optionalReal,
      advantages: real,
      importanceWeights: optionalReal,
      ...optionalLayout,
      objective: choice('clip', 'cispo', 'sapo', 'dppo', 'reinforce'),
      ratioLevel: choice('token', 'turn', 'trajectory'),
      clipLow: fraction,
      clipHigh: atLeast0,
      dualClip: unused,
      sapoTauPos: unused,
      sapoTauNeg: unused,
      reduction: choice('token-mean', 'sequence-mean-token-sum', 'sequence-mean-token-mean', 'constant'),
      denominator: divisor,
      refLogps: optionalReal,
      klCoef: coefficient,
      klType: unused,
      klMax: unused,
      entropy: optionalReal,
      entropyCoef: signedCoefficient,
      ...kinds,
      out,
    },
  );
const noBounds = { clipLow: unused, clipHigh: unused };
const policies: Subject[] = [
  policy(
    '',
    () => ({
      oldLogps: reals(-1, -1, -2, -0.2, -1),
      refLogps: reals(-1, -1, -2, -0.2, -1),
      entropy: reals(1, 2, 3, 4, 5),
      klCoef: 0.1,
      entropyCoef: 0.01,
      out: { gradLogps: buffer(5), gradEntropy: buffer(5) },
    }),
    {
      refLogps: real,
      entropy: real,
      dualClip: number((x) => x > 1),
      klType: choice('k1', 'k2', 'k3'),
      klMax: number((x) => x > 0),
    },
  ),
  policy('sapo', () => ({ objective: 'sapo' }), { ...noBounds, sapoTauPos: scaleFactor, sapoTauNeg: scaleFactor }),
  policy('cispo', () => ({ objective: 'cispo', ratioLevel: 'turn' }), { turnOffsets: optionalOffsets }),
  policy('dppo', () => ({ objective: 'dppo' }), { ratioLevel: { ...choice('token') } }),
  policy('reinforce', () => ({ objective: 'reinforce' }), { ...noBounds, oldLogps: unused, ratioLevel: unused }),
  subject(
    objectives.importanceWeights,
    '',
    () => ({
      oldLogps: reals(-1, -1, -1, -2, -1),
      rolloutLogps: reals(-1, -2, -0.5, -2, -1),
      ...layout(),
      out: { weights: buffer(5) },
    }),
    {
      oldLogps: first,
      rolloutLogps: real,
      ...optionalLayout,
      level: choice('token', 'sequence', 'sequence-mean'),
      rule: choice('truncate', 'mask', 'filter'),
      low: number((x) => x >= 0 && x <= 2),
      high: atLeast0,
      out,
    },
  ),
];

const valueKinds = { mask, coef: coefficient, denominator: divisor, out };
const expectile = number((x) => x > 0 && x < 1);
const masked = () => ({ mask: Uint8Array.of(1, 1, 1) });
const ilql = (way: string, change: () => Options, kinds: Record<string, Kind>) =>
  subject(
    objectives.ilqlLoss,
    way,
    () => ({
      q1: reals(1, 2, 3),
      q2: reals(3, 2, 1),
      targetQ1: reals(1, 1, 1),
      targetQ2: reals(2, 0, 2),
      values: reals(0.5, 1, 2),
      rewards: reals(0, 0, 1),
      ...masked(),
      turnOffsets: ints(0, 1, 3),
      trajectoryOffsets: ints(0, 1, 2),
      bootstrapValues: reals(0.5, 0),
      ...change(),
    }),
    {
      ...{ q1: first, q2: real, targetQ1: real, targetQ2: real, values: real, rewards: real },
      ...layoutKinds,
      bootstrapValues: optionalReal,
      gamma: fraction,
      expectile,
      cqlCoef: coefficient,
      denominator: divisor,
      ...kinds,
      out,
    },
  );
const values: Subject[] = [
  subject(
    objectives.clippedValueLoss,
    '',
    () => ({
      values: reals(0.5, 1, 2),
      oldValues: reals(0.5, 0.5, 2),
      returns: reals(1, 1, 1),
      ...masked(),
      out: { gradValues: buffer(3) },
    }),
    { values: first, oldValues: optionalReal, returns: real, clipRange: notNegative, ...valueKinds },
  ),
  subject(
    objectives.clippedValueLoss,
    'without old values',
    () => ({ values: reals(0.5, 1, 2), returns: reals(1, 1, 1) }),
    { values: first, oldValues: optionalReal, returns: real, clipRange: unused, ...valueKinds },
  ),
  subject(
    objectives.tdLoss,
    '',
    () => ({
      values: reals(0.5, 1, 2),
      rewards: reals(0, 1, 0),
      nextValues: reals(1, 0, 1),
      terminated: Uint8Array.of(0, 1, 0),
      ...masked(),
      out: { targets: buffer(3), gradValues: buffer(3) },
    }),
    {
      values: first,
      rewards: real,
      nextValues: real,
      terminated: array('Uint8Array', { fixed: true, optional: true }),
      gamma: fraction,
      ...valueKinds,
    },
  ),
  subject(
    objectives.expectileLoss,
    '',
    () => ({ values: reals(0, 1, 2), targets: reals(1, -1, 0), ...masked(), out: { gradValues: buffer(3) } }),
    { values: first, targets: real, expectile, ...valueKinds },
  ),
  ilql(
    '',
    () => ({
      qLogps1: reals(-1, -2, -3),
      qLogps2: reals(-1, -2, -3),
      out: {
        ...{ gradQ1: buffer(3), gradQ2: buffer(3), gradValues: buffer(3) },
        ...{ gradQLogps1: buffer(3), gradQLogps2: buffer(3) },
      },
    }),
    { qLogps1: real, qLogps2: real },
  ),
  ilql('without log-probs', () => ({ cqlCoef: 0 }), { qLogps1: optionalReal, qLogps2: optionalReal }),
  subject(
    objectives.doubleMinAdvantages,
    '',
    () => ({ q1: reals(1, 0), q2: reals(0, 2), v1: reals(1, 1), v2: reals(0, 1), out: { advantages: buffer(2) } }),
    { q1: first, q2: real, v1: real, v2: real, out },
  ),
  subject(
    objectives.implicitRewardLoss,
    '',
    () => ({
      logps: reals(-1, -2, -3, -1, -2),
      refLogps: reals(-2, -2, -2, -2, -2),
      outcomes: reals(1, 0),
      ...layout(),
      out: { trajectoryRewards: buffer(2), gradLogps: buffer(5) },
    }),
    { logps: first, refLogps: real, outcomes: real, ...layoutKinds, beta: scaleFactor, denominator: divisor, out },
  ),
];

const planning: Subject[] = [
  subject(
    objectives.softValue,
    '',
    () => ({
      logPrior: reals(-0.5, -1, 0),
      q: reals(0, 1, 2),
      actionOffsets: ints(0, 2, 3),
      out: { values: buffer(2), logPolicy: buffer(3), kl: buffer(2) },
    }),
    { logPrior: first, q: real, actionOffsets: offsets, lambda: scaleFactor, out },
  ),
  subject(
    objectives.selectAgentTokens,
    '',
    () => ({
      q: reals(0.2, 0.5, 0.6, 0.3),
      candidates: ints(11, 12, 21, 22),
      kl: reals(0.1, 0.4),
      agents: 2,
      out: { agents: counts(1), tokens: counts(1), scores: buffer(1) },
    }),
    { q: first, candidates: int, kl: first, agents, alpha: coefficient, out },
  ),
  subject(
    objectives.privilegedAdvantages,
    '',
    () => {
      const { mask, turnOffsets } = layout();
      return {
        logps: reals(-1, -2, -3, -1, -2),
        privilegedLogps: reals(-2, -2, -2, -2, -2),
        mask,
        turnOffsets,
        out: { advantages: buffer(5) },
      };
    },
    {
      logps: first,
      privilegedLogps: real,
      mask,
      turnOffsets: optionalOffsets,
      level: choice('token', 'turn'),
      coef: signedCoefficient,
      clip: atLeast0,
      out,
    },
  ),
];

export const OBJECTIVE_SUBJECTS: Subject[] = [...returns, ...groups, ...rollouts, ...policies, ...values, ...planning];
