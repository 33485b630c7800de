/** The shared reference cases that are JSON: vectors/<folder>/<operation>.json, computed elsewhere in float64. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { expectClose } from './compare.ts';
import { thrownBy } from './errors.ts';

const FOLDER = join(import.meta.dirname, '..', 'vectors');
const CLASSES = { f64: Float64Array, f32: Float32Array, i32: Int32Array, u8: Uint8Array };
type Kind = keyof typeof CLASSES;
type Json = number | string | boolean | { [kind in Kind]?: (number | string)[] };
type Value = number | string | boolean | InstanceType<(typeof CLASSES)[Kind]>;

interface Case {
  name: string;
  args: Record<string, Json>;
  /** By the names of the results; '' is a bare one. */
  expected?: Record<string, Json>;
  throws?: { name: string; code: string; mentions: string[] };
  tolerance?: number;
}

/** The operations of a folder and their cases. */
export function jsonVectors(folder: string): { op: string; cases: Case[] }[] {
  const files = readdirSync(join(FOLDER, folder)).filter((name) => name.endsWith('.json'));
  return files.sort().map((file) => JSON.parse(readFileSync(join(FOLDER, folder, file), 'utf8')));
}

/** NaN and the infinities are strings. */
function revived(json: Json): Value {
  if (typeof json !== 'object') return json === 'NaN' || /^-?Infinity$/.test(String(json)) ? Number(json) : json;
  const [[kind, numbers]] = Object.entries(json) as [[Kind, (number | string)[]]];
  return CLASSES[kind].from(numbers.map(Number));
}

export const argumentsOf = ({ args }: Case): Record<string, Value> =>
  Object.fromEntries(Object.entries(args).map(([name, json]) => [name, revived(json)]));

/** Calls the function on a case, and compares what it returns or throws; the inputs must stay as they are. */
export function expectCase(call: (options: never) => unknown, given: Case): void {
  const args = argumentsOf(given);
  if (given.throws) {
    const error = thrownBy(() => call(args as never));
    expect([error.name, error.code]).toEqual([given.throws.name, given.throws.code]);
    for (const word of given.throws.mentions) expect(error.message).toContain(word);
  } else {
    const result = call(args as never) as Record<string, Value>;
    for (const [name, json] of Object.entries(given.expected!)) {
      expectValue(name, name === '' ? (result as unknown as Value) : result[name]!, revived(json), given.tolerance);
    }
  }
  expect(args).toEqual(argumentsOf(given));
}

/** Within 1e-10 (float64) or 2e-6 (float32), relative, also to the largest number; integers exactly. */
function expectValue(name: string, ours: Value, expected: Value, given: number | undefined): void {
  if (typeof expected !== 'object') {
    expectClose(name, [ours as number], [expected as number], (x) => (given ?? 1e-10) * Math.abs(x) + 1e-13);
    return;
  }
  expect(ours.constructor, name).toBe(expected.constructor);
  const relative = given ?? (expected instanceof Float64Array ? 1e-10 : expected instanceof Float32Array ? 2e-6 : 0);
  const largest = Array.from(expected).reduce(
    (most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most),
    0,
  );
  const absolute = expected instanceof Float64Array && !given ? 1e-13 * Math.max(1, largest) : relative * largest;
  expectClose(name, ours as Float64Array, expected, (x) => relative * Math.abs(x) + absolute);
}
