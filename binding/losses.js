// The groups of the losses of turns, trajectories and tokens, for the table of operations.js.
import { group, list, numbers, optional, reads, writes } from './types.js';

/** Of a batch of turns or of trajectories. */
const items = {
  level: 'PreferenceLevel',
  tokens: 'int',
  turns: 'int',
  trajectories: 'int',
  labels: group('TokenLabels', ['g.tokens']),
  turnOffsets: reads('int32_t', 'g.turns + 1'),
  trajectoryOffsets: optional(reads('int32_t', 'g.trajectories + 1')),
};
// Only a batch of turns has no trajectories.
const hasItems = 'g.trajectory_offsets != nullptr || !g.of_trajectories()';

export const groups = {
  TurnBatch: {
    fields: {
      tokens: 'int',
      turns: 'int',
      mean: 'bool',
      allowEmptyTurns: 'bool',
      labels: group('TokenLabels', ['g.tokens']),
      turnOffsets: reads('int32_t', 'g.turns + 1'),
    },
  },

  Pairs: {
    fields: {
      count: 'int',
      chosen: reads('int32_t', 'g.count'),
      rejected: reads('int32_t', 'g.count'),
      weights: optional(reads('float', 'g.count')),
    },
  },
  PreferenceBatch: { fields: { ...items, pairs: 'Pairs' }, requires: hasItems },
  LossTerm: { fields: { type: 'LossType', weight: 'number' } },
  PairParameters: {
    fields: {
      ...numbers('beta', 'labelSmoothing', 'gamma', 'discopopTau'),
      fDivergence: 'ScoreMap',
      ...numbers('fAlpha', 'dpopLambda'),
    },
  },
  PairLoss: { fields: { terms: list('LossTerm', 'kLossTypes'), parameters: 'PairParameters' } },
  PreferenceOptions: {
    fields: {
      normalization: 'Normalization',
      allowEmptyTurns: 'bool',
      pairLoss: 'PairLoss',
      pairDenominator: 'number',
      nllCoef: 'number',
      nllDenominator: 'number',
      ldAlpha: 'number',
      useWeighting: 'bool',
    },
  },
  PreferenceOut: {
    parameters: { batch: 'const PreferenceBatch&' },
    fields: {
      scalars: writes('double', '4'),
      pairLosses: writes('float', 'batch.pairs.count'),
      margins: writes('float', 'batch.pairs.count'),
      chosenRewards: writes('float', 'batch.pairs.count'),
      rejectedRewards: writes('float', 'batch.pairs.count'),
      turnAdvantages: writes('float', 'batch.turns'),
      gradLogps: writes('float', 'batch.tokens'),
    },
  },

  UnpairedBatch: {
    fields: {
      ...items,
      desirable: reads('uint8_t', 'g.items()'),
      unitWeights: optional(reads('float', 'g.items()')),
    },
    requires: hasItems,
  },
  ReferencePoint: {
    fields: {
      value: 'number',
      isRunning: 'bool',
      count: 'number',
      sequences: 'int',
      klLogps: optional(reads('float', 'g.sequences')),
      klRefLogps: optional(reads('float', 'g.sequences')),
    },
  },
  UnpairedOptions: {
    fields: {
      normalization: 'Normalization',
      allowEmptyTurns: 'bool',
      type: 'UnpairedType',
      ...numbers('beta', 'desirableWeight', 'undesirableWeight', 'unitDenominator'),
      referencePoint: 'ReferencePoint',
    },
  },
  UnpairedOut: {
    parameters: { batch: 'const UnpairedBatch&' },
    fields: {
      scalars: writes('double', '4'),
      unitLosses: writes('float', 'batch.items()'),
      rewards: writes('float', 'batch.items()'),
      rewardsByKind: writes('float', 'batch.items()'),
      turnAdvantages: writes('float', 'batch.turns'),
      gradLogps: writes('float', 'batch.tokens'),
    },
  },

  /** Float32 or, `wide`, float64 numbers. */
  Reals: { parameters: { count: 'int64_t' }, fields: { wide: 'bool', data: reads('void', 'count') } },
  OptionalReals: {
    struct: 'Reals',
    parameters: { count: 'int64_t' },
    fields: { wide: 'bool', data: optional(reads('void', 'count')) },
  },
  PolicyGradientBatch: {
    fields: {
      tokens: 'int',
      turns: 'int',
      trajectories: 'int',
      turnOffsets: optional(reads('int32_t', 'g.turns + 1')),
      trajectoryOffsets: optional(reads('int32_t', 'g.trajectories + 1')),
      advantages: group('Reals', ['g.tokens']),
      oldLogps: group('OptionalReals', ['g.tokens']),
      importanceWeights: group('OptionalReals', ['g.tokens']),
    },
    requires: 'g.turn_offsets != nullptr || g.turns == g.tokens',
  },
  PolicyGradientOptions: {
    fields: {
      objective: 'Objective',
      ratioLevel: 'RatioLevel',
      ...numbers('clipLow', 'clipHigh', 'dualClip', 'tauPositive', 'tauNegative'),
      reduction: 'LossReduction',
      denominator: 'number',
      klType: 'KlType',
      ...numbers('klCoef', 'klMax', 'entropyCoef'),
    },
  },

  PolicyGradientOut: { fields: { scalars: writes('double', 'kPolicyScalars') } },
};
