/**
 * The worker of execute.js. Programs run in a separate context without access to outer objects: calls and results are
 * strings, code generation from strings is disabled, and built-in objects are frozen, so that a program cannot affect
 * the next one. execute.js terminates the worker when a program does not end.
 */
import { createContext, runInContext, Script } from 'node:vm';
import { parentPort, workerData } from 'node:worker_threads';

const batchSize = 64;

const context = createContext(Object.create(null), { codeGeneration: { strings: false, wasm: false } });
runInContext(
  `'use strict';
const sum = (xs) => xs.reduce((a, b) => a + b, 0), last = (xs) => xs[xs.length - 1];
const max = (xs) => Math.max(...xs), min = (xs) => Math.min(...xs);
class Value {
  constructor(value) { this.value = value; }
  list(f) { return new Value(Array.isArray(this.value) ? f(this.value) : this.value); }
  number(f) {
    const one = (v) => (typeof v === 'number' ? f(v) : v);
    return new Value(Array.isArray(this.value) ? this.value.map(one) : one(this.value));
  }
  keep(f) { return this.list((xs) => xs.filter(f)); }
  each(f) { return this.number(f); }
  slice(from, to) { return this.list((xs) => xs.slice(from, to)); }
  fold(f) { return this.list((xs) => (xs.length ? f(xs) : undefined)); }
  round(step) { return this.number((v) => Math.round(v / step) * step); }
  clamp(low, high) { return this.number((v) => Math.min(Math.max(v, low), high)); }
  orElse(value) {
    const empty = this.value === undefined || (Array.isArray(this.value) && !this.value.length);
    return empty ? new Value(value) : this;
  }
  show(unit) { return this.number((v) => (unit === '$' ? unit + v : v + unit)); }
}
const { parse, stringify } = JSON;
const runProgram = (program, calls) => stringify(parse(calls).map((call) => {
  const { value } = program(new Value(call));
  return value === undefined ? 'undefined' : stringify(value);
}));
for (const name of Object.getOwnPropertyNames(globalThis)) {
  const builtin = globalThis[name];
  if (typeof builtin === 'function' && builtin.prototype) Object.freeze(builtin.prototype);
  if (builtin !== globalThis && Object(builtin) === builtin) Object.freeze(builtin);
}
Object.freeze(Value.prototype);
Object.freeze(globalThis.__proto__);`,
  context,
);

/** Compiled programs by source, as functions from string to string; null if the source is not an expression. */
const programs = new Map();

function compile(source) {
  try {
    new Script(`(xs) => (${source}\n)`);
    return new Script(`'use strict'; (calls) => runProgram((xs) => (${source}\n), calls)`).runInContext(context);
  } catch {
    return null;
  }
}

function run({ source, calls }) {
  if (!programs.has(source)) programs.set(source, compile(source));
  const program = programs.get(source);
  if (program) {
    try {
      const outputs = JSON.parse(program(JSON.stringify(calls)));
      if (Array.isArray(outputs) && outputs.length === calls.length) return outputs;
    } catch {
      // a program that throws returns nothing
    }
  }
  return calls.map(() => null);
}

parentPort.on('message', (jobs) => {
  let batch = [];
  jobs.forEach((job, i) => {
    Atomics.store(workerData, 0, i);
    batch.push(run(job));
    if (batch.length === batchSize || i === jobs.length - 1) {
      parentPort.postMessage(batch);
      batch = [];
    }
  });
});
