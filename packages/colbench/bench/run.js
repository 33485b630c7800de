/**
 * The rates of a training step, of the split against PyTorch's own loss, of wake-ups and of sampling, as JSON on stdout.
 *
 *     node packages/colbench/bench/run.js [--threads N] [--repeats N] [--only step,sampling] [--dtype bfloat16]
 *     node packages/colbench/bench/run.js --long FOLDER     trains the test model and compares SWEET-RL with multi-turn DPO
 *
 * The model has 4 layers of 128 and 8192 entries, as the test model at its largest. Figures are medians; steps of both kinds alternate.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { writeSafetensors } from 'sweet-rl/safetensors';
import { randomWeights } from '../dist/tiny/folder.js';
import { packSequences } from '../dist/trainer/batches.js';
import { candidateSeed } from '../dist/trainer/model.js';
import { findPython } from '../dist/trainer/process.js';
import { Session } from '../dist/trainer/session.js';
import { trainingStep } from '../dist/trainer/steps.js';

const { values } = parseArgs({
  options: {
    ...{ threads: { type: 'string' }, repeats: { type: 'string', default: '9' }, long: { type: 'string' } },
    ...{ only: { type: 'string', default: 'step,sampling' }, dtype: { type: 'string', default: 'bfloat16' } },
  },
});
const threads = Number(values.threads ?? availableParallelism());
const repeats = Number(values.repeats);
const { dtype } = values;
const CONFIG = {
  ...{ model_type: 'llama', hidden_size: 128, intermediate_size: 352, num_hidden_layers: 4, vocab_size: 8192 },
  ...{ num_attention_heads: 4, num_key_value_heads: 2, rope_theta: 10000, rms_norm_eps: 1e-5, hidden_act: 'silu' },
  ...{ max_position_embeddings: 8192, tie_word_embeddings: true, torch_dtype: 'float32' },
};
const [SEQUENCES, LENGTH, SCORED] = [32, 128, 62];

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const rounded = (x) => Number(x.toPrecision(4));

/** Products of the layers and of the attention scores, forward and twice that backward; all L^2 scores are counted. */
function gigaflops() {
  const { hidden_size: H, intermediate_size: M, num_hidden_layers: layers } = CONFIG;
  const kv = (H / CONFIG.num_attention_heads) * CONFIG.num_key_value_heads;
  const weights = layers * (2 * H * H + 2 * H * kv + 3 * H * M);
  return (6 * SEQUENCES * LENGTH * weights + 12 * layers * SEQUENCES * LENGTH ** 2 * H) / 1e9;
}

function items() {
  let state = 1;
  const next = () => (state = (state * 48271) % 2147483647);
  const sequences = Array.from({ length: SEQUENCES }, (_, k) => ({
    id: `s${k}`,
    // One more than the model reads: the last token is a label alone.
    ids: Int32Array.from({ length: LENGTH + 1 }, () => next() % CONFIG.vocab_size),
    turns: [{ start: LENGTH + 1 - SCORED, end: LENGTH + 1 }],
  }));
  return Array.from({ length: SEQUENCES / 2 }, (_, k) => ({
    chosen: sequences[2 * k],
    rejected: sequences[2 * k + 1],
  }));
}

/** A step in alternation with PyTorch's; the split's parts; the round trip of an empty request after a pause. */
async function steps(session, folder) {
  const batch = items();
  const all = batch.flatMap(({ chosen, rejected }) => [chosen, rejected]);
  const references = new Map(all.map(({ id }) => [id, new Float32Array(SCORED).fill(-9)]));
  const loss = { method: 'critic', beta: 0.1, nllCoef: 0, normalization: 'turn-mean' };
  const options = { loss, microTokens: 2 ** 20, learningRate: 1e-5, clip: 1, rank: { rank: 0, world: 1 } };
  await session.reserve(all.length * SCORED);

  const script = fileURLToPath(new URL('./pytorch_step.py', import.meta.url));
  const child = spawn(await findPython(), [script], {
    env: { MALLOC_MMAP_THRESHOLD_: String(2 ** 25), MALLOC_TRIM_THRESHOLD_: String(2 ** 40), ...process.env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (line) => {
    child.stdin.write(`${line}\n`);
    return JSON.parse((await lines.next()).value);
  };
  const { ids, sequenceOffsets, rows, labels, turnOffsets } = packSequences(all);
  const refLogps = new Array(labels.length).fill(-9);
  const arrays = { labels: [...labels], turnOffsets: [...turnOffsets], refLogps };
  await ask(JSON.stringify({ model: folder, dtype, threads, ids, sequenceOffsets, rows, ...arrays }));

  const split = { total: [], forward: [], head: [], backward: [], optimizer: [] };
  const [whole, wakeUps, losses] = [[], [], []];
  for (let i = -2; i < repeats; i++) {
    const start = performance.now();
    const { seconds, sums } = await trainingStep(session, batch, references, options);
    const total = (performance.now() - start) / 1000;
    const [torch, torchLoss] = await ask('step');
    // The first ones allocate.
    if (i < 0) continue;
    losses.push([sums.loss, torchLoss]);
    split.total.push(total);
    for (const [name, value] of Object.entries(seconds)) split[name].push(value);
    whole.push(torch);
    await setTimeout(100);
    const asked = performance.now();
    await session.trainer.request('backward', {}).catch(() => {});
    wakeUps.push(performance.now() - asked);
  }
  child.stdin.end();
  const milliseconds = Object.fromEntries(
    Object.entries(split).map(([name, list]) => [name, rounded(1000 * median(list))]),
  );
  const trunk = (milliseconds.forward + milliseconds.backward + milliseconds.optimizer) / 1000;
  return {
    ...{ tokens: ids.length, scored: labels.length, splitMs: milliseconds, pytorchMs: rounded(1000 * median(whole)) },
    ratio: rounded(median(split.total) / median(whole)),
    trunkGflops: rounded(gigaflops() / trunk),
    tokensPerSecond: rounded(ids.length / trunk),
    wakeUpMs: rounded(median(wakeUps)),
    lossDifference: rounded(Math.max(...losses.map(([ours, theirs]) => Math.abs(ours - theirs)))),
  };
}

/** Tokens a second with a KV cache; one prompt of 256 tokens a row, or one for all. */
async function sampling(session) {
  const maxTokens = 64;
  const rate = async (states, n) => {
    const prompts = Array.from({ length: states }, (_, s) =>
      Array.from({ length: 256 }, (_, i) => (i * 31 + s) % 8192),
    );
    const seeds = prompts.flatMap((_, s) => Array.from({ length: n }, (_, c) => candidateSeed(1, s, c)));
    const rates = [];
    for (let i = -1; i < Math.min(repeats, 5); i++) {
      const start = performance.now();
      const request = { prompts, n, temperature: 1, topP: 1, maxTokens, stop: [], seeds };
      for await (const _ of session.trainer.sample(request));
      if (i >= 0) rates.push((1000 * states * n * maxTokens) / (performance.now() - start));
    }
    return Math.round(median(rates));
  };
  return { rows16: await rate(1, 16), rows64: await rate(4, 16), rows256: await rate(16, 16) };
}

/** `tiny --train`, 300 training tasks (the 60 of the example five times), SWEET-RL and multi-turn DPO. */
function longRun(folder) {
  const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
  const colbench = (...args) => {
    const { status } = spawnSync(process.execPath, [main, ...args], { stdio: ['ignore', 'inherit', 'inherit'] });
    if (status !== 0) process.exit(status ?? 1);
  };
  colbench('tiny', folder, '--train', '--example', '--threads', String(threads));
  const tasks = readFileSync(join(folder, 'train.jsonl'), 'utf8');
  writeFileSync(join(folder, 'train.jsonl'), tasks.repeat(5));
  const run = JSON.parse(readFileSync(join(folder, 'RUN.json'), 'utf8'));
  for (const name of ['train-dpo', 'train-critic', 'train-policy']) run[name] = { 'learning-rate': 1e-4 };
  run.candidates = { n: 16, fraction: 0.1 };
  run['test-converse'] = { samples: 10 };
  writeFileSync(join(folder, 'RUN.json'), JSON.stringify(run, null, 2));
  colbench('run', join(folder, 'RUN.json'), '--json');
}

if (values.long !== undefined) longRun(values.long);
else {
  const folder = mkdtempSync(join(tmpdir(), 'colbench-bench-'));
  const parts = values.only.split(',');
  let session;
  try {
    writeFileSync(join(folder, 'config.json'), JSON.stringify(CONFIG));
    writeSafetensors(join(folder, 'model.safetensors'), { tensors: randomWeights(CONFIG, 1) });
    const options = {
      model: folder,
      device: 'cpu',
      dtype,
      threads,
      seed: 1,
      checkpointing: false,
      progress: process.stderr,
    };
    const flags = /^flags.*$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[0] ?? '';
    const result = {
      ...{ cpu: cpus()[0].model, cpus: availableParallelism(), avx512Bf16: /avx512_bf16/.test(flags) },
      ...{ amx: /amx_bf16/.test(flags), threads, dtype, load: loadavg().map(rounded), node: process.version },
    };
    if (parts.includes('step')) {
      session = await Session.open(options);
      result.torch = session.model.torch;
      result.step = await steps(session, folder);
      await session.close();
    }
    if (parts.includes('sampling')) {
      session = await Session.open({ ...options, frozen: true });
      result.sampling = await sampling(session);
    }
    result.loadAfter = loadavg().map(rounded);
    console.log(JSON.stringify(result, null, 2));
  } finally {
    await session?.close();
    rmSync(folder, { recursive: true });
  }
}
