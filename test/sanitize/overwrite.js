// Labels, masks, offsets and pairs in shared memory that a worker overwrites at full speed while they are used:
//
//   node test/sanitize/overwrite.js [--seconds=10]
//
// Every call must give a result or an error of its own; under AddressSanitizer, without touching what is not there. A call
// that is refused must not have written.
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { operations, optionsOf, SIZES } from './calls.js';

const WILD = [2 ** 31 - 1, -1, -(2 ** 31), 0, 1, 7, 33, -100];

if (isMainThread) main();
else overwrite(workerData);

/** Overwrites an element, most of the time with what was there. */
function overwrite({ arrays, sound, stop }) {
  for (let i = 0; Atomics.load(stop, 0) === 0; i++) {
    for (const [k, array] of arrays.entries()) {
      const at = (i * 17) % array.length;
      array[at] = array instanceof BigInt64Array ? BigInt(WILD[i % WILD.length]) * 2n ** 31n : WILD[i % WILD.length];
      array[at] = sound[k][at];
    }
  }
}

function shared(array) {
  const view = new array.constructor(new SharedArrayBuffer(array.byteLength));
  view.set(array);
  return view;
}

/** All arrays that steer a call, once each. */
function share(options) {
  const NAMES = ['labels', 'mask', 'turnOffsets', 'trajectoryOffsets', 'chosen', 'rejected', 'pairWeights', 'stats'];
  const copies = new Map();
  const arrays = [];
  const all = Object.entries(options).map(([name, given]) => {
    const own = { ...given };
    for (const key of NAMES.filter((each) => each in own)) {
      if (!copies.has(own[key])) {
        const wide = key === 'labels' ? shared(BigInt64Array.from(own[key], BigInt)) : undefined;
        copies.set(own[key], [shared(own[key]), wide]);
        arrays.push(...copies.get(own[key]).filter((each) => each !== undefined));
      }
      const [narrow, wide] = copies.get(own[key]);
      own[key] = wide !== undefined && name.includes('Backward') ? wide : narrow;
    }
    return [name, own];
  });
  return { all, arrays };
}

function main() {
  const seconds = Number(process.argv.find((argument) => argument.startsWith('--seconds='))?.slice(10) ?? 10);
  for (const size of Object.values(SIZES)) {
    const { all, arrays } = share(optionsOf(size));
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const sound = arrays.map((array) => array.slice());
    const worker = new Worker(new URL(import.meta.url), { workerData: { arrays, sound, stop } });
    const codes = {};
    let results = 0;
    const until = performance.now() + (seconds * 1000) / Object.keys(SIZES).length;
    while (performance.now() < until) {
      for (const [name, options] of all) {
        try {
          operations[name](options);
          results++;
        } catch (error) {
          // A length, where another array's length is checked against the last offset.
          if (!/^ERR_(LABEL|OFFSETS|PAIR|PAIR_WEIGHT|EMPTY_TURN|PARTIALS|ARG_LENGTH)$/.test(error.code)) throw error;
          codes[error.code] = (codes[error.code] ?? 0) + 1;
        }
      }
    }
    Atomics.store(stop, 0, 1);
    worker.unref();
    console.log(`${size.N} x ${size.V}: ${results} results, refused: ${JSON.stringify(codes)}`);
  }
}
