/** The layout that CONTRIBUTING.md describes: modules without cycles, short files, every operation in every layer. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';
import { operations } from '../../binding/operations.js';
import { exportsOf } from '../helpers/exports.ts';
import { ROOT } from '../helpers/processes.ts';

const filesUnder = (folder: string, ending: RegExp) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => ending.test(path))
    .map((path) => `${folder}/${path}`);
const textOf = (path: string) => readFileSync(join(ROOT, path), 'utf8');

const modules = filesUnder('lib', /\.c?ts$/);

/** The files of lib/ that a file imports, type imports included. */
function importsOf(file: string): string[] {
  const specifiers = [...textOf(file).matchAll(/(?:from|import|require\()\s*\(?'(\.[^']*)'/g)];
  return specifiers
    .map(([, path]) => normalize(join(dirname(file), path!)).replace(/js$/, 'ts'))
    .filter((path) => modules.includes(path));
}

/** A cycle of a graph, or undefined. */
function cycleOf(graph: Map<string, string[]>): string[] | undefined {
  const done = new Set<string>();
  const visit = (node: string, path: string[]): string[] | undefined => {
    if (path.includes(node)) return [...path.slice(path.indexOf(node)), node];
    if (done.has(node)) return undefined;
    for (const next of graph.get(node) ?? []) {
      const cycle = visit(next, [...path, node]);
      if (cycle) return cycle;
    }
    done.add(node);
    return undefined;
  };
  for (const node of graph.keys()) {
    const cycle = visit(node, []);
    if (cycle) return cycle;
  }
  return undefined;
}

describe('lib', () => {
  it('finds a cycle where there is one', () => {
    const graph = { a: ['b'], b: ['c'], c: ['b'] };
    expect(cycleOf(new Map(Object.entries(graph)))).toEqual(['b', 'c', 'b']);
  });

  it('has no cycle of files', () => {
    expect(cycleOf(new Map(modules.map((file) => [file, importsOf(file)])))).toBeUndefined();
  });

  it('has no cycle of modules', () => {
    const moduleOf = (file: string) => file.split('/').slice(0, 2).join('/');
    const graph = new Map<string, string[]>();
    for (const file of modules) {
      const others = importsOf(file)
        .map(moduleOf)
        .filter((module) => module !== moduleOf(file));
      graph.set(moduleOf(file), [...(graph.get(moduleOf(file)) ?? []), ...others]);
    }
    expect(cycleOf(graph)).toBeUndefined();
  });
});

it('has no file of the product above 400 lines', () => {
  const product = [...modules, ...['native', 'binding'].flatMap((folder) => filesUnder(folder, /\.(h|cc|cpp|cu|js)$/))];
  const generated = ['lib/addon/operations.ts', 'binding/generated/operations.cc'];
  const long = product.filter((path) => !generated.includes(path) && textOf(path).split('\n').length - 1 > 400);
  expect(long).toEqual([]);
});

it('has sources in ASCII', () => {
  const sources = [...modules, ...['native', 'binding'].flatMap((folder) => filesUnder(folder, /\.(h|cc|cpp|cu|js)$/))];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range of ASCII
  expect(sources.filter((path) => /[^\x00-\x7f]/.test(textOf(path)))).toEqual([]);
});

const all = Object.entries<{ header: string; device?: boolean }>(operations);
describe.each(all)('operation %s', (name, { header, device = true }) => {
  const snake = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

  it('is declared in its header and implemented on the CPU and on devices', () => {
    const defined = new RegExp(`^(Status|int64_t) ${snake}\\(`, 'm');
    const definers = (folder: string, ending: RegExp) =>
      filesUnder(folder, ending).filter((path) => defined.test(textOf(path)));
    expect(textOf(`native/${header}.h`)).toMatch(defined);
    expect(definers('native/cpu', /\.cpp$/)).toEqual([`native/cpu/${header}.cpp`]);
    const onDevice = definers('native/cuda', /\.(cu|cpp)$/).map((path) => path.replace(/\.\w+$/, ''));
    expect(onDevice).toEqual(device ? [`native/cuda/${header}`] : []);
  });

  it('is called in lib', () => {
    const callers = modules.filter(
      (path) => !path.startsWith('lib/addon/') && new RegExp(`'${name}'`).test(textOf(path)),
    );
    expect(callers.length).toBeGreaterThan(0);
  });
});

/** The names that a text imports from a module. */
function importedBy(text: string, module: RegExp): string[] {
  const imports = [...text.matchAll(/^import (?:type )?(\{[^}]*\}|\* as \w+) from '([^']*)'/gm)];
  return imports.filter(([, , from]) => module.test(from!)).flatMap(([, names]) => names!.match(/\w+/g)!);
}

describe.each(['ops', 'objectives', 'data'])('lib/%s', (folder) => {
  const tests = filesUnder(`test/${folder}`, /\.test\.ts$/).map(textOf);
  const withOracle = tests.filter((text) => importedBy(text, /\/reference\/(?!half|range)/).length > 0);
  // An async form is compared with its sync form; old names are aliases; metrics are means.
  const others = ['partials', 'mergePartials', 'trlMetrics'];
  const names = exportsOf(folder).filter((name) => !name.endsWith('Async') && !others.includes(name));

  it.each(names)(`%s is imported by a test of test/${folder} that imports an oracle of test/reference`, (name) => {
    expect(withOracle.filter((text) => importedBy(text, /^sweet-rl$/).includes(name))).not.toEqual([]);
  });
});
