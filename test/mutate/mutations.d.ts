export interface Mutation {
  fault: string;
  changes: readonly (readonly [pattern: RegExp, replacement: string])[];
  places: readonly (readonly [file: string, tests: string | readonly string[]])[];
}
export const MUTATIONS: readonly Mutation[];
