/**
 * examples/systems: each program reaches the figure of its header for seeds 1, 2 and 3, and does not without the signal of its
 * objective.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { ROOT } from '../../../test/helpers/processes.ts';

const FOLDER = join(ROOT, 'examples', 'systems');
const run = promisify(execFile);
const out = mkdtempSync(join(tmpdir(), 'systems-'));
afterAll(() => rmSync(out, { recursive: true }));

/** The programs, and the functions without whose results nothing is learned. */
const PROGRAMS: Record<string, string[]> = {
  archer: ['doubleMinAdvantages', 'tdLoss'],
  bidirectional: ['groupAdvantages', 'tdLoss'],
  collab: ['monteCarloValues', 'selectAgentTokens'],
  gigpo: ['stepGroupAdvantages'],
  grpo: ['groupAdvantages'],
  ilql: ['ilqlLoss'],
  linvit: ['softValue'],
  malt: ['treeValues'],
  maporl: ['collaborativeReturns'],
  'monte-carlo': ['discountedReturns'],
  prime: ['implicitRewardLoss'],
  scheduling: ['generalizedAdvantages'],
  'self-distillation': ['privilegedAdvantages'],
  'turn-ppo': ['generalizedAdvantages'],
  vineppo: ['monteCarloValues', 'generalizedAdvantages'],
};

const sourceOf = (program: string) => readFileSync(join(FOLDER, `${program}.js`), 'utf8');

/** The figure of the header: "at least 0.9 (seeds 1, 2, 3: 1.000, 0.950, 1.000)". */
function statedBy(program: string) {
  const header = sourceOf(program)
    .split('*/')[0]!
    .replaceAll(/\s*\n \* ?/g, ' ');
  const match = /Figure: .* at least (\d[.\d]*) \(seeds 1, 2, 3: ([^)]*)\)/.exec(header);
  if (match === null) throw new Error(`${program}.js states no figure`);
  return { least: Number(match[1]), measured: match[2]!.split(', ').map(Number) };
}

async function figureOf(program: string, seed: number, shuffled?: string): Promise<number> {
  const hooks = shuffled === undefined ? [] : ['--import', './test/shuffle.js'];
  const folder = join(out, shuffled ?? 'as-is');
  const args = [...hooks, `${program}.js`, '--seed', String(seed), '--out', folder];
  const { stdout } = await run(process.execPath, args, { cwd: FOLDER, env: { ...process.env, SHUFFLED: shuffled } });
  expect(readFileSync(join(folder, `${program}-seed-${seed}.svg`), 'utf8')).toContain('<polyline');
  return Number(/^figure (\S+), curve in /m.exec(stdout)?.[1]);
}

it('has every program', () => {
  const names = readdirSync(FOLDER).filter((name) => name.endsWith('.js'));
  expect(names).toEqual(Object.keys(PROGRAMS).map((program) => `${program}.js`));
});

it('describes every program, and states its figures once more in the README', () => {
  const [readme, guide] = ['examples/systems/README.md', 'docs/guide/systems.md'].map((page) =>
    readFileSync(join(ROOT, page), 'utf8'),
  );
  for (const program of Object.keys(PROGRAMS)) {
    const figures = statedBy(program).measured.map((figure) => figure.toFixed(3));
    const row = readme!.split('\n').find((line) => line.includes(`(${program}.js)`));
    expect(row, program).toContain(figures.join(', '));
    expect(guide).toContain(`/${program}.js)`);
  }
});

// Programs run side by side: they use a core each.
describe.concurrent.each(Object.entries(PROGRAMS))('examples/systems/%s.js', (program, signals) => {
  const { least, measured } = statedBy(program);

  it('has at most 120 lines', ({ expect }) => {
    expect(sourceOf(program).split('\n').length - 1).toBeLessThanOrEqual(120);
  });

  it.each([1, 2, 3])('reaches its figure with seed %i', async (seed) => {
    expect(measured[seed - 1]).toBeGreaterThanOrEqual(least);
    expect(await figureOf(program, seed)).toBeGreaterThanOrEqual(least);
  });

  it.each(signals)('does not reach it with the results of %s shuffled', async (signal) => {
    expect(await figureOf(program, 1, signal)).toBeLessThan(least);
  });
});

it.each(['-1', '1.5', '', ' ', '0x10', '1e3', '-0', '4294967296', 'one'])('refuses --seed "%s"', async (seed) => {
  await expect(run(process.execPath, [join(FOLDER, 'linvit.js'), `--seed=${seed}`])).rejects.toThrow(
    `Expected a whole number from 0 to 4294967295 for --seed but received ${seed}`,
  );
});

it('ends before the first step where --out is no folder', async () => {
  const file = join(out, 'file');
  writeFileSync(file, '');
  const failed = run(process.execPath, [join(FOLDER, 'linvit.js'), '--out', file]);
  await expect(failed).rejects.toMatchObject({ stdout: '', stderr: expect.stringContaining('EEXIST') });
});
