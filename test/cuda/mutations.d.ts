export const MUTATIONS: readonly (readonly [file: string, what: string, from: string, to: string])[];
