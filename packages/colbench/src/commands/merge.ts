/** `merge`: a LoRA adapter and its base as a plain model folder. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Command, CommandInput } from '../command.js';
import { CommandError } from '../errors.js';
import { FolderReplacement } from '../files.js';
import { modelOptionsOf } from '../model.js';
import { copyModelFiles } from '../trainer/checkpoints.js';
import { baseOf } from '../trainer/hashes.js';
import { Session } from '../trainer/session.js';
import { onePositional, Values } from '../values.js';

const usage = `colbench merge FOLDER --out FOLDER [--trainer-python FILE] [--threads N]
  Adds a LoRA adapter to its base model: W + (alpha / r) B A, formed in float64, in the dtype of the base. --out becomes a
  plain model folder.
`;

export const command: Command = {
  name: 'merge',
  summary: 'a LoRA adapter and its base as a plain model folder',
  usage,
  options: { out: { type: 'string' }, 'trainer-python': { type: 'string' }, threads: { type: 'string' } },
  run: merge,
};

async function merge(input: CommandInput): Promise<Record<string, unknown>> {
  const values = new Values('merge', input.values);
  const folder = onePositional(input, 'merge', 'folder');
  const out = values.required('out');
  if (!existsSync(join(folder, 'adapter_config.json'))) {
    throw new CommandError('ERR_MODEL', `${folder} has no adapter_config.json: it is no LoRA checkpoint`);
  }
  if (existsSync(out) && readdirSync(out).length > 0) throw new CommandError('ERR_OUT', `${out} is not empty`);
  const { threads, python } = modelOptionsOf(values);
  const session = await Session.open({
    ...{ model: folder, device: 'cpu', dtype: 'float32', seed: 0, checkpointing: false, frozen: true },
    ...{ threads, python, progress: input.progress },
  });
  const merged = new FolderReplacement(out);
  try {
    const { files } = await session.trainer.request('save', { folder: merged.path, what: 'merged' });
    copyModelFiles(baseOf(folder), merged.path);
    copyModelFiles(folder, merged.path);
    merged.commit();
    return { out, files: files.map(({ name }) => name), parameters: session.model.parameters };
  } finally {
    merged.discard();
    await session.close();
  }
}
