import { type Unpaired, type UnpairedOptions, unpairedPreferenceLoss } from './unpaired-loss.ts';
import { type HeadOptions, type UpdateOf, update } from './update.ts';

export type UnpairedUpdateOptions = HeadOptions & Omit<UnpairedOptions, 'logps' | 'refLogps'>;

export function unpairedUpdate(options: UnpairedUpdateOptions): UpdateOf<Unpaired> {
  return update(options, (tokens) => unpairedPreferenceLoss({ ...options, ...tokens }));
}
