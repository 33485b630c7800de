/** The files of a run: model folder, checkpoints, state. A folder appears under its name when all of it is written. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CommandError } from '../errors.js';
import { FolderReplacement, writeWhole } from '../files.js';
import type { Trainer } from './process.js';

/** Checkpoints that are kept. */
const KEPT = 2;

/** What a run was started with: a run with another value is another run. */
export type Identity = Record<string, string | number | boolean | null>;

export interface State {
  /** Steps that are in the weights. */
  step: number;
  /** Epochs that are in the weights, a fraction. */
  epoch: number;
  /** Items of the epoch that are in the weights. */
  position: number;
  seed: number;
  /** Of the order of the items. */
  planHash: string;
  done: boolean;
  identity: Identity;
}

const writeJson = (path: string, value: unknown) => writeWhole(path, `${JSON.stringify(value, null, 2)}\n`);

function readState(folder: string): State | undefined {
  const path = join(folder, 'state.json');
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as State) : undefined;
}

/**
 * Files of a model folder that the weights do not change: configuration, tokenizer, template. The weights, and what a run writes
 * beside them, are not copied.
 */
export function copyModelFiles(from: string, to: string): void {
  const written = /\.safetensors(\.index\.json)?$|^(state|adapter_config)\.json$|\.(bin|gguf|onnx|pth?|jsonl|svg|md)$/;
  for (const name of readdirSync(from)) {
    if (written.test(name) || name.startsWith('.') || !statSync(join(from, name)).isFile()) continue;
    copyFileSync(join(from, name), join(to, name));
  }
}

/** The run in a folder. */
export class Run {
  constructor(
    readonly folder: string,
    readonly identity: Identity,
  ) {}

  /**
   * Where the run is: finished, the newest checkpoint, or undefined at the start.
   *
   * @throws CommandError ERR_OTHER_RUN where the folder holds a run of other settings, naming what differs
   */
  resume(): { state: State; checkpoint: string | undefined } | undefined {
    const started = readState(this.folder);
    if (started === undefined) {
      if (existsSync(join(this.folder, 'config.json')) || existsSync(join(this.folder, 'adapter_config.json'))) {
        throw new CommandError(
          'ERR_OTHER_RUN',
          `${this.folder} holds a model that no run has written; choose another --out`,
        );
      }
      return undefined;
    }
    const differing = [...new Set([...Object.keys(started.identity), ...Object.keys(this.identity)])].filter(
      (key) => started.identity[key] !== this.identity[key],
    );
    if (differing.length > 0) {
      const list = differing.map((key) => `${key}: ${started.identity[key]} there, ${this.identity[key]} here`);
      const help = 'choose another --out, or remove the folder';
      throw new CommandError(
        'ERR_OTHER_RUN',
        `${this.folder} holds a run of other settings (${list.join('; ')}); ${help}`,
      );
    }
    if (started.done) return { state: started, checkpoint: undefined };
    const newest = this.#checkpoints().at(-1);
    if (newest === undefined) return undefined;
    return { state: readState(newest) as State, checkpoint: newest };
  }

  /** Makes the folder and says whose it is. */
  start(state: State): void {
    mkdirSync(join(this.folder, 'checkpoints'), { recursive: true });
    for (const name of readdirSync(join(this.folder, 'checkpoints'))) {
      if (name.startsWith('.')) rmSync(join(this.folder, 'checkpoints', name), { recursive: true });
    }
    if (readState(this.folder) === undefined) writeJson(join(this.folder, 'state.json'), state);
  }

  /** Writes a checkpoint and removes old ones. */
  async save(trainer: Trainer, model: string, state: State): Promise<void> {
    const name = `step-${String(state.step).padStart(8, '0')}`;
    const final = join(this.folder, 'checkpoints', name);
    if (existsSync(final)) return;
    const checkpoint = new FolderReplacement(final);
    await trainer.request('save', { folder: checkpoint.path, what: 'weights' });
    await trainer.request('save', { folder: checkpoint.path, what: 'optimizer' });
    copyModelFiles(model, checkpoint.path);
    writeJson(join(checkpoint.path, 'state.json'), state);
    checkpoint.commit();
    for (const old of this.#checkpoints().slice(0, -KEPT)) rmSync(old, { recursive: true });
  }

  /** Writes the trained model to the folder itself and removes the checkpoints. */
  async finish(trainer: Trainer, model: string, state: State): Promise<void> {
    const trained = new FolderReplacement(join(this.folder, 'checkpoints', 'final'));
    await trainer.request('save', { folder: trained.path, what: 'weights' });
    copyModelFiles(model, trained.path);
    trained.moveFilesTo(this.folder);
    writeJson(join(this.folder, 'state.json'), { ...state, done: true });
    rmSync(join(this.folder, 'checkpoints'), { recursive: true });
  }

  #checkpoints(): string[] {
    const folder = join(this.folder, 'checkpoints');
    if (!existsSync(folder)) return [];
    const names = readdirSync(folder).filter((name) => name.startsWith('step-'));
    return names.sort().map((name) => join(folder, name));
  }
}
