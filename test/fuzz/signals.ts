/**
 * Queues of calls with signals of any kind, which abort at any moment or break, beside callbacks that throw: every promise
 * settles, with the right results or with what the signal threw, and the work for a signal does not grow with its listeners.
 */
import { getEventListeners } from 'node:events';
import { tokenLogpsAsync } from 'sweet-rl';
import { expect } from 'vitest';
import { native, start } from '../../dist/addon/native.js';
import { encode } from '../../dist/addon/operations.js';
import type { Options } from '../helpers/arguments.ts';
import { SUBJECTS, type Subject } from '../helpers/calls.ts';
import { expectSameBits } from '../helpers/compare.ts';
import type { Draw, Property } from './draw.ts';

const ASYNC = SUBJECTS.filter(({ name }) => name.endsWith(', later'));
const METHODS = ['throwIfAborted', 'addEventListener', 'removeEventListener'] as const;

/** A signal, and what the calls with it may expect. */
interface Source {
  kind: string;
  signal: object;
  /** Its methods are those of an AbortSignal. */
  works: boolean;
  reason: unknown;
  aborted: boolean;
  abort: () => void;
  /** The listeners that calls have added and not removed, and those that they ever added. */
  listeners: () => number;
  added: () => number;
  /** How many calls were made to its methods. */
  uses: () => number;
  throwing: boolean;
}

/** An AbortController's; rarely with a listener that throws, which no call must notice. */
function real(draw: Draw, index: number): Source {
  const controller = new AbortController();
  const { signal } = controller;
  const own = draw.once(4) ? 1 : 0;
  if (own) {
    signal.addEventListener('abort', () => {
      throw new Error('of a listener');
    });
  }
  const reason = draw.of([`reason ${index}`, new Error('mine'), null, undefined]);
  const source: Source = {
    ...{ kind: 'real', signal, works: true, reason, aborted: false, throwing: own > 0 },
    abort: () => {
      source.aborted = true;
      controller.abort(reason);
      source.reason = signal.reason;
    },
    listeners: () => getEventListeners(signal, 'abort').length - own,
    added: () => 0,
    uses: () => 0,
  };
  return source;
}

type Behaviour =
  | 'works'
  | 'throws'
  | 'is none'
  | 'throws when read'
  | 'calls the listener'
  | 'calls it and throws'
  | 'calls it later';
const BROKEN: Behaviour[] = [
  'throws',
  'is none',
  'throws when read',
  'calls the listener',
  'calls it and throws',
  'calls it later',
];

/** A signal of another library; where it breaks, a method misbehaves from its n-th use or read on. */
function other(draw: Draw, index: number, breaks: boolean): Source {
  const listeners: (() => void)[] = [];
  const counts = { added: 0, uses: 0 };
  const reason = `reason ${index}`;
  const working = {
    throwIfAborted() {
      if (source.aborted) throw reason;
    },
    addEventListener(_: string, listener: () => void) {
      counts.added++;
      listeners.push(listener);
    },
    removeEventListener(_: string, listener: () => void) {
      const at = listeners.indexOf(listener);
      if (at >= 0) listeners.splice(at, 1);
    },
  };
  const signal = { aborted: false };
  const broken = breaks ? draw.of(METHODS) : undefined;
  const all: string[] = [];
  for (const name of METHODS) {
    const behaviour = name === broken || (breaks && draw.once(4)) ? draw.of(BROKEN) : 'works';
    const from = draw.integer(0, 4);
    if (behaviour !== 'works') all.push(`${name} ${behaviour} from ${from}`);
    let [reads, calls] = [0, 0];
    const method = (type: string, listener: () => void) => {
      counts.uses++;
      const isBroken = calls++ >= from;
      working[name](type, listener);
      if (!isBroken) return;
      if (behaviour.startsWith('calls it later')) setImmediate(() => listener?.());
      else if (behaviour.startsWith('calls')) listener?.();
      if (behaviour.endsWith('throws')) throw new Error('of a signal');
    };
    const get = () => {
      const isBroken = reads++ >= from;
      if (isBroken && behaviour === 'throws when read') throw new Error('of a signal');
      return isBroken && behaviour === 'is none' ? undefined : method;
    };
    Object.defineProperty(signal, name, { enumerable: true, get });
  }
  const source: Source = {
    ...{ kind: all.length > 0 ? all.join(', ') : 'other', signal, works: all.length === 0 },
    ...{ reason, aborted: false, throwing: false },
    abort: () => {
      source.aborted = signal.aborted = true;
      for (const listener of [...listeners]) listener();
    },
    listeners: () => listeners.length,
    added: () => counts.added,
    uses: () => counts.uses,
  };
  return source;
}

interface Pending {
  subject: Subject;
  source: Source | undefined;
  /** Its signal was aborted before it was started. */
  prevented: boolean;
  out: [string, Float32Array][];
  outcome?: { value: Options } | { error: unknown };
  abortedAtOutcome: boolean;
  /** It was aborted before the first await after the start, when its promise cannot have settled. */
  abortedAtOnce: boolean;
}

/** Results by the sync form of the same call. */
const expectedOf = new Map<Subject, Options>();
function expected(subject: Subject): Options {
  const known = expectedOf.get(subject);
  if (known) return known;
  const sync = SUBJECTS.find(({ name }) => `${name}, later` === subject.name)!;
  const results = sync.call(sync.valid() as never) as Options;
  expectedOf.set(subject, results);
  return results;
}

function queue(draw: Draw, source: Source | undefined, pending: Pending[]): void {
  const subject = draw.of(ASYNC);
  const options = subject.valid();
  const results = options.out as Record<string, Float32Array>;
  const out: Pending['out'] = [];
  if (draw.once(2)) delete options.out;
  else {
    for (const [name, array] of Object.entries(results)) {
      const Class = array.constructor as Float32ArrayConstructor;
      if (draw.once(2)) results[name] = new Class(new SharedArrayBuffer(array.byteLength)).fill(7);
      out.push([name, results[name]!]);
    }
  }
  if (source) options.signal = source.signal;
  // A getter of the options that aborts: the call is not started either.
  if (source && draw.once(20)) {
    const { labels } = options;
    Object.defineProperty(options, 'labels', {
      enumerable: true,
      get: () => {
        abortNow(source, pending);
        return labels;
      },
    });
  }
  const each: Pending = { subject, source, prevented: false, out, abortedAtOutcome: false, abortedAtOnce: false };
  pending.push(each);
  const promise = subject.call(options as never) as Promise<Options>;
  each.prevented = source?.aborted ?? false;
  promise.then(
    (value) => settle(each, { value }),
    (error) => settle(each, { error }),
  );
}

function settle(each: Pending, outcome: Pending['outcome'] & object): void {
  if (each.outcome) throw new Error('a promise settled twice');
  each.outcome = outcome;
  each.abortedAtOutcome = each.source?.aborted ?? false;
}

function checkOutcome({ subject, source, prevented, out, outcome, ...aborted }: Pending): void {
  const what = `${subject.name} with ${source?.kind ?? 'no signal'}`;
  if (outcome === undefined) throw new Error(`${what} has not settled`);
  if ('value' in outcome) {
    if (source?.works) expect(prevented || aborted.abortedAtOnce, `${what} is fulfilled though aborted`).toBe(false);
    for (const [name, value] of Object.entries(expected(subject))) {
      if (!ArrayBuffer.isView(value)) expect(outcome.value[name], `${name} of ${what}`).toEqual(value);
      else expectSameBits(`${name} of ${what}`, outcome.value[name] as Float32Array, value as Float32Array);
    }
    for (const [name, array] of out) expect(outcome.value[name], `${name} of ${what}`).toBe(array);
    return;
  }
  const { error } = outcome;
  expect(source, `${what}: ${error}`).toBeDefined();
  if (source?.works) {
    expect(aborted.abortedAtOutcome, `${what}: ${error}`).toBe(true);
    expect(error).toBe(source.reason);
  } else if (error !== source?.reason) {
    expect(String(error)).toMatch(/of a signal|is not a function|an AbortSignal for signal|was cancelled/);
  }
  if (!prevented) return;
  for (const [name, array] of out)
    expect(new Set(array), `${name} of ${what}, which was not started`).toEqual(new Set([7]));
}

const shared = <T>(Class: new (buffer: SharedArrayBuffer) => T, bytes: number) =>
  new Class(new SharedArrayBuffer(bytes));

/** A call of the addon whose callback throws: an uncaught exception, after which the others are called. It keeps the arrays. */
function queueThrowing(): void {
  const logits = shared(Float32Array, 16);
  const shape = { kind: 'logits', dtype: 'float32', rows: 1, vocabSize: 4, rowStride: 4, temperature: 1 } as const;
  const head = { ...shape, softcap: 0, vocabOffset: 0, totalVocab: 0, logitsLength: 4, logits };
  const labels = { data: shared(Int32Array, 4), wide: false, ignoreIndex: -100 };
  const out = { logps: shared(Float32Array, 4), lse: shared(Float32Array, 4) };
  const args = encode.logps({ head, labels, out } as never);
  start(native, 'logps', args, () => {
    throw new Error('of a callback', { cause: args });
  });
}

/** Runs `action` with what is reported to the process, instead of the handlers that end it. */
async function reported(action: () => Promise<void>): Promise<string[]> {
  const events = ['uncaughtException', 'unhandledRejection', 'warning'] as const;
  const handlers = events.map((event) => [event, process.rawListeners(event)] as const);
  const messages: string[] = [];
  const listener = (error: Error) => messages.push(String(error?.message));
  for (const event of events) process.removeAllListeners(event).on(event as 'warning', listener);
  try {
    await action();
    await immediate();
  } finally {
    for (const [event, list] of handlers) {
      process.removeAllListeners(event);
      for (const each of list) process.on(event, each as never);
    }
  }
  return messages;
}

const immediate = () => new Promise<void>((resolve) => setImmediate(resolve));

async function check(draw: Draw): Promise<void> {
  const sources = draw.list(1, 3, (i) => {
    const kind = draw.of(['real', 'other', 'broken']);
    return kind === 'real' ? real(draw, i) : other(draw, i, kind === 'broken');
  });
  const count = draw.once(30) ? draw.integer(100, 400) : draw.integer(1, 12);
  const pending: Pending[] = [];
  const inTurn = new Map<Source, number>();
  draw.case = `${count} calls, ${sources.map(({ kind }) => kind).join('; ')}`;
  let callbacks = 0;

  const someSource = () => draw.of(sources);
  const working = sources.filter(({ works }) => works);

  const round = async (calls: number) => {
    const before = working.map((each) => each.added());
    for (let i = 0; i < calls; i++) {
      const source = draw.once(3) ? undefined : someSource();
      queue(draw, source, pending);
      if (source) inTurn.set(source, (inTurn.get(source) ?? 0) + 1);
      // One listener for all calls that wait.
      for (const each of working) expect(each.listeners(), each.kind).toBeLessThanOrEqual(1);
      if (source?.works && !source.aborted) expect(source.listeners(), source.kind).toBe(1);
      if (draw.once(10)) {
        queueThrowing();
        callbacks++;
      }
      if (draw.once(15)) abortNow(someSource(), pending);
    }
    for (const [i, each] of working.entries()) {
      expect(each.added() - before[i]!, `listeners added to ${each.kind}`).toBeLessThanOrEqual(1);
    }
    const late = draw.of(['never', 'microtask', 'immediate', 'first result']);
    const source = someSource();
    if (late === 'microtask') queueMicrotask(() => source.abort());
    if (late === 'immediate') setImmediate(() => source.abort());
    // Calls end in their order: with this one, all before it have ended.
    const last = tokenLogpsAsync({ logits: new Float32Array(2), labels: Int32Array.of(1), vocabSize: 2 });
    if (late === 'first result') await Promise.race([last, untilFirst(pending)]).then(() => source.abort());
    await last;
    await immediate();
    for (const each of working) expect(each.listeners(), `listeners left on ${each.kind}`).toBe(0);
  };
  const messages = await reported(async () => {
    if (draw.once(6)) someSource().abort();
    await round(count);
    if (draw.once(2)) await round(draw.integer(1, 4));
  });

  for (const each of pending) checkOutcome(each);
  const listeners = sources.filter(({ throwing, aborted }) => throwing && aborted).length;
  const expectedMessages = [...Array(callbacks).fill('of a callback'), ...Array(listeners).fill('of a listener')];
  expect(messages.toSorted()).toEqual(expectedMessages);
  // The work for a signal does not grow with the number of its calls that wait.
  for (const each of working) {
    expect(each.uses(), `uses of ${each.kind}`).toBeLessThanOrEqual(3 * (inTurn.get(each) ?? 0) + 4);
  }
}

/** Before the next await: the calls with the signal that wait must reject. */
function abortNow(source: Source, pending: readonly Pending[]): void {
  source.abort();
  for (const each of pending) if (each.source === source && !each.outcome) each.abortedAtOnce = true;
}

async function untilFirst(pending: readonly Pending[]): Promise<void> {
  while (pending.every(({ outcome }) => !outcome)) await immediate();
}

export const signals: Property[] = [
  { name: 'signals: every promise settles, whatever the signals and callbacks do', cases: 200, check },
];
