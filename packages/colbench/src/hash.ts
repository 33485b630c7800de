/** SHA-256 of values, files and model folders, by which stages and journals know their inputs. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

/** The hash of a value as JSON, 16 hexadecimal digits. */
export const hashValue = (value: unknown): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);

/** The hash of a file, 16 hexadecimal digits. */
export async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 2 ** 20 }), hash);
  return hash.digest('hex').slice(0, 16);
}

/** What a model is: its weights, its configuration, its tokenizer and its template; no state of training. */
const modelFile =
  /^(config|generation_config|tokenizer|tokenizer_config|adapter_config|model\.safetensors\.index)\.json$|^(model|adapter_model).*\.safetensors$|^chat_template\.jinja$/;

/** The hash of a model folder, 16 hexadecimal digits. */
export async function hashFolder(folder: string): Promise<string> {
  const names = (await readdir(folder)).filter((name) => modelFile.test(name)).sort();
  const hashes: [string, string][] = [];
  for (const name of names) hashes.push([name, await hashFile(join(folder, name))]);
  return hashValue(hashes);
}
