/** Runs the stages of a run; finished ones are skipped. */
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from '../command.js';
import { CommandError } from '../errors.js';
import { writeWhole } from '../files.js';
import { hashFile, hashFolder, hashValue } from '../hash.js';
import type { Source, Stage } from './stages.js';

/** What a stage is: with the same identity, its output is the same. */
export interface Identity {
  command: string;
  options: Record<string, string | true>;
  /** The hash of each input. */
  inputs: Record<string, string>;
}

/** stage.json of a stage's folder. */
interface StageFile {
  hash: string;
  identity: Identity;
  state: 'running' | 'finished';
  /** The hash of the output, once finished. */
  output?: string;
  summary?: Record<string, unknown>;
}

/** Options that change how fast a stage runs, but not what it computes. */
const speedOptions = [
  'concurrency',
  'timeout-seconds',
  'attempts',
  'threads',
  'save-every',
  'trainer-python',
  'agent-key-env',
  'human-key-env',
];

/** A run in its folder. */
export class Run {
  readonly folder: string;
  readonly #stages: ReadonlyMap<string, Stage>;
  /** Hashes of paths outside the run. */
  readonly #hashes = new Map<string, string>();

  constructor(folder: string, stages: readonly Stage[]) {
    this.folder = folder;
    this.#stages = new Map(stages.map((stage) => [stage.name, stage]));
  }

  outputOf(name: string): string {
    return join(this.folder, name, (this.#stages.get(name) as Stage).output);
  }

  /** stage.json, undefined if the stage never started. */
  fileOf(name: string): StageFile | undefined {
    const file = join(this.folder, name, 'stage.json');
    return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as StageFile) : undefined;
  }

  pathOf(source: Source): string {
    return 'path' in source ? source.path : this.outputOf(source.stage);
  }

  async #hashOf(source: Source): Promise<string> {
    if ('stage' in source) {
      const output = this.fileOf(source.stage)?.output;
      if (output === undefined) throw new CommandError('ERR_STAGE', `The stage ${source.stage} is not finished`);
      return output;
    }
    const { path } = source;
    const known = this.#hashes.get(path);
    if (known !== undefined) return known;
    const hash = await hashPath(path);
    this.#hashes.set(path, hash);
    return hash;
  }

  async identityOf({ command, input, sources, options }: Stage): Promise<Identity> {
    const inputs: Record<string, string> = { input: await this.#hashOf(input) };
    for (const [option, source] of Object.entries(sources)) inputs[option] = await this.#hashOf(source);
    const kept = Object.entries(options).filter(([option]) => !speedOptions.includes(option));
    return { command, options: Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1))), inputs };
  }

  /**
   * Runs a stage unless it is finished.
   * @returns whether it was computed now
   * @throws CommandError ERR_STAGE naming the field in which a stage on disk differs from the run's
   */
  async execute(stage: Stage, command: Command, progress: NodeJS.WriteStream, signal: AbortSignal): Promise<boolean> {
    const identity = await this.identityOf(stage);
    const folder = join(this.folder, stage.name);
    const before = this.fileOf(stage.name);
    if (before !== undefined) checkSame(stage.name, folder, before.identity, identity);
    if (before?.state === 'finished' && existsSync(this.outputOf(stage.name))) return false;

    mkdirSync(folder, { recursive: true });
    const file = join(folder, 'stage.json');
    const start: StageFile = { hash: hashValue(identity), identity, state: 'running' };
    writeWhole(file, `${JSON.stringify(start, null, 2)}\n`);
    const sources = Object.entries(stage.sources).map(([option, source]) => [option, this.pathOf(source)]);
    const values = { ...stage.options, ...Object.fromEntries(sources), out: this.outputOf(stage.name) };
    progress.write(`${stage.name}\n`);
    let summary: Record<string, unknown>;
    try {
      summary = await command.run({ positionals: [this.pathOf(stage.input)], values, progress, signal });
      signal.throwIfAborted();
    } catch (error) {
      if (error instanceof Error && !signal.aborted) error.message = `${stage.name}: ${error.message}`;
      throw error;
    }
    const finished: StageFile = {
      ...start,
      state: 'finished',
      output: await hashPath(this.outputOf(stage.name)),
      summary,
    };
    writeWhole(file, `${JSON.stringify(finished, null, 2)}\n`);
    return true;
  }
}

async function hashPath(path: string): Promise<string> {
  if (!existsSync(path)) throw new CommandError('ERR_STAGE', `${path} does not exist`);
  return statSync(path).isDirectory() ? hashFolder(path) : hashFile(path);
}

function checkSame(name: string, folder: string, before: Identity, now: Identity): void {
  const parts = [
    ['command', { command: before.command }, { command: now.command }],
    ['option', before.options, now.options],
    ['input', before.inputs, now.inputs],
  ] as const;
  for (const [part, old, current] of parts) {
    for (const key of new Set([...Object.keys(old), ...Object.keys(current)])) {
      const [was, is] = [(old as Record<string, unknown>)[key], (current as Record<string, unknown>)[key]];
      if (was === is) continue;
      const shown = (value: unknown) => (value === undefined ? 'not given' : JSON.stringify(value));
      const what = `the ${part} ${key} was ${shown(was)} and is ${shown(is)}`;
      throw new CommandError(
        'ERR_STAGE',
        `The stage ${name} has other settings: ${what}. Restore it, or remove ${folder}`,
      );
    }
  }
}
