/** The package as others get it: its exports, its two module systems, its tarball, and the order of its house. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import * as sweetRl from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { npm, ROOT, resultOf } from './helpers/processes.ts';

const EXPORTS = [
  'CudaError',
  'DeviceBuffer',
  'IGNORE_INDEX',
  'SweetError',
  'backends',
  'criticUpdate',
  'linearLogps',
  'linearLogpsBackward',
  'packTurns',
  'policyUpdate',
  'rankCandidates',
  'samplePairs',
  'setThreads',
  'threads',
  'tokenLogps',
  'tokenLogpsBackward',
  'trajectoryPairs',
  'trajectoryPreferenceLoss',
  'trlMetrics',
  'turnAdvantages',
  'turnAdvantagesBackward',
  'turnPreferenceLoss',
  'useBackend',
];

const VOCABULARY_AND_LOSSES = [
  'token-logps',
  'linear-logps',
  'turn-advantages',
  'trajectory-preference',
  'turn-preference',
  'critic-update',
  'policy-update',
];
const PAIRS = ['rank-candidates', 'sample-pairs', 'trajectory-pairs', 'pack-turns'];

describe('exports', () => {
  it('are those of the public interface', () => {
    expect(Object.keys(sweetRl).sort()).toEqual(EXPORTS);
    expect(sweetRl.IGNORE_INDEX).toBe(-100);
  });

  it('are the same from import and require, as are the numbers', () => {
    const program = (load: string) => `
      ${load}
      const update = sweetRl.criticUpdate({
        logits: Float32Array.from({ length: 30 }, (_, i) => Math.sin(i)), labels: Int32Array.of(0, 1, 2, 3, 4, 0),
        refLogps: new Float32Array(6).fill(-1), turnOffsets: Int32Array.of(0, 2, 3, 6),
        trajectoryOffsets: Int32Array.of(0, 1, 3), chosen: Int32Array.of(0), rejected: Int32Array.of(1),
      });
      const numbers = { ...update, gradLogits: Array.from(update.gradLogits), logps: Array.from(update.logps) };
      console.log(JSON.stringify({ names: Object.keys(sweetRl).sort(), numbers }));`;
    const imported = resultOf<{ names: string[] }>(program("import * as sweetRl from 'sweet-rl';"));
    const required = resultOf(program("const sweetRl = require('sweet-rl');"), { type: 'commonjs' });
    expect(imported.names.filter((name) => name !== 'default' && name !== 'module.exports')).toEqual(EXPORTS);
    expect(required).toEqual(imported);
  });

  it('share one state between import and require', () => {
    const program = `
      import { createRequire } from 'node:module';
      import { setThreads } from 'sweet-rl';
      setThreads(3);
      console.log(createRequire(process.cwd() + '/')('sweet-rl').threads());`;
    expect(resultOf<number>(program)).toBe(3);
  });
});

describe('the tarball', () => {
  const [{ files }] = JSON.parse(npm('pack', '--dry-run', '--json', '--ignore-scripts')) as [
    { files: { path: string }[] },
  ];
  const paths = files.map(({ path }) => path);

  it('holds what a user needs', () => {
    const needed = [
      'package.json',
      'README.md',
      'LICENSE',
      'dist/index.js',
      'dist/index.d.ts',
      'dist-cjs/index.js',
      'dist-cjs/index.d.ts',
    ];
    expect(paths).toEqual(expect.arrayContaining(needed));
    expect(paths).toEqual(expect.arrayContaining(['CMakeLists.txt', 'native/token_logps.h', 'binding/addon.cc']));
  });

  it('holds no tests, demos, benchmarks or traces of a build', () => {
    const unwanted =
      /^(test|examples|bench|lib|build|packages|node_modules|\.)|cuda\/|vectors|safetensors|\.tsbuildinfo$|\.test\.|\.bench\./;
    expect(paths.filter((path) => unwanted.test(path))).toEqual([]);
  });
});

describe('the house', () => {
  const snake = (stem: string) => stem.replaceAll('-', '_');

  it.each(VOCABULARY_AND_LOSSES)('has %s in every layer', (stem) => {
    const layers = [
      `native/${snake(stem)}.h`,
      `native/cpu/${snake(stem)}.cpp`,
      // The linear head on the device is to come.
      ...(stem === 'linear-logps' ? [] : [`native/cuda/${snake(stem)}.cu`]),
      `binding/${snake(stem)}.cc`,
      `lib/${stem}.ts`,
      `test/${stem}.test.ts`,
      `test/reference/${stem}.ts`,
    ];
    expect(layers.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  it.each(PAIRS)('has %s in every layer', (stem) => {
    const layers = [`lib/${stem}.ts`, `test/${stem}.test.ts`, `test/reference/${stem}.ts`];
    expect(layers.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  it('has no operation in the native code that these lists leave out', () => {
    const operations = readdirSync(join(ROOT, 'binding'))
      .filter((file) => file.endsWith('.cc') && !['addon.cc', 'args.cc', 'machine.cc', 'host_memory.cc'].includes(file))
      .map((file) => file.replace('.cc', '').replaceAll('_', '-'));
    expect(operations.sort()).toEqual(VOCABULARY_AND_LOSSES.toSorted());
  });
});
