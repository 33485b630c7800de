import { type TrajectoryPreferenceOptions, trajectoryPreferenceLoss } from './trajectory-preference.ts';
import { type HeadOptions, type Update, update } from './update.ts';

export type CriticOptions = HeadOptions & Omit<TrajectoryPreferenceOptions, 'logps' | 'refLogps'>;

export function criticUpdate(options: CriticOptions): Update {
  return update(options, (tokens) => trajectoryPreferenceLoss({ ...options, ...tokens }));
}
