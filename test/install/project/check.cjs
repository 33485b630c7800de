// A criticUpdate against its reference case in float64 (case.safetensors), on every backend that there is.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const CLASSES = { F64: Float64Array, F32: Float32Array, I32: Int32Array };

function readCase() {
  const file = readFileSync(join(__dirname, 'case.safetensors'));
  const start = 8 + Number(file.readBigUInt64LE(0));
  const { __metadata__, ...entries } = JSON.parse(file.toString('utf8', 8, start));
  const tensors = {};
  for (const [name, { dtype, data_offsets }] of Object.entries(entries)) {
    const [begin, end] = data_offsets.map((offset) => start + offset);
    tensors[name] = new CLASSES[dtype](new Uint8Array(file.subarray(begin, end)).buffer);
  }
  return tensors;
}

function compare(what, actual, expected, tolerance) {
  if (actual.length !== expected.length) throw new Error(`${what} has ${actual.length} elements`);
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i] - expected[i]);
    if (!(error <= tolerance * (1 + Math.abs(expected[i])))) {
      throw new Error(`${what}[${i}] is ${actual[i]}, not ${expected[i]}`);
    }
  }
}

/** Throws where the package is not what it should be; the error names what. */
module.exports = function check(sweetRl) {
  const tensors = readCase();
  const { chosen, rejected, labels, logits } = tensors;
  const backends = sweetRl.backends().filter(({ available, name }) => available && name !== 'cuda');
  for (const { name } of backends) {
    sweetRl.useBackend(name);
    const result = sweetRl.criticUpdate({
      logits,
      refLogits: tensors.ref_logits,
      labels,
      turnOffsets: tensors.turn_offsets,
      trajectoryOffsets: tensors.trajectory_offsets,
      chosen,
      rejected,
    });
    compare(`loss (${name})`, [result.loss], tensors['expected.loss'], 2e-6);
    compare(`margins (${name})`, result.margins, tensors['expected.margins'], 2e-6);
    compare(`turnAdvantages (${name})`, result.turnAdvantages, tensors['expected.advantages'], 2e-6);
    compare(`gradLogits (${name})`, result.gradLogits, tensors['expected.grad_logits'], 1e-6);
  }
  let caught;
  try {
    sweetRl.setThreads(0);
  } catch (error) {
    caught = error;
  }
  if (caught?.code !== 'ERR_ARG_VALUE') throw new Error('setThreads(0) was not refused');
  return backends.map(({ name }) => name).join(' ');
};
