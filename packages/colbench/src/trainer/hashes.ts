/** Hashes that identify models, tokenizers and data. */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { CommandError } from '../errors.js';
import { readJson } from '../tokens/template.js';
import type { TrainingSequence } from './batches.js';

/** SHA-256 of a value as JSON. */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}

export async function hashOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(part as Buffer);
  return hash.digest('hex');
}

/** Of what determines a model's output: configuration and weights, with the base of an adapter. */
export async function modelHash(folder: string): Promise<string> {
  const files = readdirSync(folder).filter((name) => name.endsWith('.safetensors') || name.endsWith('config.json'));
  const weights = files.filter((name) => /^(model|adapter_model)\b|^(config|adapter_config)\.json$/.test(name));
  const hashes = await Promise.all(weights.sort().map(async (name) => [name, await hashOfFile(join(folder, name))]));
  return hashOf([hashes, existsSync(join(folder, 'adapter_config.json')) ? await modelHash(baseOf(folder)) : null]);
}

/** The base model of an adapter folder. */
export function baseOf(adapter: string): string {
  const file = join(adapter, 'adapter_config.json');
  const { base_model_name_or_path: base } = readJson(file);
  if (typeof base !== 'string') throw new CommandError('ERR_MODEL', `${file} has no base_model_name_or_path`);
  return isAbsolute(base) || existsSync(base) ? base : join(adapter, base);
}

/** Of tokens and spans; the names of the sequences do not matter. */
export function sequencesHash(sequences: readonly TrainingSequence[]): string {
  const hash = createHash('sha256');
  for (const { ids, turns, starts = [] } of sequences) {
    hash.update(JSON.stringify([ids.length, turns, starts]));
    hash.update(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
  }
  return hash.digest('hex');
}
