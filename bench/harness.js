// Times contenders in turn, round after round, so that a machine whose speed drifts is unfair to nobody.
import { setTimeout } from 'node:timers/promises';
import { measure } from 'mitata';

const SETTLE_MS = 20;
const LONG_MS = 5;
const ENDLESS_MS = 3000;

/**
 * @param {Record<string, () => unknown>} contenders what is called; one that `timesItself` returns its milliseconds
 * @returns {Promise<Record<string, number[]>>} milliseconds of each round
 */
export async function compete(contenders, rounds) {
  const times = {};
  // The first round warms up; who takes seconds is not asked again.
  for (const [name, run] of Object.entries(contenders)) times[name] = [await once(run)];
  const quick = Object.entries(contenders).filter(([name]) => times[name][0] < ENDLESS_MS);
  for (const [name] of quick) times[name] = [];
  for (let round = 0; round < rounds; round++) {
    for (const [name, run] of quick) times[name].push(await once(run));
  }
  return times;
}

/**
 * A short call is mitata's to repeat. Of a longer one the median of three in a row counts, after a pause: what the one
 * before left behind, memory to be given back above all, is nobody else's time.
 */
async function once(run) {
  await setTimeout(SETTLE_MS);
  const first = await timeOf(run);
  if (first > LONG_MS * 100) return first;
  if (first > LONG_MS || run.timesItself) return median([first, await timeOf(run), await timeOf(run)]);
  const stats = await measure(run, { min_cpu_time: 50e6, warmup_samples: 2 });
  return stats.p50 / 1e6;
}

async function timeOf(run) {
  if (run.timesItself) return await run();
  const start = performance.now();
  await run();
  return performance.now() - start;
}

export const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];

/** The median, how far the rounds spread around it, and what the units of work and the limit make of it. */
export function summarize(times, work, limit) {
  const ms = median(times);
  const spread = (Math.max(...times) - Math.min(...times)) / ms;
  const row = { ms, spread, rate: work.amount / ms / 1e6, unit: work.unit };
  return limit === undefined
    ? row
    : { ...row, share: median(times.map((time, round) => (limit[round] ?? limit[0]) / time)) };
}

export function format({ ms, spread, rate, unit, share }) {
  const time = ms < 0.1 ? `${(ms * 1e3).toFixed(2)} us` : `${ms.toFixed(2)} ms`;
  const columns = [time.padStart(11), `+-${(spread * 50).toFixed(0)} %`.padStart(7)];
  columns.push((unit ? `${rate.toFixed(1)} ${unit}` : '').padStart(15));
  columns.push(share === undefined ? '' : `${share.toFixed(2)} of the limit`);
  return columns.join(' ');
}
