import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { readSafetensors } from 'sweet-rl/safetensors';
import { afterAll } from 'vitest';
import type { Sequence } from '../../src/model.js';
import { uniforms } from '../../src/trainer/batches.js';
import { findPython, Trainer } from '../../src/trainer/process.js';
import type { Hello } from '../../src/trainer/protocol.js';
import { Session } from '../../src/trainer/session.js';

/** The interpreter with torch, undefined where there is none: tests that need it are skipped. */
export const python = await findPython().catch((error: Error) => {
  console.warn(`tests of the trainer are skipped: ${error.message}`);
  return undefined;
});

const oracleScript = fileURLToPath(new URL('./oracle.py', import.meta.url));

let oracleProcess: ChildProcess | undefined;
let oracleAnswers: AsyncIterator<string>;

/** Runs a command of oracle.py. */
export async function oracle(...command: string[]): Promise<void> {
  if (oracleProcess === undefined) {
    oracleProcess = spawn(python as string, [oracleScript], { stdio: ['pipe', 'pipe', 'inherit'] });
    oracleAnswers = createInterface({ input: oracleProcess.stdout as Readable })[Symbol.asyncIterator]();
  }
  oracleProcess.stdin?.write(`${JSON.stringify(command)}\n`);
  const { value } = await oracleAnswers.next();
  if (value !== '""') throw new Error(`oracle.py: ${value}`);
}

const folders: string[] = [];
let trainer: Trainer | undefined;
afterAll(async () => {
  oracleProcess?.kill();
  await trainer?.end();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'colbench-trainer-'));
  folders.push(folder);
  return folder;
}

export type ModelConfig = Record<string, unknown>;

const SIZES = {
  ...{ hidden_size: 24, intermediate_size: 40, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ vocab_size: 61, rms_norm_eps: 1e-5, rope_theta: 10000, max_position_embeddings: 512, hidden_act: 'silu' },
};

/** Small configurations that differ in what architectures differ in. */
export const CONFIGS: Record<string, ModelConfig> = {
  llama: { ...SIZES, model_type: 'llama', tie_word_embeddings: false },
  'llama tied, biases': {
    ...{ ...SIZES, model_type: 'llama', tie_word_embeddings: true, attention_bias: true, mlp_bias: true },
  },
  'llama with llama3 RoPE': {
    ...{ ...SIZES, model_type: 'llama', tie_word_embeddings: false, head_dim: 12 },
    // Short original context: all three ranges of wavelengths occur.
    rope_scaling: {
      ...{ rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
      original_max_position_embeddings: 64,
    },
  },
  'llama with linear RoPE': {
    ...{ ...SIZES, model_type: 'llama', tie_word_embeddings: false, rope_scaling: { rope_type: 'linear', factor: 4 } },
  },
  qwen2: { ...SIZES, model_type: 'qwen2', tie_word_embeddings: true, rope_theta: 1e6 },
  qwen3: { ...SIZES, model_type: 'qwen3', tie_word_embeddings: false, head_dim: 16, rope_theta: 1e6 },
  mistral: { ...SIZES, model_type: 'mistral', tie_word_embeddings: false, sliding_window: null },
  smollm3: {
    ...{ ...SIZES, model_type: 'smollm3', tie_word_embeddings: true, num_hidden_layers: 3 },
    no_rope_layers: [1, 0, 1],
  },
};

/** A folder with random float32 weights. */
export async function makeModel(config: ModelConfig, seed: number): Promise<string> {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  await oracle('make', folder, String(seed));
  return folder;
}

/** A model in the one trainer of a test file: importing torch takes seconds. */
export async function open(model: string, options: Partial<Hello> = {}): Promise<Session> {
  if (!trainer?.isRunning) trainer = await Trainer.start({ python: python as string });
  return Session.on(trainer, {
    ...{ model, device: 'cpu', dtype: 'float32', threads: 1, seed: 1, checkpointing: false },
    ...options,
  });
}

/** Ragged sequences with turns of random lengths between the user's tokens. */
export function randomSequences(count: number, turns: number, vocab: number, seed: number): Sequence[] {
  const uniform = uniforms(seed);
  const below = (n: number) => Math.floor(uniform() * n);
  return Array.from({ length: count }, (_, k) => {
    const spans: Sequence['turns'] = [];
    let length = 0;
    for (let t = 0; t < turns; t++) {
      const start = length + 1 + below(6);
      const end = start + 1 + below(t % 2 ? 3 : 12);
      spans.push({ start, end });
      length = end;
    }
    const ids = Int32Array.from({ length: length + below(3) }, () => below(vocab));
    return { id: `s${k}`, ids, turns: spans };
  });
}

/** ||a - b|| / ||b||. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += ((a[i] as number) - (b[i] as number)) ** 2;
    norm += (b[i] as number) ** 2;
  }
  return Math.sqrt(difference / norm);
}

type Tensors = ReturnType<typeof readSafetensors>['tensors'];

/** The relative norm of the difference of all tensors together. */
export function distance(ours: Tensors, expected: Tensors): number {
  const flat = (tensors: Tensors) =>
    Object.keys(expected).flatMap((name) => [...(tensors[name]!.data as Float32Array)]);
  return relativeError(flat(ours), flat(expected));
}

export const readJson = (path: string) => JSON.parse(readFileSync(path, 'utf8'));

/** Entries of /dev/shm that a trainer's buffers could have left. */
export const sharedMemory = () => readdirSync('/dev/shm').filter((name) => name.startsWith('colbench-'));
