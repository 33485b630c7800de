// PyTorch trains a transformer; the critic's loss and its gradients at the last layer are computed here, in PyTorch's own
// memory:  node examples/pytorch/main.js [--device cuda]
// Needs Linux, and a python3 with torch; PYTHON names another one.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { criticUpdate, DeviceBuffer, linearLogps } from 'sweet-rl';
import { openShm, unlinkShm } from 'sweet-rl/shm';
import { batch, initialParams, inputIds, LENGTH, report, SEQUENCES, STEPS, VOCAB, WIDTH } from '../adapters/batch.js';

const { device } = parseArgs({ options: { device: { type: 'string', default: 'cpu' } } }).values;
if (device !== 'cpu' && device !== 'cuda') throw new Error(`Expected --device cpu or cuda but received ${device}`);

const python = spawn(process.env.PYTHON ?? 'python3', [fileURLToPath(new URL('trainer.py', import.meta.url))], {
  stdio: ['pipe', 'pipe', 'inherit'],
});
python.stdin.on('error', () => {}); // Python ended: receive() says so
const lines = createInterface({ input: python.stdout })[Symbol.asyncIterator]();
const send = (message) => python.stdin.write(`${JSON.stringify(message)}\n`);
const receive = async () => {
  const { value, done } = await lines.next();
  if (done) throw new Error('Python ended before the training did');
  return JSON.parse(value);
};

const plain = (arrays) => Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, [...array]]));
const { labels, mask, turnOffsets, trajectoryOffsets, chosen, rejected, beta } = batch;
send({
  device,
  name: `sweet-rl-${process.pid}`,
  sequences: SEQUENCES,
  length: LENGTH,
  width: WIDTH,
  vocab: VOCAB,
  rate: 0.3,
  beta,
  params: Object.fromEntries(
    Object.entries(initialParams).map(([name, { shape, data }]) => [name, [shape, [...data]]]),
  ),
  ...plain({ inputIds, labels, mask, turnOffsets, trajectoryOffsets, chosen, rejected }),
});

/** A tensor of Python's: the same memory. */
function open({ shm, ...memory }) {
  if (device === 'cuda')
    return DeviceBuffer.fromIpc({ ...memory, handle: Uint8Array.from(memory.handle), dtype: 'float32' });
  const mapping = openShm(shm);
  unlinkShm(shm); // both have it; nobody else needs the name
  return mapping.float32(0, mapping.byteLength / 4);
}
const tensors = Object.entries(await receive()).map(([name, place]) => [name, open(place)]);
const { hidden, weight, gradHidden, gradWeight } = Object.fromEntries(tensors);

const here = (array) => (device === 'cuda' && ArrayBuffer.isView(array) ? DeviceBuffer.from(array) : array);
const placed = Object.fromEntries(Object.entries(batch).map(([name, value]) => [name, here(value)]));

// A line tells that the hidden states are complete; memory alone promises no order.
await receive();
const { logps: refLogps } = linearLogps({ hidden, weight, labels: placed.labels, mask: placed.mask }); // before training
for (let step = 1; step <= STEPS; step++) {
  const result = criticUpdate({ ...placed, refLogps, hidden, weight, out: { gradHidden, gradWeight } });
  report(step, result);
  if (step === 1 || step === STEPS) {
    send('check');
    const { loss, gradients } = await receive();
    const [ofHidden, ofWeight] = gradients.map((difference) => difference.toExponential(1));
    console.log(
      `         autograd: loss ${loss.toFixed(4)}, gradients differ by ${ofHidden} (hidden) and ${ofWeight} (weight)`,
    );
  }
  send('backward');
  await receive();
}
send('end');
