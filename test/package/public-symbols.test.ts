/** Every public symbol is documented, tested, and measured where it takes time. `npm run docs` checks the types' comments. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as sweetRl from 'sweet-rl';
import * as jax from 'sweet-rl/jax';
import * as safetensors from 'sweet-rl/safetensors';
import * as shm from 'sweet-rl/shm';
import * as tfjs from 'sweet-rl/tfjs';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../helpers/processes.ts';

const textsOf = (folder: string, ending: RegExp) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => ending.test(name))
    .map((name) => readFileSync(join(ROOT, folder, name), 'utf8'));

const sources = textsOf('lib', /\.c?ts$/);
const tests =
  textsOf('test', /(?<!public-symbols)\.test\.ts$/).join('\n') + textsOf('test/helpers', /\.ts$/).join('\n');
const benchmarks = textsOf('bench', /\.bench\.js$/).join('\n');

const symbols = [sweetRl, jax, tfjs, shm, safetensors].flatMap((module) =>
  Object.entries(module as Record<string, unknown>).map(([name, value]) => ({ name, value })),
);

/** What no benchmark measures by itself, and why. */
const UNMEASURED: Record<string, string> = {
  IGNORE_INDEX: 'a number',
  SweetError: 'a class of errors',
  CudaError: 'a class of errors',
  DeviceBuffer: 'memory; bench/cuda times what runs over it',
  SharedMapping: 'views of memory',
  FileReplacement: 'waits for the disk',
  backends: 'asks the machine once',
  useBackend: 'sets one variable',
  setThreads: 'sets one variable',
  threads: 'reads one variable',
  peakWorkingMemory: 'reads one variable',
  policyUpdate: 'the code of criticUpdate over other units',
  tokenLogpsAsync: 'tokenLogps on another thread',
  tokenLogpsBackwardAsync: 'tokenLogpsBackward on another thread',
  linearLogpsAsync: 'linearLogps on another thread',
  linearLogpsBackwardAsync: 'linearLogpsBackward on another thread',
  vocabParallelStats: 'the pass of tokenLogps or linearLogps',
  vocabParallelStatsAsync: 'vocabParallelStats on another thread',
  mergeVocabParallelStats: 'some exponentials a shard and row',
  partials: 'vocabParallelStats',
  partialsAsync: 'vocabParallelStatsAsync',
  mergePartials: 'mergeVocabParallelStats',
  criticUpdateAsync: 'criticUpdate on another thread',
  policyUpdateAsync: 'policyUpdate on another thread',
  turnAdvantagesBackward: 'one multiplication a token',
  checkGrad: "dozens of the caller's own forward passes",
  checkLogps: 'tokenLogps, and again where something is wrong',
  packTurns: 'one pass over tokens, small beside a forward pass',
  filteredNll: 'one pass over tokens, small beside a forward pass',
  binaryValueLoss: 'two exponentials a turn',
  valueAdvantages: 'one subtraction a turn',
  bradleyTerryLoss: 'the code of turnPreferenceLoss over single scores',
  rankCandidates: 'sorts some dozens of scores',
  samplePairs: 'sorts some dozens of scores',
  trajectoryPairs: 'compares a few rewards',
  trlMetrics: 'a mean over pairs',
  openShm: 'one system call',
  unlinkShm: 'one system call',
  readSafetensors: "a file's read",
  writeSafetensors: "a file's write",
  parseSafetensors: 'one copy',
  serializeSafetensors: 'one copy',
  toFloat32: 'one pass over tokens',
  criticValueAndGrad: 'criticUpdate and two copies of the logits',
  policyValueAndGrad: 'policyUpdate and two copies of the logits',
  criticLoss: 'criticUpdate and two copies of the logits',
  policyLoss: 'policyUpdate and two copies of the logits',
};

/** The comment in front of a declaration, the first of its overloads. */
function commentOf(name: string): string {
  const declaration = new RegExp(
    `(/\\*\\*(?:(?!\\*/)[\\s\\S])*\\*/)\\nexport (?:async )?(?:function|class|const) ${name}\\b`,
  );
  return sources.map((text) => declaration.exec(text)?.[1]).find((comment) => comment !== undefined) ?? '';
}

const isFunction = (value: unknown) => typeof value === 'function' && !/^class /.test(String(value));

describe.each(symbols)('$name', ({ name, value }) => {
  it('is documented: a line, and for functions the rest', () => {
    const comment = commentOf(name);
    expect(comment).toMatch(/\/\*\*(\n \*)? \S.{15,}/);
    if (!isFunction(value)) return;
    expect(comment).toContain('@example');
    expect(comment).toMatch(/@returns|@param/);
    if ((value as () => unknown).length > 0) expect(comment).toMatch(/@param[\s\S]*@throws/);
  });

  it('is tested', () => {
    expect(tests).toMatch(new RegExp(`\\b${name}\\b`));
  });

  it('is measured, or there is a reason why not', () => {
    const measured = new RegExp(`\\b${name}\\b`).test(benchmarks);
    if (!measured) expect(Object.keys(UNMEASURED)).toContain(name);
  });
});

it('gives reasons for nothing that is not public', () => {
  const names = symbols.map(({ name }) => name);
  expect(Object.keys(UNMEASURED).filter((name) => !names.includes(name))).toEqual([]);
});
