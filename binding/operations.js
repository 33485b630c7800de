// The operations of the addon, described once. From this table `npm run generate` writes
//
//   binding/generated/operations.cc   reads the arguments of each call into its C++ struct; registers the operations
//   lib/addon/operations.ts           the same structs as TypeScript interfaces, and what turns them into arguments
//
// so that a caller names every argument and only generated code knows their order. Tests derive their lists of
// operations from it. A group is a C++ struct of native/*.h: camelCase fields here, snake_case members there.
//
// Types of fields: 'int' (int64_t), 'number' (double), 'bool', the name of an enum, the name of a group, or an array.
// `reads(type, count)` is an array that the operation reads, `writes(type, count)` one that it writes; both must have
// at least `count` elements, a C++ expression over the fields `g` of the same struct and the parameters of the group. An
// optional array may be undefined, a null pointer in C++. Fields that a count needs come first. `list(group, most)` is an
// array of at most `most` groups, in C++ a member of that size beside `count`. `requires` is a condition on the whole, for
// the case that lib/ has a mistake.

import { lossTypes } from '../scripts/loss-types.js';
import { groups as ofLosses } from './losses.js';
import { group, oneOf, optional, reads, writes } from './types.js';

/** Names in the order of the C++ values. */
export const enums = {
  DType: ['float32', 'bfloat16', 'float16'],
  Precision: ['fastest', 'float32', 'storage'],
  LossType: lossTypes.map(({ name }) => name),
  ScoreMap: ['reverse_kl', 'forward_kl', 'js_divergence', 'alpha_divergence'],
  UnpairedType: ['kto', 'apo_zero_unpaired', 'bco'],
  Normalization: ['turn-mean', 'token-mean', 'sum'],
  PreferenceLevel: ['turn', 'trajectory'],
  TopKTail: ['bucket', 'renormalize'],
  Divergence: ['forward_kl', 'reverse_kl', 'jsd'],
  Objective: ['clip', 'cispo', 'sapo', 'dppo', 'reinforce'],
  RatioLevel: ['token', 'turn', 'trajectory'],
  LossReduction: ['token-mean', 'sequence-mean-token-sum', 'sequence-mean-token-mean', 'constant'],
  KlType: ['k1', 'k2', 'k3'],
};

/** What a Status other than ok is called in lib/errors.ts; names in the order of the values of Code from 1 on. */
export const faults = [
  'memory',
  'shape',
  'label',
  'turnOffsets',
  'trajectoryOffsets',
  'emptyTurn',
  'emptyTrajectory',
  'chosen',
  'rejected',
  'samePair',
  'pairWeight',
  'zeroWeights',
  'tokenWeight',
  'unitWeight',
  'teacherIndex',
  'teacherTwice',
  'teacherLogps',
  'shardRows',
  'shardMismatch',
  'shardNoEntropy',
  'shardStatistics',
  'shardMask',
  'shardLabels',
  'shardCoverage',
  'device',
  'deviceGemm',
  'cancelled',
];

const headFields = {
  dtype: 'DType',
  rows: 'int',
  vocabSize: 'int',
  temperature: 'number',
  softcap: 'number',
  vocabOffset: 'int',
  totalVocab: 'int',
};

/** Statistics of rows that a call may be asked for. */
const statistics = (rows) => ({
  entropy: optional(writes('float', rows)),
  argmax: optional(writes('int32_t', rows)),
  sumSquaredProbs: optional(writes('float', rows)),
});

export const groups = {
  LogitsHead: {
    struct: 'Head',
    fields: { ...headFields, rowStride: 'int', logitsLength: 'int', logits: reads('void', 'g.logits_length') },
    requires: 'g.logits_length >= logits_elements(g)',
  },
  Operand: {
    parameters: { rows: 'int64_t', columns: 'int64_t' },
    fields: {
      dtype: 'DType',
      rowStride: 'int',
      columnStride: 'int',
      data: reads('void', 'operand_elements(g, rows, columns)'),
    },
  },
  LinearHead: {
    struct: 'Head',
    fields: {
      ...headFields,
      hiddenSize: 'int',
      chunkBytes: 'int',
      precision: 'Precision',
      hidden: group('Operand', ['g.rows', 'g.hidden_size']),
      weight: group('Operand', ['g.vocab_size', 'g.hidden_size']),
      biasDtype: 'DType',
      bias: optional(reads('void', 'g.vocab_size')),
    },
  },
  Head: oneOf('Head', { logits: 'LogitsHead', linear: 'LinearHead' }),

  Labels: {
    parameters: { rows: 'int64_t' },
    fields: {
      wide: 'bool',
      ignoreIndex: 'int',
      data: reads('void', 'rows'),
      mask: optional(reads('uint8_t', 'rows')),
    },
  },
  /** Of tokens whose log-probs are given. */
  TokenLabels: {
    struct: 'Labels',
    parameters: { tokens: 'int64_t' },
    fields: {
      wide: 'bool',
      ignoreIndex: 'int',
      data: optional(reads('void', 'tokens')),
      mask: optional(reads('uint8_t', 'tokens')),
      weights: optional(reads('float', 'tokens')),
    },
  },
  LogpsOut: {
    parameters: { rows: 'int64_t' },
    fields: {
      logps: writes('float', 'rows'),
      lse: writes('float', 'rows'),
      ...statistics('rows'),
    },
  },
  ShardFormat: { fields: { entropy: 'bool', argmax: 'bool', sumSquares: 'bool' } },

  LogitsGradients: {
    struct: 'HeadGradients',
    parameters: { head: 'const Head&' },
    fields: { logits: writes('void', 'head.logits_length') },
  },
  LinearGradients: {
    struct: 'HeadGradients',
    parameters: { head: 'const Head&' },
    fields: {
      accumulate: 'bool',
      hidden: optional(writes('float', 'head.rows * head.hidden_size')),
      weight: optional(writes('float', 'head.vocab_size * head.hidden_size')),
      bias: optional(writes('float', 'head.vocab_size')),
    },
  },
  HeadGradients: oneOf(
    'HeadGradients',
    { logits: 'LogitsGradients', linear: 'LinearGradients' },
    { head: 'const Head&' },
  ),

  ...ofLosses,

  ReferenceLogps: {
    struct: 'Reference',
    parameters: { rows: 'int64_t' },
    fields: { logps: optional(reads('float', 'rows')) },
  },
  ReferenceHead: { struct: 'Reference', fields: { head: 'Head' } },
  Reference: oneOf('Reference', { logps: 'ReferenceLogps', head: 'ReferenceHead' }, { rows: 'int64_t' }),

  TeacherHead: { struct: 'Teacher', fields: { head: 'Head' } },
  TeacherTopK: {
    struct: 'Teacher',
    parameters: { rows: 'int64_t' },
    fields: {
      k: 'int',
      tail: 'TopKTail',
      indices: reads('int32_t', 'rows * g.k'),
      logps: reads('float', 'rows * g.k'),
    },
    requires: 'g.k > 0',
  },
  Teacher: oneOf('Teacher', { head: 'TeacherHead', topK: 'TeacherTopK' }, { rows: 'int64_t' }),
};

const labels = group('Labels', ['g.head.rows']);

/** Of the update of a loss with <loss>Batch, <loss>Options and <loss>Out. */
const updateFields = (loss) => ({
  head: 'Head',
  labels,
  reference: group('Reference', ['g.head.rows']),
  batch: `${loss}Batch`,
  options: `${loss}Options`,
  logps: writes('float', 'g.head.rows'),
  ...statistics('g.head.rows'),
  out: group(`${loss}Out`, ['g.batch']),
  gradients: group('HeadGradients', ['g.head']),
});
const isUpdate = '!g.head.logits == !g.gradients.logits && g.batch.tokens == g.head.rows';

/**
 * Operation `name` is `Status name(const Name& call)` of native/<header>.h. async (false by default): also registered as
 * `nameAsync`, which runs on another thread. device (true by default): also implemented in native/cuda, in the addon of
 * sweet-rl-cuda. returns: what it returns in place of a Status, and otherwise: what a call returns whose arrays are too short.
 */
export const operations = {
  logps: {
    header: 'logps',
    async: true,
    fields: { head: 'Head', labels, out: group('LogpsOut', ['g.head.rows']) },
  },
  logpsBackward: {
    header: 'logps',
    async: true,
    fields: {
      head: 'Head',
      labels,
      lse: reads('float', 'g.head.rows'),
      entropy: optional(reads('float', 'g.head.rows')),
      gradLogps: optional(reads('float', 'g.head.rows')),
      gradEntropy: optional(reads('float', 'g.head.rows')),
      gradLse: optional(reads('float', 'g.head.rows')),
      gradients: group('HeadGradients', ['g.head']),
    },
    requires: '!g.head.logits == !g.gradients.logits && !g.grad_entropy == !g.entropy',
  },
  vocabParallelStats: {
    header: 'vocab_parallel',
    async: true,
    fields: {
      head: 'Head',
      labels,
      format: 'ShardFormat',
      stats: writes('double', 'shard_elements(g.head.rows, g.format)'),
    },
  },
  mergeVocabParallelStats: {
    header: 'vocab_parallel',
    fields: {
      rows: 'int',
      shards: 'int',
      format: 'ShardFormat',
      stats: reads('double', 'g.shards * shard_elements(g.rows, g.format)'),
      labels: group('Labels', ['g.rows']),
      out: group('LogpsOut', ['g.rows']),
    },
  },
  turnAdvantages: {
    header: 'turn_advantages',
    fields: {
      batch: 'TurnBatch',
      logps: reads('float', 'g.batch.tokens'),
      refLogps: reads('float', 'g.batch.tokens'),
      advantages: writes('float', 'g.batch.turns'),
    },
  },
  turnAdvantagesBackward: {
    header: 'turn_advantages',
    fields: {
      batch: 'TurnBatch',
      gradAdvantages: reads('float', 'g.batch.turns'),
      gradLogps: writes('float', 'g.batch.tokens'),
    },
  },
  preferenceLoss: {
    header: 'preference_loss',
    fields: {
      batch: 'PreferenceBatch',
      options: 'PreferenceOptions',
      logps: reads('float', 'g.batch.tokens'),
      refLogps: optional(reads('float', 'g.batch.tokens')),
      sumSquaredProbs: optional(reads('float', 'g.batch.tokens')),
      out: group('PreferenceOut', ['g.batch']),
    },
    requires: 'g.sum_squared_probs != nullptr || !g.options.use_weighting',
  },
  preferenceUpdate: {
    header: 'preference_update',
    async: true,
    fields: updateFields('Preference'),
    requires: isUpdate,
  },
  unpairedLoss: {
    header: 'unpaired_loss',
    fields: {
      batch: 'UnpairedBatch',
      options: 'UnpairedOptions',
      logps: reads('float', 'g.batch.tokens'),
      refLogps: optional(reads('float', 'g.batch.tokens')),
      out: group('UnpairedOut', ['g.batch']),
    },
  },
  unpairedUpdate: {
    header: 'unpaired_update',
    async: true,
    fields: updateFields('Unpaired'),
    requires: isUpdate,
  },
  policyGradientUpdate: {
    header: 'policy_gradient_update',
    async: true,
    fields: {
      head: 'Head',
      labels,
      reference: group('Reference', ['g.head.rows']),
      batch: 'PolicyGradientBatch',
      options: 'PolicyGradientOptions',
      logps: writes('float', 'g.head.rows'),
      ...statistics('g.head.rows'),
      out: 'PolicyGradientOut',
      gradients: group('HeadGradients', ['g.head']),
    },
    requires:
      '!g.head.logits == !g.gradients.logits && g.batch.tokens == g.head.rows && ' +
      '(g.batch.trajectory_offsets != nullptr || ' +
      '(!g.options.by_sequence() && g.options.ratio_level != RatioLevel::trajectory)) && ' +
      '(g.entropy != nullptr || g.options.entropy_coef == 0)',
  },
  headDivergence: {
    header: 'divergence',
    async: true,
    fields: {
      head: 'Head',
      labels: group('TokenLabels', ['g.head.rows']),
      teacher: group('Teacher', ['g.head.rows']),
      type: 'Divergence',
      jsdBeta: 'number',
      divergence: writes('float', 'g.head.rows'),
      saved: writes('double', 'g.head.rows * kSavedSize'),
    },
    requires: 'fits_teacher(g.head, g.teacher)',
  },
  headDivergenceBackward: {
    header: 'divergence',
    async: true,
    fields: {
      head: 'Head',
      labels: group('TokenLabels', ['g.head.rows']),
      teacher: group('Teacher', ['g.head.rows']),
      type: 'Divergence',
      jsdBeta: 'number',
      saved: reads('double', 'g.head.rows * kSavedSize'),
      gradDivergence: reads('float', 'g.head.rows'),
      gradients: group('HeadGradients', ['g.head']),
    },
    requires: 'fits_teacher(g.head, g.teacher) && !g.head.logits == !g.gradients.logits',
  },
  firstNonFinite: {
    header: 'non_finite',
    device: false,
    returns: 'int64_t',
    otherwise: -1,
    fields: {
      dtype: 'DType',
      rows: 'int',
      columns: 'int',
      rowStride: 'int',
      allowNegInf: 'bool',
      data: reads('void', 'g.rows > 0 ? (g.rows - 1) * g.row_stride + g.columns : 0'),
      mask: optional(reads('uint8_t', 'g.rows')),
    },
  },
};
