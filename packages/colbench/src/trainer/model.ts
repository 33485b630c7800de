/** A model folder in use, by the trainer: samples candidates and computes log-probs. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Model, ModelOptions, Sampled, SampleOptions, Sequence } from '../model.js';
import { readJson } from '../tokens/template.js';
import { mix } from './batches.js';
import { baseOf } from './hashes.js';
import type { CandidateAnswer, Hello } from './protocol.js';
import { Session } from './session.js';

/** Tokens at once where --micro-tokens is not given. */
const MICRO_TOKENS = 8192;

/** Loads a model folder, or an adapter folder with its base, and starts a trainer on it. */
export async function openModel(folder: string, options: ModelOptions): Promise<Model> {
  const { device = 'cpu', threads, microTokens = MICRO_TOKENS, seed = 42, python, progress } = options;
  const dtype = options.dtype ?? (device === 'cpu' ? 'float32' : storedDtype(folder));
  const session = await Session.open({
    ...{ model: folder, device, dtype, threads, seed, python, progress, checkpointing: false, frozen: true },
  });
  return modelOf(session, microTokens);
}

/** The model of a session, which may be in training. */
export function modelOf(session: Session, microTokens: number = MICRO_TOKENS): Model {
  return {
    sample: (prompts, sampling) => sampleInBatches(session, prompts, sampling, microTokens),
    logps: (sequences: readonly Sequence[], given = {}) => session.logps(sequences, { microTokens, ...given }),
    close: () => session.close(),
  };
}

/** The dtype of a folder's weights, by its configuration. */
function storedDtype(folder: string): Hello['dtype'] {
  const own = existsSync(join(folder, 'config.json'));
  const config = readJson(join(own ? folder : baseOf(folder), 'config.json'));
  return config.torch_dtype === 'float32' || config.dtype === 'float32' ? 'float32' : 'bfloat16';
}

/**
 * Prompts in order, as many at once as fit: prompt tokens and n * maxTokens new ones, at most `microTokens` a request, at least one
 * prompt. Which prompts share a request depends on the prompts alone.
 */
async function* sampleInBatches(
  session: Session,
  prompts: readonly Int32Array[],
  { n, temperature, topP, maxTokens, stop, seed, keys, signal }: SampleOptions,
  microTokens: number,
): AsyncGenerator<Sampled> {
  for (let first = 0, end = 0; first < prompts.length; first = end) {
    signal?.throwIfAborted();
    let tokens = 0;
    do {
      tokens += (prompts[end] as Int32Array).length + n * maxTokens;
      end++;
    } while (end < prompts.length && tokens + (prompts[end] as Int32Array).length + n * maxTokens <= microTokens);
    const indices = Array.from({ length: end - first }, (_, i) => first + i);
    const answers: CandidateAnswer[] = [];
    for (const i of indices) session.checkVocabulary(`Prompt ${i}`, prompts[i] as Int32Array);
    const request = {
      ...{ n, temperature, topP, maxTokens, stop: [...stop] },
      prompts: indices.map((i) => [...(prompts[i] as Int32Array)]),
      seeds: indices.flatMap((i) => Array.from({ length: n }, (_, c) => candidateSeed(seed, keys?.[i] ?? i, c))),
    };
    for await (const answer of session.trainer.sample(request)) answers.push(answer);
    answers.sort((a, b) => a.candidate - b.candidate);
    for (const { candidate, ids, logps, stop: reason } of answers) {
      yield {
        ...{ prompt: first + Math.floor(candidate / n), candidate: candidate % n, stop: reason },
        ...{ ids: Int32Array.from(ids), logps: Float32Array.from(logps) },
      };
    }
  }
}

/** 53 bits that depend on the seed, the state and the candidate alone; the trainer adds the position. */
export function candidateSeed(seed: number, state: number, candidate: number): number {
  const key = mix(mix(mix(BigInt(seed)) ^ BigInt(state)) ^ BigInt(candidate));
  return Number(key >> 11n);
}
