import { type TurnPreferenceOptions, turnPreferenceLoss } from './turn-preference.ts';
import { type HeadOptions, type Update, update } from './update.ts';

export type PolicyOptions = HeadOptions & Omit<TurnPreferenceOptions, 'logps' | 'refLogps'>;

export function policyUpdate(options: PolicyOptions): Update {
  return update(options, (tokens) => turnPreferenceLoss({ ...options, ...tokens }));
}
