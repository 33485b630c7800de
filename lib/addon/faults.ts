// The faults that the native code returns, and their errors.
import { CudaError, rangeError, SweetError } from '../errors.js';
import type { FaultCode } from './operations.js';

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

/** Throws the error of a fault. */
export function check(fault: Fault | undefined): void {
  if (fault !== undefined) throw errorOf(fault);
}

export function errorOf(fault: Fault): Error {
  const { code, index, value } = fault;
  switch (code) {
    case 'label':
      return rangeError(
        'ERR_LABEL',
        `Expected a label in [0, V) or ignoreIndex for labels[${index}] but received ${value}`,
      );
    case 'turnOffsets':
    case 'trajectoryOffsets': {
      const total = code === 'turnOffsets' ? 'the number of tokens' : 'the number of turns';
      const rule = `offsets that start at 0, do not decrease and end at ${total}`;
      return rangeError('ERR_OFFSETS', `Expected ${rule} for ${code} but received ${value} at index ${index}`);
    }
    case 'emptyTurn':
      return rangeError(
        'ERR_EMPTY_TURN',
        `Expected an unmasked token in turn ${index} but all are masked or there is none; allowEmptyTurns lets it count 0`,
      );
    case 'emptyTrajectory':
      return rangeError(
        'ERR_EMPTY_TURN',
        `Expected an unmasked token in trajectory ${index} but all are masked or there is none; allowEmptyTurns lets it count 0`,
      );
    case 'chosen':
    case 'rejected':
      return rangeError(
        'ERR_PAIR',
        `Expected the index of a trajectory or turn for ${code}[${index}] but received ${value}, in pair ${index}`,
      );
    case 'samePair':
      return rangeError(
        'ERR_PAIR',
        `Expected two different indices in pair ${index} but chosen and rejected are both ${value}`,
      );
    case 'pairWeight':
      return rangeError('ERR_PAIR_WEIGHT', `Expected a finite weight >= 0 for pairWeights[${index}], of pair ${index}`);
    case 'zeroWeights':
      return rangeError('ERR_PAIR_WEIGHT', 'Expected a weight above 0 for pairWeights but all are 0, from pair 0 on');
    case 'shardRows':
      return rangeError(
        'ERR_PARTIALS',
        `Expected statistics of as many rows as there are labels for shard ${index} but received another number of rows`,
      );
    case 'shardMismatch':
      return rangeError(
        'ERR_PARTIALS',
        `Expected shards of one vocabulary and one temperature but shard ${index} does not belong to shard 0`,
      );
    case 'shardNoEntropy':
      return rangeError(
        'ERR_PARTIALS',
        `Expected statistics computed with entropy: true for shard ${index} but received some without`,
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
