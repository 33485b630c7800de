// Times several implementations in turns, round by round, so that a drift of the machine's speed affects all alike.
import { setTimeout } from 'node:timers/promises';
import { measure } from 'mitata';

const PAUSE_MS = 20;
const LONG_MS = 5;
const SLOW_MS = 3000;

/**
 * @param {Record<string, () => unknown>} implementations calls by name; one with `timesItself` returns its milliseconds
 * @returns {Promise<Record<string, number[]>>} milliseconds of each round
 */
export async function timeRounds(implementations, rounds) {
  const times = {};
  // The first round warms up. Its time is kept for slow implementations, which are called once only.
  for (const [name, call] of Object.entries(implementations)) times[name] = [await timeOnce(call)];
  const repeated = Object.entries(implementations).filter(([name]) => times[name][0] < SLOW_MS);
  for (const [name] of repeated) times[name] = [];
  for (let round = 0; round < rounds; round++) {
    for (const [name, call] of repeated) times[name].push(await timeOnce(call));
  }
  return times;
}

/**
 * mitata repeats short calls. Of longer ones the median of three calls in a row counts. The pause separates the call from
 * what the previous implementation left running, such as the release of memory.
 */
async function timeOnce(call) {
  await setTimeout(PAUSE_MS);
  const first = await timeOf(call);
  if (first > LONG_MS * 100) return first;
  if (first > LONG_MS || call.timesItself) return median([first, await timeOf(call), await timeOf(call)]);
  const stats = await measure(call, { min_cpu_time: 50e6, warmup_samples: 2 });
  return stats.p50 / 1e6;
}

async function timeOf(call) {
  if (call.timesItself) return await call();
  const start = performance.now();
  await call();
  return performance.now() - start;
}

const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];

/** The median, the relative range of the rounds, the rate of work and the share of the roofline, round by round. */
export function summarize(times, work, roofline) {
  const ms = median(times);
  const spread = (Math.max(...times) - Math.min(...times)) / ms;
  const row = { ms, spread, ...(work && { rate: work.amount / ms / 1e6, unit: work.unit }) };
  return roofline === undefined
    ? row
    : { ...row, share: median(times.map((time, round) => (roofline[round] ?? roofline[0]) / time)) };
}

/**
 * The ratio of the times of an implementation to those of the base, the sum of one or more implementations, as the median over
 * the rounds.
 *
 * @param {Record<string, number[]>} times of `timeRounds`
 * @param {{ base: string[], goals: Record<string, number> }} costs a goal is the largest ratio that is aimed at
 */
export function relativeCost(name, times, { base, goals }) {
  if (base.includes(name)) return { base: true };
  const baseMs = (round) => base.reduce((sum, of) => sum + (times[of][round] ?? times[of][0]), 0);
  return { ratio: median(times[name].map((ms, round) => ms / baseMs(round))), goal: goals[name] };
}

export function format({ ms, spread, rate, unit, share, ratio, goal }) {
  const time = ms < 0.1 ? `${(ms * 1e3).toFixed(2)} us` : `${ms.toFixed(2)} ms`;
  const columns = [time.padStart(11), `+-${(spread * 50).toFixed(0)} %`.padStart(7)];
  columns.push((unit ? `${rate.toFixed(1)} ${unit}` : '').padStart(15));
  if (share !== undefined) columns.push(`${share.toFixed(2)} of the roofline`);
  if (ratio !== undefined)
    columns.push(`ratio ${ratio.toFixed(2)}${goal === undefined ? '' : `, goal ${goal.toFixed(2)}`}`);
  return columns.join(' ');
}
