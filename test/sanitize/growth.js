// A million small calls and a thousand large ones:  node --expose-gc test/sanitize/growth.js [--share=1]
//
// After a warm-up neither the process nor the memory outside of its heap may grow, but for what the engine and the
// allocator keep: 4 MB were measured. No block that malloc gives is smaller than 32 bytes, so that a leak of one a small call
// comes to 32 MB, and one of a large call's arrays to 100 MB and more; half of the least is the bound. With a share of the
// calls only larger leaks show.
import { callsOf, SIZES } from './calls.js';

const share = Number(process.argv.find((argument) => argument.startsWith('--share='))?.slice(8) ?? 1);
const MOST = 16 * 2 ** 20;
const WARM_UP = { small: 1e5, large: 1e2 };
const PASSES = { small: 1e6 * share, large: 1e3 * share };

/** Bytes of the process, and of the memory outside of the heap, once everything that can go is gone. */
async function measure() {
  let least = { rss: Number.POSITIVE_INFINITY, external: Number.POSITIVE_INFINITY };
  for (let i = 0; i < 5; i++) {
    globalThis.gc();
    await new Promise((done) => setTimeout(done, 20));
    const { rss, external } = process.memoryUsage();
    least = { rss: Math.min(rss, least.rss), external: Math.min(external, least.external) };
  }
  return least;
}

async function call(calls, count) {
  for (let i = 0; i < count; i++) await calls[i % calls.length].run();
}

let grown = false;
for (const [size, count] of Object.entries(PASSES)) {
  const calls = callsOf(SIZES[size]);
  await call(calls, WARM_UP[size]);
  const before = await measure();
  await call(calls, count);
  const after = await measure();
  const by = { rss: after.rss - before.rss, external: after.external - before.external };
  console.log(
    `${count} ${size} calls: RSS ${megabytes(before.rss)} MB, ${sign(by.rss)}; external ${sign(by.external)}`,
  );
  grown ||= by.rss > MOST || by.external > MOST;
}
if (grown) throw new Error(`Memory grew by more than ${megabytes(MOST)} MB`);

function megabytes(bytes) {
  return (bytes / 2 ** 20).toFixed(1);
}

function sign(bytes) {
  return `${bytes < 0 ? '' : '+'}${megabytes(bytes)} MB`;
}
