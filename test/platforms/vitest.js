// What the tests import of vitest, for runtimes that vitest does not start in: vitest's own `expect`, and tests that run one
// after the other. `finish` runs what the files have described and prints it.
import { format } from 'node:util';
import {
  ASYMMETRIC_MATCHERS_OBJECT,
  GLOBAL_EXPECT,
  getState,
  JestAsymmetricMatchers,
  JestChaiExpect,
  JestExtend,
  setState,
} from '@vitest/expect';
import * as chai from 'chai';

export const expect = (value, message) => {
  setState({ assertionCalls: getState(expect).assertionCalls + 1 }, expect);
  return chai.expect(value, message);
};
setState({ assertionCalls: 0, isExpectingAssertions: false, expectedAssertionsNumber: null }, expect);
globalThis[GLOBAL_EXPECT] = expect;
for (const plugin of [JestExtend, JestChaiExpect, JestAsymmetricMatchers]) chai.use(plugin);
Object.assign(expect, chai.expect, globalThis[ASYMMETRIC_MATCHERS_OBJECT]);

const newSuite = (name) => ({ name, entries: [], before: [], after: [] });
const root = newSuite('');
let current = root;

export function describe(name, define) {
  const suite = newSuite(String(name));
  const outer = current;
  outer.entries.push(suite);
  current = suite;
  const result = define();
  current = outer;
  if (result instanceof Promise) throw new Error(`"${name}" is described later, which this runner cannot do`);
}

export function it(name, test) {
  if (typeof test !== 'function') throw new Error(`"${name}" is no function and its time limit behind it`);
  current.entries.push({ name: String(name), test });
}

export const test = it;
export const beforeAll = (hook) => current.before.push(hook);
export const afterAll = (hook) => current.after.push(hook);

for (const declare of [describe, it]) {
  const nothing = () => {};
  declare.runIf = (condition) => (condition ? declare : nothing);
  declare.skipIf = (condition) => (condition ? nothing : declare);
  declare.each = (rows) => (name, body) => {
    for (const row of rows) {
      const values = Array.isArray(row) ? row : [row];
      declare(titleOf(name, values), () => body(...values));
    }
  };
}

/** %s and the like take the values in turn; $key is a field of the first. */
function titleOf(name, values) {
  const filled = name.replaceAll(/\$(\w+)/g, (text, key) => (key in Object(values[0]) ? String(values[0][key]) : text));
  const places = filled.match(/%[sdifjo]/g)?.length ?? 0;
  return format(filled, ...values.slice(0, places));
}

/** Runs what was described and has a name that `only` matches; the numbers of tests that passed and failed. */
export async function finish(only, report) {
  const counts = { passed: 0, failed: 0 };
  await runSuite(root, '', only, report, counts);
  return counts;
}

async function runSuite(suite, path, only, report, counts) {
  for (const hook of suite.before) await hook();
  for (const entry of suite.entries) {
    const name = path === '' ? entry.name : `${path} > ${entry.name}`;
    if (entry.test === undefined) {
      await runSuite(entry, name, only, report, counts);
      continue;
    }
    if (!only.test(name)) continue;
    try {
      await entry.test();
      counts.passed++;
    } catch (error) {
      counts.failed++;
      report(`FAILED ${name}\n${error?.stack ?? error}`);
    }
  }
  for (const hook of suite.after) await hook();
}
