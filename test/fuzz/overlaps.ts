/**
 * Arrays of a call at random places of one memory, through two objects: an error where the bytes of a result are those of an
 * input or of another result, and the results of arrays of their own elsewhere.
 */
import { expect } from 'vitest';
import { lengthOf, type Options } from '../helpers/arguments.ts';
import { SUBJECTS } from '../helpers/calls.ts';
import { expectSameBits } from '../helpers/compare.ts';
import { OBJECTIVE_SUBJECTS } from '../helpers/objective-calls.ts';
import { BYTES, OTHER_MEMORY, type Pair, SAME_MEMORY } from '../helpers/same-memory.ts';
import type { Draw, Property } from './draw.ts';

type View = Float32Array<ArrayBufferLike>;

// Those of sweet-rl/objectives have no native code, which alone can tell two SharedArrayBuffer objects of one memory.
const WITH_RESULTS = SUBJECTS.filter((subject) => 'out' in subject.valid() && !OBJECTIVE_SUBJECTS.includes(subject));

const pairs = new Map<string, Pair>();
const WAYS: [string, () => Pair][] = [
  ['one buffer', () => twice(new ArrayBuffer(BYTES))],
  ['one SharedArrayBuffer', () => twice(new SharedArrayBuffer(BYTES))],
  ...SAME_MEMORY,
  ...OTHER_MEMORY,
];

function twice(buffer: ArrayBufferLike): Pair {
  return [buffer, buffer];
}

/** Where an array is: which memory, and the range of its bytes. */
interface Placed {
  name: string;
  path: [string] | ['out', string];
  isResult: boolean;
  array: View;
  object: 0 | 1;
  from: number;
  to: number;
}

/** The bytes from which a range may begin: anywhere, or at an end of another one, or an element beside that. */
function drawPlace(
  draw: Draw,
  { byteLength, BYTES_PER_ELEMENT: width }: View,
  others: readonly Placed[],
  most: number,
) {
  const other = others.length > 0 && draw.once(2) ? draw.of(others) : undefined;
  const anchor = other && draw.of([other.to, other.from, other.from - byteLength, other.to - byteLength]);
  const begin = anchor === undefined ? draw.integer(0, most) : anchor + width * draw.integer(-1, 1);
  return Math.min(Math.max(0, Math.floor(begin / width)), Math.floor((BYTES - byteLength) / width)) * width;
}

const meet = (a: Placed, b: Placed) => a.from < b.to && b.from < a.to;

async function check(draw: Draw): Promise<void> {
  const subject = draw.of(WITH_RESULTS);
  const [way, make] = draw.of(WAYS);
  const memory = pairs.get(way) ?? make();
  pairs.set(way, memory);
  const inOne = OTHER_MEMORY.every(([other]) => other !== way);

  const options = subject.valid();
  const arrays = Object.entries(options).filter(([, value]) => ArrayBuffer.isView(value)) as [string, View][];
  const results = Object.entries(options.out as Options) as [string, View][];
  // Some functions return their only array.
  const named = (result: unknown) => (ArrayBuffer.isView(result) ? { [results[0]![0]]: result } : result) as Options;
  const plain = named(await subject.call(subject.valid() as never));

  const placed: Placed[] = [];
  const total = [...arrays, ...results].reduce((sum, [, { byteLength }]) => sum + byteLength, 0);
  let end = 8 * draw.integer(0, 8);
  const add = (name: string, path: Placed['path'], array: View, from: number): Placed => {
    const object = draw.of([0, 1] as const);
    const to = from + array.byteLength;
    const each = { name, path, isResult: path[0] === 'out', array, object, from, to };
    placed.push(each);
    return each;
  };
  // Inputs are beside each other: each has to have its numbers.
  for (const [name, array] of arrays) {
    if (draw.once(3)) continue;
    end = Math.ceil(end / 8) * 8;
    end = add(name, [name], array, end).to + 4 * draw.integer(0, 4);
  }
  for (const [name, array] of results) {
    if (draw.once(2)) continue;
    add(`out.${name}`, ['out', name], array, drawPlace(draw, array, placed, end + total));
  }
  draw.case = `${subject.name}, ${way}: ${placed.map(({ name, object, from, to }) => `${name} ${object}:${from}-${to}`)}`;

  const sameMemory = (a: Placed, b: Placed) => inOne || a.object === b.object;
  const isInPlace = (a: Placed, b: Placed) =>
    String(subject.inPlace) === `${a.path[1]},${b.name}` && a.from === b.from && a.to === b.to;
  const overlaps = placed.flatMap((a, i) =>
    placed
      .slice(0, i)
      .filter((b) => a.isResult && sameMemory(a, b) && meet(a, b) && !isInPlace(a, b))
      .map((b) => [a.name, b.name] as const),
  );

  // The results first, so that the inputs have their numbers.
  for (const { path, isResult, array, object, from } of placed.toReversed()) {
    const Class = array.constructor as new (buffer: ArrayBufferLike, from: number, length: number) => View;
    const view = new Class(memory[object], from, lengthOf.call(array) as number);
    view.set(array);
    if (isResult) options.out = { ...(options.out as Options), [path[1]!]: view };
    else options[path[0]] = view;
  }
  const bytes = [...new Set(inOne ? [memory[0]] : memory)].map((buffer) => new Uint8Array(buffer as ArrayBuffer));
  const before = bytes.map((each) => each.slice());

  let thrown: (Error & { code?: string }) | undefined;
  let result: Options = {};
  try {
    result = named(await subject.call(options as never));
  } catch (error) {
    thrown = error as Error;
  }
  if (overlaps.length > 0) {
    expect(thrown, 'an error').toBeInstanceOf(RangeError);
    expect(thrown).toMatchObject({ code: 'ERR_OVERLAP' });
    const messages = overlaps.map(([a, b]) => new RegExp(`for ${a} but received one that overlaps ${b}$`));
    expect(
      messages.some((pattern) => pattern.test(thrown!.message)),
      thrown!.message,
    ).toBe(true);
    for (const [i, each] of bytes.entries()) expect(Buffer.compare(each, before[i]!), 'nothing written').toBe(0);
    return;
  }
  if (thrown) throw thrown;
  for (const [name, value] of Object.entries(plain)) {
    if (!ArrayBuffer.isView(value)) expect(result[name], name).toEqual(value);
    else expectSameBits(name, result[name] as View, value as View);
  }
  for (const { path, isResult, object, from, to } of placed) {
    if (!isResult) continue;
    expect(result[path[1]!], path[1]).toBe((options.out as Options)[path[1]!]);
    const at = inOne ? 0 : object;
    before[at]!.set(bytes[at]!.subarray(from, to), from);
  }
  for (const [i, each] of bytes.entries()) expect(Buffer.compare(each, before[i]!), 'the rest as it was').toBe(0);
}

export const overlaps: Property[] = [
  { name: 'overlaps: found by the memory, whatever object it is given through', cases: 700, check },
];
