// Two worker threads at once beside the main thread, and one that is ended in the middle of its work.
import { Worker } from 'node:worker_threads';

const start = (file) => new Worker(new URL(file, import.meta.url));
const ending = (worker) =>
  new Promise((resolve, reject) => {
    worker.on('error', reject);
    worker.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`a worker ended with ${code}`))));
  });
await Promise.all([ending(start('./esm.mjs')), ending(start('./esm.mjs')), import('./esm.mjs')]);
const doomed = start('./esm.mjs');
doomed.on('error', () => {});
setTimeout(() => doomed.terminate(), 5);
await new Promise((resolve) => doomed.on('exit', resolve));
