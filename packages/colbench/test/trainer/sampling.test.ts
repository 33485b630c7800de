import { describe, expect, it } from 'vitest';
import { candidateSeed } from '../../src/trainer/model.js';
import type { CandidateAnswer } from '../../src/trainer/protocol.js';
import type { Session } from '../../src/trainer/session.js';
import { CONFIGS, makeModel, open, python, randomSequences } from './helpers.js';

const VOCAB = 61;

interface Given {
  prompts: number[][];
  n: number;
  temperature?: number;
  topP?: number;
  maxTokens?: number;
  stop?: number[];
  seed?: number;
}

async function sample(session: Session, { prompts, n, seed = 1, ...rest }: Given): Promise<CandidateAnswer[]> {
  const answers: CandidateAnswer[] = [];
  const seeds = prompts.flatMap((_, s) => Array.from({ length: n }, (_, c) => candidateSeed(seed, s, c)));
  const defaults = { temperature: 1, topP: 1, maxTokens: 20, stop: [] };
  for await (const answer of session.trainer.sample({ ...defaults, ...rest, prompts, n, seeds })) answers.push(answer);
  return answers.sort((a, b) => a.candidate - b.candidate);
}

/** Log-probs of candidates by a forward pass over the finished sequences. */
async function forwardLogps(session: Session, prompts: number[][], n: number, answers: CandidateAnswer[]) {
  const sequences = answers.map(({ candidate, ids }) => {
    const prompt = prompts[Math.floor(candidate / n)]!;
    const all = Int32Array.from([...prompt, ...ids]);
    return { id: `c${candidate}`, ids: all, turns: [{ start: prompt.length, end: all.length }] };
  });
  const logps: Float32Array[] = [];
  for await (const each of session.logps(sequences, { microTokens: 2000 })) logps.push(each);
  return logps;
}

describe.skipIf(!python)('sampling', () => {
  const prompts = [...randomSequences(3, 2, VOCAB, 21).map(({ ids }) => [...ids]), [7]];

  it.each(['qwen3', 'smollm3'])('returns the log-probs of a forward pass: %s', async (name) => {
    const session = await open(await makeModel(CONFIGS[name]!, 31), { frozen: true });
    // With these stop tokens candidates end at all lengths, so that rows are dropped on the way.
    const answers = await sample(session, { prompts, n: 6, maxTokens: 40, stop: [3, 4, 5] });
    expect(answers.map(({ candidate }) => candidate)).toEqual(Array.from({ length: 24 }, (_, i) => i));
    const expected = await forwardLogps(session, prompts, 6, answers);
    for (const [k, { ids, logps, sampledLogps, stop }] of answers.entries()) {
      for (const [i, logp] of logps.entries()) expect(Math.abs(logp - expected[k]![i]!)).toBeLessThan(1e-4);
      expect(sampledLogps).toEqual(logps);
      expect(ids.findIndex((id) => id >= 3 && id <= 5)).toBe(stop === 'stop' ? ids.length - 1 : -1);
      if (stop === 'length') expect(ids.length).toBe(40);
    }
    expect(new Set(answers.map(({ ids }) => ids.length)).size).toBeGreaterThan(5);
  });

  it('draws the same candidates whatever else is in the batch', async () => {
    const session = await open(await makeModel(CONFIGS.llama!, 32), { frozen: true });
    const together = await sample(session, { prompts, n: 3 });
    const alone = await sample(session, { prompts: prompts.slice(0, 1), n: 3 });
    expect(alone.map(({ ids }) => ids)).toEqual(together.slice(0, 3).map(({ ids }) => ids));
    expect(new Set(together.map(({ ids }) => ids.join())).size).toBe(12);
    const other = await sample(session, { prompts: prompts.slice(0, 1), n: 3, seed: 2 });
    expect(other.map(({ ids }) => ids)).not.toEqual(alone.map(({ ids }) => ids));
  });

  it('draws first tokens with the frequencies of the model', async () => {
    const session = await open(await makeModel(CONFIGS.llama!, 33), { frozen: true });
    const n = 100_000;
    const counts = new Array<number>(VOCAB).fill(0);
    const logps = new Map<number, number>();
    for (const {
      ids,
      logps: [logp],
    } of await sample(session, { prompts: [[7, 8, 9]], n, maxTokens: 1 })) {
      counts[ids[0]!]!++;
      logps.set(ids[0]!, logp!);
    }
    let chi2 = 0;
    let missing = 1;
    let classes = 0;
    for (const [token, logp] of logps) {
      const expected = n * Math.exp(logp);
      missing -= Math.exp(logp);
      if (expected < 5) continue;
      chi2 += (counts[token]! - expected) ** 2 / expected;
      classes++;
    }
    expect(missing).toBeLessThan(1e-3);
    expect(classes).toBeGreaterThan(20);
    // Wilson and Hilferty: the 99.9th percentile of chi-square.
    const k = classes - 1;
    expect(chi2).toBeLessThan(k * (1 - 2 / (9 * k) + 3.09 * Math.sqrt(2 / (9 * k))) ** 3);
  });

  it('takes temperature, top-p and temperature 0', async () => {
    const session = await open(await makeModel(CONFIGS.llama!, 34), { frozen: true });
    const greedy = await sample(session, { prompts, n: 2, temperature: 0 });
    expect(greedy[0]!.ids).toEqual(greedy[1]!.ids);
    const first = await sample(session, { prompts: [[7]], n: 2000, maxTokens: 1 });
    const probs = new Map(first.map(({ ids, logps }) => [ids[0]!, Math.exp(logps[0]!)]));
    const nucleus = await sample(session, { prompts: [[7]], n: 2000, maxTokens: 1, topP: 0.5, temperature: 0.7 });
    const tempered = new Map([...probs].map(([id, p]) => [id, p ** (1 / 0.7)]));
    const total = [...tempered.values()].reduce((a, b) => a + b);
    const ordered = [...tempered].sort((a, b) => b[1] - a[1]);
    const kept = new Map<number, number>();
    let mass = 0;
    for (const [id, p] of ordered) {
      if (mass >= 0.5 * total) break;
      kept.set(id, p);
      mass += p;
    }
    for (const { ids, logps, sampledLogps } of nucleus) {
      expect(kept.has(ids[0]!)).toBe(true);
      expect(Math.exp(logps[0]!)).toBeCloseTo(probs.get(ids[0]!)!, 5);
      expect(Math.exp(sampledLogps[0]!)).toBeCloseTo(kept.get(ids[0]!)! / mass, 2);
    }
  });
});
