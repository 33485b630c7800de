/** Calls of every operation that has an async form. JavaScript, so that programs of their own can import it too. */

/** Numbers that look random, in any storage type: 16 bits of sign, exponents near 1 and mantissas of either type. */
function numbers(length, dtype, seed = 1) {
  const Class = dtype === 'float32' ? Float32Array : Uint16Array;
  // Large arrays are shared, so that an async call starts without a copy.
  const array =
    length > 2 ** 20 ? new Class(new SharedArrayBuffer(length * Class.BYTES_PER_ELEMENT)) : new Class(length);
  for (let i = 0, x = seed; i < length; i++) {
    x = (x * 7919 + 104_729) % 1_048_573;
    array[i] = dtype === 'float32' ? x / 174_763 - 3 : (x % 3 === 0 ? 0xbc00 : 0x3c00) + (x % 0x3ff);
  }
  return array;
}

const integers = (length, below, seed = 3) => Int32Array.from({ length }, (_, i) => (i * 7919 + seed) % below);

/** Turns, desirable by turns; a running mean waits for all scores. */
function itemsOf(rows) {
  const { turnOffsets } = batchOf(rows, 'policyUpdate');
  return {
    turnOffsets,
    desirable: Uint8Array.from({ length: turnOffsets.length - 1 }, (_, k) => k % 2),
    lossType: 'bco',
  };
}

/** Two turns in each of an even number of trajectories, and pairs of neighbours. */
function batchOf(rows, name) {
  const turns = Math.max(4, rows / 32);
  const turnOffsets = Int32Array.from({ length: turns + 1 }, (_, t) => (t * rows) / turns);
  const trajectoryOffsets = Int32Array.from({ length: turns / 2 + 1 }, (_, k) => 2 * k);
  const units = name === 'criticUpdate' ? turns / 2 : turns;
  const chosen = Int32Array.from({ length: units / 2 }, (_, p) => 2 * p);
  const pairs = { chosen, rejected: chosen.map((unit) => unit + 1) };
  return name === 'criticUpdate' ? { turnOffsets, trajectoryOffsets, ...pairs } : { turnOffsets, ...pairs };
}

function optionsOf(name, head, { rows, vocab, width, dtype = 'float32' }) {
  const labels = integers(rows, vocab);
  const mask = Uint8Array.from({ length: rows }, (_, i) => (i % 5 === 4 ? 0 : 1));
  const logits = () => ({ logits: numbers(rows * vocab, dtype), dtype });
  const hidden = () => ({
    hidden: numbers(rows * width, dtype),
    weight: numbers(vocab * width, dtype, 2),
    bias: numbers(vocab, dtype, 4),
    dtype,
  });
  const rowsOf = { labels, mask, ...(head === 'hidden' ? hidden() : logits()) };
  if (name.endsWith('Backward')) {
    const gradLogps = numbers(rows, 'float32', 5);
    return { ...rowsOf, lse: new Float32Array(rows).fill(9), gradLogps };
  }
  if (name === 'unpairedUpdate') return { ...rowsOf, refLogps: numbers(rows, 'float32', 6), ...itemsOf(rows) };
  if (name === 'policyGradientUpdate') return { ...rowsOf, advantages: numbers(rows, 'float32', 6), entropyCoef: 0.1 };
  if (name.endsWith('Update')) return { ...rowsOf, refLogps: numbers(rows, 'float32', 6), ...batchOf(rows, name) };
  return { ...rowsOf, entropy: true };
}

/** Whether a result may be in a buffer of the caller. The lengths of rewards by kind are not known before the call. */
export const isOut = ({ name: call }, name, value) =>
  ArrayBuffer.isView(value) && !(call === 'unpairedUpdate' && /^(chosen|rejected)Rewards$/.test(name));

const CALLS = [
  ['tokenLogps', 'logits'],
  ['tokenLogpsBackward', 'logits'],
  ['linearLogps', 'hidden'],
  ['linearLogpsBackward', 'hidden'],
  ['vocabParallelStats', 'logits'],
  ['vocabParallelStats', 'hidden'],
  ['criticUpdate', 'logits'],
  ['criticUpdate', 'hidden'],
  ['policyUpdate', 'logits'],
  ['policyUpdate', 'hidden'],
  ['unpairedUpdate', 'logits'],
  ['unpairedUpdate', 'hidden'],
  ['policyGradientUpdate', 'logits'],
  ['policyGradientUpdate', 'hidden'],
  ['linearLogpsBackward', 'hidden', { frozenWeight: true }],
  ['linearLogpsBackward', 'hidden', { frozenHidden: true }],
  ['policyUpdate', 'hidden', { frozenWeight: true }],
];

/** Calls that several threads share, but short. `options` makes new arrays each time. */
export function callCases(dtype) {
  const shape = { rows: 64, vocab: 2051, width: 24, dtype };
  return CALLS.map(([name, head, more = {}]) => ({
    name,
    title: [name, 'from', head, ...Object.keys(more)].join(' '),
    options: () => ({ ...optionsOf(name, head, shape), ...more }),
  }));
}

const LARGE = {
  logits: { rows: 512, vocab: 32_768 },
  // Two pairs of 256 rows and more: the update in one pass.
  hidden: { rows: 1024, vocab: 16_384, width: 256 },
};

function largeOptions(name) {
  const head = name.startsWith('token') ? 'logits' : 'hidden';
  const options = optionsOf(name, head, LARGE[head]);
  if (name.endsWith('Update')) {
    const offsets = Int32Array.of(0, 512, 1024);
    Object.assign(options, { turnOffsets: offsets, chosen: Int32Array.of(0), rejected: Int32Array.of(1) });
    if (name === 'criticUpdate') options.trajectoryOffsets = Int32Array.of(0, 1, 2);
  }
  return options;
}

const made = new Map();

/** A call that takes long enough to do something meanwhile; always the same arrays. */
export function largeCall(name) {
  if (!made.has(name)) made.set(name, largeOptions(name));
  return { name, title: name, options: () => made.get(name) };
}
