// debug: 'finite' - a look through the numbers that an operation reads, before it writes anything, and through what it wrote.
import { classOf, isOnDevice, lengthOf, oneOf } from './checks.js';
import { rangeError, typeError } from './errors.js';
import type { LinearNames } from './head.js';
import type { CheckedLabels } from './labels.js';
import { type HeadArgs, type LinearHeadArgs, type LogitsHeadArgs, native, type ReferenceArgs } from './native.js';

export interface DebugOption {
  /**
   * 'finite' names the first number, read or written, that is NaN or infinite, by a RangeError ERR_NOT_FINITE. -inf stands for
   * a masked word in logits and biases and is allowed there. Rows that the call does not read are not looked at. What was
   * wrong with a result is told after it was written. Typed arrays only.
   */
  debug?: 'finite' | undefined;
}

export function checkDebug({ debug }: DebugOption): boolean {
  return oneOf<'finite' | 'off'>('debug', debug, 'off', ['finite']) === 'finite';
}

/** What there is to look through: a matrix [rows, width] or, without a width, a list. */
export interface Numbers {
  name: string;
  array: ArrayBufferView | undefined;
  /** What a row is. */
  unit: 'row' | 'turn' | 'pair' | 'word';
  rows?: number;
  width?: number;
  stride?: number;
  /** The native number of the dtype; float32 by default. */
  code?: number;
  /** 0 leaves a row out. */
  mask?: Uint8Array | undefined;
  /** -inf is allowed. */
  maskedWords?: boolean;
}

/** Throws where one of the numbers is not finite: the first of the first array that has any, by rows and columns. */
export function lookThrough(all: readonly Numbers[]): void {
  for (const { name, array, unit, width, code = 0, mask, maskedWords = false, ...rest } of all) {
    if (array === undefined) continue;
    const view = array as Float32Array;
    checkLookable(name, array);
    const { rows = lengthOf(view), stride = width ?? 1 } = rest;
    const at = native.firstNotFinite(view, code, rows, width ?? 1, stride, mask, maskedWords);
    if (at < 0) continue;
    const row = Math.floor(at / (width ?? 1));
    const column = at - row * (width ?? 1);
    const value = numberOf(view[row * stride + column] as number, view, code);
    fail(name, value, `${unit} ${row}${width === undefined ? '' : `, column ${column}`}`);
  }
}

export function checkLookable(name: string, array: ArrayBufferView): void {
  if (!isOnDevice(array)) return;
  throw typeError('ERR_DEVICE', `Expected a typed array for ${name}: debug: 'finite' does not look into devices`);
}

function fail(name: string, value: number, where?: string): never {
  const place = where === undefined ? '' : ` at ${where}`;
  throw rangeError(
    'ERR_NOT_FINITE',
    `Expected finite numbers (debug: 'finite') for ${name} but received ${value}${place}`,
  );
}

/** What 16 bits of which the exponent's are all set stand for. */
function numberOf(word: number, array: ArrayBufferView, code: number): number {
  if (classOf(array) !== 'Uint16Array') return word;
  const fraction = word & (code === 1 ? 0x7f : 0x3ff);
  return fraction !== 0 ? NaN : word & 0x8000 ? -Infinity : Infinity;
}

/** The rows that a call reads: not the masked ones, and those of an ignored label only where their lse is asked for. */
export function rowsRead(
  { count, labels, mask, args: [, , , ignored] }: CheckedLabels,
  ignoredToo: boolean,
): Uint8Array {
  if (isOnDevice(labels)) return new Uint8Array(count).fill(1);
  return Uint8Array.from({ length: count }, (_, i) =>
    mask?.[i] === 0 || (!ignoredToo && Number(labels[i]) === ignored) ? 0 : 1,
  );
}

const OWN_NAMES = { hidden: 'hidden', weight: 'weight', bias: 'bias' };

export function headNumbers([linear, ...args]: HeadArgs, mask: Uint8Array): Numbers[] {
  return linear
    ? linearNumbers(args as unknown as LinearHeadArgs, mask)
    : logitsNumbers(args as unknown as LogitsHeadArgs, mask);
}

export function logitsNumbers(args: LogitsHeadArgs, mask: Uint8Array | undefined, name = 'logits'): Numbers[] {
  const [array, code, rows, width, stride] = args;
  return [{ name, array, unit: 'row', code, rows, width, stride, mask, maskedWords: true }];
}

export function linearNumbers(
  [hidden, weight, bias, code, rows, vocab, width]: LinearHeadArgs,
  mask: Uint8Array,
  names: Omit<LinearNames, 'dtype'> = OWN_NAMES,
): Numbers[] {
  return [
    { name: names.hidden, array: hidden, unit: 'row', code, rows, width, mask },
    { name: names.weight, array: weight, unit: 'word', code, rows: vocab, width },
    { name: names.bias, array: bias, unit: 'word', code, maskedWords: true },
  ];
}

export function referenceNumbers(args: ReferenceArgs, mask: Uint8Array, names: LinearNames): Numbers[] {
  if (args.length === 1) return [{ name: 'refLogps', array: args[0], unit: 'row', mask }];
  const [, linear, ...head] = args;
  return linear
    ? linearNumbers(head as unknown as LinearHeadArgs, mask, names)
    : logitsNumbers(head as unknown as LogitsHeadArgs, mask, 'refLogits');
}

export function logpsNumbers(logps: Float32Array, refLogps: Float32Array, mask: Uint8Array | undefined): Numbers[] {
  return [
    { name: 'logps', array: logps, unit: 'row', mask },
    { name: 'refLogps', array: refLogps, unit: 'row', mask },
  ];
}

/** What a backward pass has beside the head; of rows that have no gradient nothing is read. */
export function backwardNumbers(
  labels: CheckedLabels,
  { lse, gradLogps }: { lse: Float32Array; gradLogps: Float32Array },
): Numbers[] {
  const mask = rowsRead(labels, false);
  return [
    { name: 'lse', array: lse, unit: 'row', mask },
    { name: 'gradLogps', array: gradLogps, unit: 'row', mask },
  ];
}

const OF_PAIRS = ['pairLosses', 'margins', 'chosenRewards', 'rejectedRewards'];
const OF_WORDS = ['gradWeight', 'gradBias'];

/** The same function, which looks through its result's numbers and arrays before it returns them. */
export function lookedThrough<R extends object>(debug: boolean, finish: () => R, head?: HeadArgs): () => R {
  if (!debug) return finish;
  return () => {
    const result = finish();
    // First lse, which tells of a row of masked words alone; its logp follows from it.
    const { lse, ...others } = result as { lse?: Float32Array };
    for (const [name, value] of Object.entries({ lse, ...others }) as [string, unknown][]) {
      if (typeof value !== 'number') lookThrough([resultNumbers(name, value as ArrayBufferView, head)]);
      else if (!Number.isFinite(value)) fail(name, value);
    }
    return result;
  };
}

function resultNumbers(name: string, array: ArrayBufferView, head: HeadArgs | undefined): Numbers {
  if (name === 'gradLogits' && head?.[0] === false) {
    const [, , code, rows, width, stride] = head;
    return { name, array, unit: 'row', code, rows, width, stride };
  }
  if (head?.[0] === true && (name === 'gradHidden' || name === 'gradWeight')) {
    const [, , , , , rows, vocab, width] = head;
    return name === 'gradHidden'
      ? { name, array, unit: 'row', rows, width }
      : { name, array, unit: 'word', rows: vocab, width };
  }
  if (OF_PAIRS.includes(name)) return { name, array, unit: 'pair' };
  if (OF_WORDS.includes(name)) return { name, array, unit: 'word' };
  return { name, array, unit: name === 'turnAdvantages' ? 'turn' : 'row' };
}
