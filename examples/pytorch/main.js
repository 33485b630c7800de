// PyTorch trains a transformer; this process computes the critic's loss and its gradients at the last layer, in
// PyTorch's memory:  node examples/pytorch/main.js [--device cuda] Needs Linux and a python3 with torch; the variable
// PYTHON selects another one.
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
python.stdin.on('error', () => {}); // Python has exited; receive() throws
const lines = createInterface({ input: python.stdout })[Symbol.asyncIterator]();
const send = (message) => python.stdin.write(`${JSON.stringify(message)}\n`);
const receive = async () => {
  const { value, done } = await lines.next();
  if (done) throw new Error('Python exited before training was complete');
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

/** The memory of a tensor in Python. */
function open({ shm, ...memory }) {
  if (device === 'cuda')
    return DeviceBuffer.fromIpc({ ...memory, handle: Uint8Array.from(memory.handle), dtype: 'float32' });
  const mapping = openShm(shm);
  unlinkShm(shm); // both processes have mapped it, so the name is no longer needed
  return mapping.float32(0, mapping.byteLength / 4);
}
const tensors = Object.entries(await receive()).map(([name, memory]) => [name, open(memory)]);
const { hidden, weight, gradHidden, gradWeight } = Object.fromEntries(tensors);

const onDevice = (array) => (device === 'cuda' && ArrayBuffer.isView(array) ? DeviceBuffer.from(array) : array);
const batchOnDevice = Object.fromEntries(Object.entries(batch).map(([name, value]) => [name, onDevice(value)]));

// A line says that the hidden states are complete; memory alone does not order writes between processes.
await receive();
// The reference model is the model before training.
const { logps: refLogps } = linearLogps({
  ...{ hidden, weight, hiddenSize: WIDTH },
  ...{ labels: batchOnDevice.labels, mask: batchOnDevice.mask },
});
for (let step = 1; step <= STEPS; step++) {
  const result = criticUpdate({
    ...{ ...batchOnDevice, refLogps, hidden, weight, hiddenSize: WIDTH },
    out: { gradHidden, gradWeight },
  });
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
