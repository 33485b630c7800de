export type Mutation = readonly [file: string, what: string, from: string, to: string, ...others: unknown[]];
export function broken(source: string, mutation: Mutation): string;
export function row(...cells: string[]): string;
