/** The log-probs of the frozen reference: computed once before the training, by the same forward pass, and kept in a file. */
import { existsSync, rmSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { readSafetensors, writeSafetensors } from 'sweet-rl/safetensors';
import type { Sequence } from '../model.js';
import { type Session, scoredTokens } from './session.js';
import type { Rank } from './steps.js';

export interface ReferenceOptions {
  /** Of `reference.safetensors`. */
  path: string;
  /** What the log-probs depend on: hashes of model, tokenizer and data, and the dtype. Another value recomputes them. */
  identity: Record<string, string>;
  microTokens: number;
  /** Each rank computes every `world`th sequence; rank 0 joins the parts. */
  rank: Rank;
  /** Whether the model is an adapter, which then belongs to the reference. */
  adapter: boolean;
  signal?: AbortSignal | undefined;
  onProgress?: (sequences: number, tokens: number) => void;
}

/**
 * The reference's log-probs by the id of a sequence, read from the file or computed and written to it. The session must hold the
 * initial weights; the LoRA adapter that is trained is switched off.
 */
export async function referenceLogps(
  session: Session,
  sequences: readonly Sequence[],
  options: ReferenceOptions,
): Promise<Map<string, Float32Array>> {
  const stored = readReference(sequences, options);
  if (stored !== undefined) return stored;
  const { path, identity, rank, signal } = options;
  if (rank.world === 1) {
    const computed = await computeReference(session, sequences, options);
    writeReference(path, sequences, computed, identity);
    return computed;
  }
  const share = (r: number) => sequences.filter((_, k) => k % rank.world === r);
  const part = (r: number) => ({ path: `${path}.${r}-of-${rank.world}`, identity });
  const mine = share(rank.rank);
  writeReference(part(rank.rank).path, mine, await computeReference(session, mine, options), identity);
  if (rank.rank > 0) return waitFor(() => readReference(sequences, options), signal);
  const parts = await Promise.all(
    Array.from({ length: rank.world }, (_, r) => waitFor(() => readReference(share(r), part(r)), signal)),
  );
  const all = new Map(parts.flatMap((each) => [...each]));
  writeReference(path, sequences, all, identity);
  for (let r = 0; r < rank.world; r++) rmSync(part(r).path);
  return all;
}

/** Milliseconds between looks at the files of other ranks. */
const POLL = 50;

async function waitFor<T>(look: () => T | undefined, signal: AbortSignal | undefined): Promise<T> {
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    await setTimeout(POLL, undefined, signal && { signal });
  }
}

/** What the file holds, undefined where there is none or its identity differs. */
export function readReference(
  sequences: readonly Sequence[],
  { path, identity }: Pick<ReferenceOptions, 'path' | 'identity'>,
): Map<string, Float32Array> | undefined {
  if (!existsSync(path)) return undefined;
  const { tensors, metadata } = readSafetensors(path);
  if (Object.entries(identity).some(([key, value]) => metadata[key] !== value)) return undefined;
  const logps = tensors.logps?.data as Float32Array;
  const offsets = tensors.offsets?.data as Int32Array;
  return new Map(sequences.map(({ id }, k) => [id, logps.subarray(offsets[k], offsets[k + 1])]));
}

async function computeReference(
  session: Session,
  sequences: readonly Sequence[],
  { microTokens, adapter, signal, onProgress }: ReferenceOptions,
): Promise<Map<string, Float32Array>> {
  const references = new Map<string, Float32Array>();
  let tokens = 0;
  for await (const logps of session.logps(sequences, { microTokens, adapter, ...(signal && { signal }) })) {
    const { id, ids } = sequences[references.size] as Sequence;
    references.set(id, logps);
    tokens += ids.length;
    onProgress?.(references.size, tokens);
  }
  return references;
}

function writeReference(
  path: string,
  sequences: readonly Sequence[],
  references: ReadonlyMap<string, Float32Array>,
  identity: Record<string, string>,
): void {
  const offsets = new Int32Array(sequences.length + 1);
  for (const [k, sequence] of sequences.entries()) offsets[k + 1] = (offsets[k] as number) + scoredTokens(sequence);
  const logps = new Float32Array(offsets[sequences.length] as number);
  for (const [k, { id }] of sequences.entries()) logps.set(references.get(id) as Float32Array, offsets[k]);
  writeSafetensors(path, { tensors: { logps, offsets }, metadata: identity });
}
