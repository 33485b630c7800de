/**
 * The fuzzer of the public interface. As a test, the same short list of cases each time; npm run fuzz (run.js) sets a seed and
 * a time, or a number of cases, for each property.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Property, property } from './draw.ts';
import { overlaps } from './overlaps.ts';
import { packing } from './packing.ts';
import { shapes } from './shapes.ts';
import { signals } from './signals.ts';

const PROPERTIES: Property[] = [...shapes, ...overlaps, ...packing, ...signals];

const { SWEET_RL_SEED, SWEET_RL_FUZZ_SECONDS, SWEET_RL_FUZZ_RUNS } = process.env;
const seed = Number(SWEET_RL_SEED ?? 1);
const seconds = SWEET_RL_FUZZ_SECONDS === undefined ? undefined : Number(SWEET_RL_FUZZ_SECONDS) / PROPERTIES.length;

function settings({ cases }: Property): fc.Parameters<[fc.GeneratorValue]> {
  const common = { seed, unbiased: true };
  if (SWEET_RL_FUZZ_RUNS !== undefined) return { ...common, numRuns: Number(SWEET_RL_FUZZ_RUNS) };
  if (seconds === undefined) return { ...common, numRuns: cases };
  return { ...common, numRuns: Infinity, interruptAfterTimeLimit: 1000 * seconds, markInterruptAsFailure: false };
}

it.each(PROPERTIES)('$name', { timeout: SWEET_RL_FUZZ_RUNS ? 0 : 60_000 + 1000 * (seconds ?? 0) }, async (each) => {
  const { failed, numRuns, errorInstance } = await fc.check(property(each), settings(each));
  if (seconds !== undefined || SWEET_RL_FUZZ_RUNS !== undefined) console.log(`${each.name}: ${numRuns} cases`);
  if (!failed) return;
  const which = `case ${numRuns} of the seed ${seed}, made smaller`;
  expect.fail(`${which}: npm run fuzz -- --target api --seed ${seed}\n${(errorInstance as Error | null)?.message}`);
});
