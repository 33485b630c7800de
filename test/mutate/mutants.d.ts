import type { Mutation } from './mutations.js';

export interface Mutant {
  fault: string;
  file: string;
  line: number;
  tests: string[];
  source: string;
  mutated: string;
}
export function mutantsOf(mutation: Mutation): Mutant[];
