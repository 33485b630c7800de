import type { DType } from './storage.ts';

type Name =
  | 'tokenLogps'
  | 'tokenLogpsBackward'
  | 'linearLogps'
  | 'linearLogpsBackward'
  | 'criticUpdate'
  | 'policyUpdate'
  | 'unpairedUpdate';

export interface CallCase {
  name: Name;
  title: string;
  options: () => Record<string, unknown>;
}

export function isOut(call: CallCase, name: string, value: unknown): boolean;
export function callCases(dtype: DType): CallCase[];
export function largeCall(name: Name): CallCase;
