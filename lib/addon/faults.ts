// The faults that the native code returns, and their errors.
import { CudaError, expected, rangeError, SweetError } from '../errors.js';
import type { FaultCode, PreferenceLevel } from './operations.js';

/** The rule that the arrays of a call break, found by the native code; nothing was written. */
export interface Fault {
  code: FaultCode;
  index: number;
  value: number;
  /** Of 'device', with the number of the error as the value; of 'deviceGemm', the message alone. */
  operation?: string;
  name?: string;
  message?: string;
  sticky?: boolean;
}

/** The part of a call's arguments that messages name. */
interface Sizes {
  head?: { vocabSize: number; totalVocab: number };
  labels?: { ignoreIndex: number };
  batch?: {
    tokens: number;
    turns: number;
    trajectories?: number;
    level?: PreferenceLevel;
    labels?: { weights?: unknown };
  };
}

/** Throws the error of a fault of a call with these arguments. */
export function check(fault: Fault | undefined, args: object = {}): void {
  if (fault !== undefined) throw errorOf(fault, args);
}

export function errorOf(fault: Fault, args: Sizes = {}): Error {
  const { code, index, value } = fault;
  const { head, labels, batch } = args;
  switch (code) {
    case 'label': {
      const V = head === undefined ? 'totalVocab' : `V = ${head.totalVocab || head.vocabSize}`;
      const rule = `a label from 0 to below ${V}, or ignoreIndex = ${labels?.ignoreIndex},`;
      return rangeError('ERR_LABEL', `Expected ${rule} for labels[${index}] but received ${value}`);
    }
    case 'turnOffsets':
    case 'trajectoryOffsets': {
      const total =
        code === 'turnOffsets' ? `${batch?.tokens}, the number of tokens` : `${batch?.turns}, the number of turns`;
      const rule = `offsets that start at 0, do not decrease and end at ${total},`;
      return rangeError('ERR_OFFSETS', `Expected ${rule} for ${code} but received ${value} at index ${index}`);
    }
    case 'emptyTurn':
    case 'emptyTrajectory': {
      const where = `${code === 'emptyTurn' ? 'turn' : 'trajectory'} ${index}`;
      const [what, others] =
        batch?.labels?.weights === undefined
          ? ['an unmasked token', 'are masked']
          : ['an unmasked token with a weight above 0', 'are masked or have the weight 0'];
      const received = `all ${others} or there is none; allowEmptyTurns lets it count 0`;
      return rangeError('ERR_EMPTY_TURN', `Expected ${what} in ${where} but ${received}`);
    }
    case 'chosen':
    case 'rejected': {
      const items = (batch?.level === 'turn' ? batch.turns : batch?.trajectories) ?? 0;
      const rule = `the index of a ${batch?.level}, 0 to ${items - 1},`;
      return rangeError('ERR_PAIR', `Expected ${rule} for ${code}[${index}] but received ${value}, in pair ${index}`);
    }
    case 'samePair':
      return rangeError(
        'ERR_PAIR',
        `Expected two different indices in pair ${index} but chosen and rejected are both ${value}`,
      );
    case 'pairWeight':
      return rangeError('ERR_PAIR_WEIGHT', `Expected a finite weight >= 0 for pairWeights[${index}], of pair ${index}`);
    case 'zeroWeights':
      return rangeError('ERR_PAIR_WEIGHT', 'Expected a weight above 0 for pairWeights but all are 0, from pair 0 on');
    case 'tokenWeight':
      return tokenWeightError(index, floatOf(value));
    case 'unitWeight':
      return rangeError('ERR_UNIT_WEIGHT', expected('a finite weight >= 0', `unitWeights[${index}]`, floatOf(value)));
    case 'teacherIndex': {
      const rule = `a token id from 0 to below V = ${head?.vocabSize}`;
      return rangeError('ERR_ARG_VALUE', `Expected ${rule} for teacherIndices[${index}] but received ${value}`);
    }
    case 'teacherTwice':
      return rangeError(
        'ERR_ARG_VALUE',
        `Expected distinct token ids in each row but teacherIndices[${index}] is ${value} once more`,
      );
    case 'teacherLogps':
      return rangeError(
        'ERR_ARG_VALUE',
        `Expected log-probs, whose exponentials add up to 1, or to less where not all V entries are given, for teacherLogps but received another sum in row ${index}`,
      );
    case 'shardRows':
      return rangeError(
        'ERR_PARTIALS',
        `Expected statistics of as many rows as there are labels for shard ${index} but received another number of rows`,
      );
    case 'shardMismatch':
      return rangeError(
        'ERR_PARTIALS',
        `Expected shards of one vocabulary, one temperature and one softcap but shard ${index} does not belong to shard 0`,
      );
    case 'shardNoEntropy':
      return rangeError(
        'ERR_PARTIALS',
        `Expected statistics computed with entropy: true for shard ${index} but received some without`,
      );
    case 'shardStatistics':
      return rangeError(
        'ERR_PARTIALS',
        `Expected shard ${index} to have the argmax and the sumSquaredProbs that the others have, and those that are asked for`,
      );
    case 'shardMask':
      return rangeError(
        'ERR_PARTIALS',
        `Expected the mask that shard ${index} was computed with for mask but received another one`,
      );
    case 'shardLabels':
      return rangeError(
        'ERR_PARTIALS',
        `Expected the labels and the ignoreIndex that shard ${index} was computed with for labels but received others`,
      );
    case 'shardCoverage':
      return rangeError(
        'ERR_PARTIALS',
        `Expected each vocabulary entry in exactly one shard but entry ${value} is in none or in several, see shard ${index}`,
      );
    case 'device': {
      const { operation = '', name = '', sticky = false, message = '' } = fault;
      return new CudaError(operation, name, value, sticky, message);
    }
    case 'shape':
      return rangeError(
        'ERR_ARG_LENGTH',
        'Expected arrays that keep their length while a call begins, but one became shorter than it was when it was checked',
      );
    case 'deviceGemm':
      return new SweetError('ERR_BACKEND', fault.message ?? '');
    case 'cancelled':
      return new SweetError('ERR_CANCELLED', 'This call was cancelled');
    case 'memory':
      return new SweetError('ERR_MEMORY', 'Allocation of working memory failed');
  }
}

const floatOf = (bits: number): number => new Float32Array(Uint32Array.of(bits).buffer)[0] as number;

export const tokenWeightError = (token: number, weight: number): RangeError =>
  rangeError('ERR_ARG_VALUE', expected('a finite weight >= 0', `tokenWeights[${token}]`, weight));
