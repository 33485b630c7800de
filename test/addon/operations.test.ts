/** The boundary between lib/ and binding/: the generated files, and every argument under its own name. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { enums, groups, operations } from '../../binding/operations.js';
import { native } from '../../dist/addon/native.js';
import { checkTypes, generate } from '../../scripts/generate-binding.js';
import { changed, type Options } from '../helpers/arguments.ts';
import { SUBJECTS, type Subject } from '../helpers/calls.ts';
import { exportsOf } from '../helpers/exports.ts';
import { ROOT } from '../helpers/processes.ts';

it.each(Object.entries(generate()))('%s is what `npm run generate` writes', (path, text) => {
  expect(readFileSync(join(ROOT, path), 'utf8')).toBe(text);
});

describe('a type that there is not', () => {
  const { turnAdvantages } = operations;
  it.each<[string, unknown, RegExp]>([
    ['a scalar', 'integer', /^Expected a type of int, number, bool, DType.*reads\(\.\.\.\).*ofTurns\.wrong.* integer$/],
    ['a group', { kind: 'group', name: 'Turns', parameters: [] }, /ofTurns\.wrong .* Turns$/],
    ['elements', { kind: 'array', type: 'const flaot', count: '1' }, /elements of void.*ofTurns\.wrong .* flaot$/],
    ['nothing', undefined, /ofTurns\.wrong .* undefined$/],
  ])('is refused, naming operation and field: %s', (_what, wrong, message) => {
    const ofTurns = { ...turnAdvantages, fields: { ...turnAdvantages.fields, wrong } };
    expect(() => checkTypes({ enums, groups, operations: { ...operations, ofTurns } })).toThrow(message);
    expect(() => checkTypes({ enums, groups: { ...groups, ofTurns }, operations })).toThrow(message);
  });
});

describe('an addon without an operation', () => {
  it.each([
    ['turnAdvantages', 'turnAdvantages'],
    ['tokenLogpsAsync', 'logpsAsync'],
  ] as const)('%s says so and how to build it again', async (name, operation) => {
    const addon = native as unknown as Record<string, unknown>;
    const original = addon[operation];
    const { call, valid } = SUBJECTS.find((each) => each.call.name === name)!;
    addon[operation] = undefined;
    try {
      await expect((async () => call(valid() as never))()).rejects.toMatchObject({
        code: 'ERR_ADDON',
        message: expect.stringMatching(new RegExp(`no operation '${operation}'.*[^]*npm run build`)),
      });
    } finally {
      addon[operation] = original;
    }
  });
});

/** One scalar or array that crosses the boundary: its path in the call, its type, its value. */
interface Argument {
  path: string;
  type: string;
  value: unknown;
}

interface Field {
  kind?: string;
  name?: string;
  type?: string;
}

/** The positional arguments of a call by their names in the table. */
function decoded(operation: string, args: unknown[]): Argument[] {
  const found: Argument[] = [];
  const rest = [...args];
  const readGroup = (name: string, path: string) => {
    const { fields, variants } = (groups as Record<string, { fields?: object; variants?: object }>)[name]!;
    if (fields) return readFields(fields, path);
    const [first, second] = Object.values(variants!) as [string, string];
    readGroup(rest.shift() ? second : first, path);
  };
  const readFields = (fields: object, path: string) => {
    for (const [name, field] of Object.entries(fields) as [string, Field & string][]) {
      const at = path === '' ? name : `${path}.${name}`;
      if (field.kind === 'array') found.push({ path: at, type: field.type!, value: rest.shift() });
      else if (field.kind === 'list') {
        const count = rest.shift() as number;
        for (let i = 0; i < count; i++) readGroup(field.name!, `${at}[${i}]`);
      } else if (field.kind === 'group') readGroup(field.name!, at);
      else if (field in groups) readGroup(field, at);
      else found.push({ path: at, type: field in enums ? 'enum' : field, value: rest.shift() });
    }
  };
  readFields((operations as Record<string, { fields: object }>)[operation]!.fields, '');
  expect(rest).toEqual([]);
  return found;
}

/** The native calls that `action` makes. */
function nativeCalls(action: () => unknown): { operation: string; args: Argument[] }[] {
  const addon = native as unknown as Record<string, (...args: unknown[]) => unknown>;
  const originals = { ...addon };
  const calls: { operation: string; args: unknown[] }[] = [];
  for (const operation of Object.keys(operations)) {
    addon[operation] = (...args) => {
      calls.push({ operation, args });
      return originals[operation]!(...args);
    };
  }
  try {
    action();
  } finally {
    Object.assign(addon, originals);
  }
  return calls.map(({ operation, args }) => ({ operation, args: decoded(operation, args) }));
}

const NUMBERS = [0.3, 0.05, 0.2, 1.25, 0.7, 13, 17, 19, 23, -7, 4, 0];

/** The valid call with a value of every option that has one here: numbers that differ from each other, booleans `flag`. */
function filled({ call, valid, arguments: all }: Subject, flag: boolean): Options {
  let options = valid();
  const succeeds = (more: Options) => {
    try {
      call(more as never);
      return true;
    } catch {
      return false;
    }
  };
  for (const { path, kind } of all.filter(({ path }) => path.length === 1 && options[path[0]!] === undefined)) {
    const value = [flag, ...NUMBERS, ...(kind.values ?? [])].find(
      (each) =>
        !(typeof each === 'number' && Object.values(options).includes(each)) &&
        kind.verdict(each, undefined) === 'any' &&
        succeeds(changed(options, path, each)),
    );
    if (value !== undefined) options = changed(options, path, value);
  }
  return options;
}

const SCALARS = ['int', 'number', 'bool', 'enum'];

/** The option that an argument is, by its path in the table; results are those of `out`. */
function optionOf({ path: inTable, type }: Argument): string {
  // Of an operand: hidden.data is hidden, hidden.rowStride hiddenStride; of real numbers advantages.data is advantages.
  const path = inTable.replace(
    /(?<=\b(hidden|weight|advantages|oldLogps|importanceWeights))\.(data|row)(?=$|Stride$)/,
    '',
  );
  const name = path.slice(path.lastIndexOf('.') + 1);
  const capital = name[0]!.toUpperCase() + name.slice(1);
  const term = /terms(\[\d+\])\.(\w+)$/.exec(path);
  if (term) return `${term[2] === 'weight' ? 'lossWeights' : 'lossType'}${term[1]}`;
  if (path.startsWith('reference.')) return `ref${capital}`;
  if (path.startsWith('teacher.')) return `teacher${capital}`;
  if (path.endsWith('labels.data')) return 'labels';
  if (path.endsWith('referencePoint.value')) return 'referencePoint';
  if (path.endsWith('pairs.weights')) return 'pairWeights';
  if (path.endsWith('labels.weights')) return 'tokenWeights';
  if (SCALARS.includes(type) || type.startsWith('const ')) return name;
  return path.startsWith('gradients.') ? `out.grad${capital}` : `out.${name}`;
}

const isPassed = (value: unknown) => ArrayBuffer.isView(value) || typeof value === 'number';
const ofOperations = SUBJECTS.filter(({ call }) => exportsOf('ops').includes(call.name) && !/Async$/.test(call.name));
const variants = ofOperations.flatMap((subject) => [true, false].map((flag) => ({ subject, flag })));
const cases = variants.map(({ subject, flag }) => {
  const { out = {}, ...options } = filled(subject, flag) as Options & { out?: Options };
  const results = Object.entries(out).map(([name, value]) => [`out.${name}`, value] as const);
  const calls = nativeCalls(() => subject.call({ ...options, ...(results.length > 0 && { out }) } as never));
  return {
    name: `${subject.name}, ${flag}`,
    given: new Map<string, unknown>([...Object.entries(options), ...results]),
    calls,
  };
});

it('has a valid call of every operation in test/helpers/calls.ts', () => {
  const called = new Set(cases.flatMap(({ calls }) => calls.map(({ operation }) => operation)));
  expect([...called].sort()).toEqual(Object.keys(operations).sort());
});

describe.each(cases)('$name', ({ given, calls }) => {
  // What returns a number looks through the arrays of others.
  const args = calls
    .filter(({ operation }) => !('returns' in operations[operation as keyof typeof operations]))
    .flatMap((call) => call.args);

  it('passes each array and each number under its name', () => {
    for (const argument of args) {
      const option = optionOf(argument);
      if (given.has(option) && argument.type !== 'enum') expect(argument.value, argument.path).toBe(given.get(option));
      const found = [...given].filter(([, value]) => ArrayBuffer.isView(value) && value === argument.value);
      if (found.length > 0) expect([option], argument.path).toEqual(found.map(([name]) => name));
    }
  });

  // Equal values are those of one thing: rows and tokens, the labels of head and batch.
  const isNamed = (argument: Argument) => argument.type !== 'enum' && given.has(optionOf(argument));
  const swappable = args.flatMap((a, i) =>
    args.slice(i + 1).flatMap((b): [string, string, Argument[]][] => {
      const named = [a, b].filter(isNamed);
      return a.type === b.type && !Object.is(a.value, b.value) && named.length > 0 ? [[a.path, b.path, named]] : [];
    }),
  );
  it.runIf(swappable.length > 0).each(swappable)('does not swap %s and %s', (_a, _b, named) => {
    for (const argument of named) expect(argument.value, argument.path).toBe(given.get(optionOf(argument)));
  });

  it('passes every array and every number', () => {
    const passed = new Set(args.map(optionOf));
    expect([...given].filter(([name, value]) => isPassed(value) && !passed.has(name)).map(([name]) => name)).toEqual(
      [],
    );
  });

  it('does not mistake one number for another', () => {
    const numbers = [...given.values()].filter((value) => typeof value === 'number');
    expect(new Set(numbers).size).toBe(numbers.length);
  });
});
