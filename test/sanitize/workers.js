// Workers in the middle of calls:  node test/sanitize/workers.js [--count=150]
//
// So many workers that call without end are ended, a third by terminate(), a third by process.exit() of their own, a third
// by coming to their end. Then eight call at once, while the number of threads changes, and must get the bits of one.
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { setThreads, threads } from 'sweet-rl';
import { callsOf, digestOf, SIZES } from './calls.js';

const WAYS = ['terminate', 'exit', 'end'];
const ROUNDS = 4;

if (isMainThread) await main();
else if (workerData.way === 'digest') await digest();
else await callUntilTheEnd(workerData);

async function main() {
  const count = Number(process.argv.find((argument) => argument.startsWith('--count='))?.slice(8) ?? 150);
  setThreads(3);
  const expected = await digestOf(SIZES.large);
  const ended = { terminate: 0, exit: 0, end: 0 };
  let next = 0;
  const endThem = async () => {
    while (next < count) {
      const i = next++;
      const way = WAYS[i % WAYS.length];
      await endOne(way, i);
      ended[way]++;
    }
  };
  await Promise.all(Array.from({ length: 6 }, endThem));
  await callAtOnce(expected);
  console.log(`${JSON.stringify(ended)}, then 8 workers with the same bits`);
}

async function endOne(way, i) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { way, milliseconds: (i * 7) % 23 } });
  const exit = once(worker, 'exit');
  await Promise.race([once(worker, 'message'), exit]);
  if (way === 'terminate') {
    await new Promise((done) => setTimeout(done, (i * 7) % 23));
    await worker.terminate();
  }
  const [code] = await exit;
  const wanted = { terminate: 1, exit: 5, end: 0 }[way];
  if (code !== wanted) throw new Error(`a worker to ${way} ended with ${code}, not ${wanted}`);
}

async function callAtOnce(expected) {
  const before = threads();
  const workers = Array.from(
    { length: 8 },
    () => new Worker(new URL(import.meta.url), { workerData: { way: 'digest' } }),
  );
  let n = 0;
  const changing = setInterval(() => setThreads(1 + (n++ % 7)), 2);
  const digests = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]));
  clearInterval(changing);
  setThreads(before);
  const others = digests.flat().filter((each) => each !== expected).length;
  if (others > 0)
    throw new Error(`${others} of ${digests.flat().length} results of 8 workers at once differ from one's`);
}

async function digest() {
  const digests = [];
  for (let round = 0; round < ROUNDS; round++) digests.push(await digestOf(SIZES.large));
  parentPort.postMessage(digests);
}

/** Also the last call is under way when the worker is ended from outside, and a twin's when it ends by itself. */
async function callUntilTheEnd({ way, milliseconds }) {
  const calls = callsOf(SIZES.large);
  parentPort.postMessage('calling');
  const until = performance.now() + (way === 'terminate' ? 60_000 : milliseconds);
  for (let i = 0; performance.now() < until; i++) {
    const { name, run } = calls[i % calls.length];
    const result = run();
    if (name.endsWith('Async')) result.catch(() => {});
  }
  if (way === 'exit') process.exit(5);
}
