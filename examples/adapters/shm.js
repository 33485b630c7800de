// A Python trainer over shared memory: Python writes logits, and this process overwrites them with the critic's
// gradient. Needs Linux and a python3 with numpy: node examples/adapters/shm.js
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { criticUpdate, tokenLogps } from 'sweet-rl';
import { openShm, unlinkShm } from 'sweet-rl/shm';
import { batch, initialParams, inputIds, LENGTH, report, SEQUENCES, STEPS, VOCAB, WIDTH } from './batch.js';

const name = `sweet-rl-${process.pid}`;
const params = Object.entries(initialParams);
const sizes = params.map(([, { data }]) => data.length);
const rows = SEQUENCES * LENGTH;
const firstLogit = sizes.reduce((a, b) => a + b, 0);
const shm = openShm(name, { create: true, byteLength: 4 * (firstLogit + rows * VOCAB) });

let at = 0;
for (const [, { data }] of params) {
  shm.float32(4 * at, data.length).set(data);
  at += data.length;
}
const logits = shm.float32(4 * firstLogit, rows * VOCAB);

const python = spawn(process.env.PYTHON ?? 'python3', [fileURLToPath(new URL('transformer.py', import.meta.url))], {
  stdio: ['pipe', 'pipe', 'inherit'],
});
const job = { shm: name, sequences: SEQUENCES, length: LENGTH, width: WIDTH, vocab: VOCAB, rate: 0.3 };
const shapes = params.map(([key, { shape }]) => [key, shape]);
python.stdin.write(`${JSON.stringify({ ...job, params: shapes, inputIds: [...inputIds] })}\n`);

let refLogps;
let step = 0;
try {
  // A line says that the logits are complete; shared memory alone does not order writes between processes.
  for await (const line of createInterface({ input: python.stdout })) {
    if (line !== 'forward') throw new Error(`Expected "forward" from Python but received ${JSON.stringify(line)}`);
    const { labels, mask } = batch;
    refLogps ??= tokenLogps({ labels, mask, logits, vocabSize: VOCAB }).logps; // the reference model is the model before training
    if (step++ === STEPS) {
      python.stdin.end();
      break;
    }
    report(step, criticUpdate({ ...batch, refLogps, logits, vocabSize: VOCAB, out: { gradLogits: logits } }));
    python.stdin.write('backward\n');
  }
} finally {
  shm.close();
  unlinkShm(name);
}
if (step <= STEPS) throw new Error('Python exited before training was complete');
