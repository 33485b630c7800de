/** safetensors in another realm, whose classes are not Node's and whose globals lack the encoders: what jsdom is for Jest. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { compileFunction, createContext, runInContext } from 'node:vm';
import { afterAll, expect, it } from 'vitest';
import { ROOT } from '../helpers/processes.ts';

const folder = mkdtempSync(join(tmpdir(), 'sweet-rl-realm-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Loads a CommonJS module and what it requires in a context. */
function loaderOf(context: object) {
  const modules = new Map<string, { exports: unknown }>();
  return function load(file: string): unknown {
    const known = modules.get(file);
    if (known !== undefined) return known.exports;
    const module = { exports: {} as unknown };
    modules.set(file, module);
    const outer = createRequire(file);
    const require = (name: string) => (name.startsWith('.') ? load(outer.resolve(name)) : outer(name));
    const names = ['require', 'module', 'exports', '__dirname'];
    const run = compileFunction(readFileSync(file, 'utf8'), names, { filename: file, parsingContext: context });
    run(require, module, module.exports, dirname(file));
    return module.exports;
  };
}

it('reads and writes where typed arrays, URLs and Buffers are of different realms', () => {
  // The class of jsdom is not Node's either.
  class ForeignURL {
    href: string;
    constructor(href: string) {
      this.href = href;
    }
  }
  const context = createContext({ Buffer, process, URL: ForeignURL });
  expect(runInContext('typeof TextDecoder + typeof TextEncoder', context)).toBe('undefinedundefined');
  const safetensors = loaderOf(context)(join(ROOT, 'dist-cjs', 'io', 'safetensors.js'));
  const program = `(safetensors, path, href) => {
    const { parseSafetensors, readSafetensors, serializeSafetensors, toFloat32, writeSafetensors } = safetensors;
    const tensors = { a: Float32Array.of(1, 2), b: Buffer.from([7]), '\\u00f6': { data: Uint16Array.of(0x3f80), dtype: 'bfloat16' } };
    const bytes = serializeSafetensors({ tensors, metadata: { '\\u00e9': '\\u00fc' } });
    writeSafetensors(new URL(href), { tensors });
    const all = [parseSafetensors(bytes), parseSafetensors(Buffer.from(bytes)), readSafetensors(path), readSafetensors(new URL(href))];
    return JSON.stringify(all.map(({ tensors, metadata }) => [
      tensors.a.data instanceof Float32Array, ...toFloat32(tensors.a), ...tensors.b.data, ...toFloat32(tensors['\\u00f6']), metadata['\\u00e9'],
    ]));
  }`;
  const path = join(folder, 'file.safetensors');
  const results = JSON.parse(runInContext(program, context)(safetensors, path, pathToFileURL(path).href));
  expect(results).toEqual([
    [true, 1, 2, 7, 1, '\u00fc'],
    [true, 1, 2, 7, 1, '\u00fc'],
    [true, 1, 2, 7, 1, null],
    [true, 1, 2, 7, 1, null],
  ]);
});
