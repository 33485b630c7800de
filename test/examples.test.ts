/** The adapters' examples: a small transformer in three frameworks, trained by the same loss for 50 steps. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ADAPTERS, loadTensorflow } from './helpers/tensorflow.ts';

const pythons = ['python3', '/usr/bin/python3'];
const python = pythons.find((name) => spawnSync(name, ['-c', 'import numpy']).status === 0);
const needsPython = process.platform === 'linux' && (python !== undefined || Boolean(process.env.CI));

const EXAMPLES: [string, boolean][] = [
  ['jax.js', true],
  ['tfjs.js', (await loadTensorflow()) !== undefined],
  ['shm.js', needsPython],
];

/** The loss of each step, as the program prints it. */
function losses(example: string): number[] {
  const env = { ...process.env, PYTHON: python };
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ADAPTERS, example)], { encoding: 'utf8', env });
  if (status !== 0) throw new Error(`${example} ended with ${status}:\n${stderr}`);
  return [...stdout.matchAll(/^step +\d+ {2}loss (\d\.\d{4})/gm)].map(([, loss]) => Number(loss));
}

describe.each(EXAMPLES.filter(([, there]) => there))('examples/adapters/%s', (example) => {
  const curve = losses(example);

  it('trains for 50 steps with falling loss', () => {
    expect(curve).toHaveLength(50);
    expect(curve[0]).toBe(Number(Math.LN2.toFixed(4))); // the model is its own reference at first
    for (let i = 1; i < 50; i++) expect(curve[i]!).toBeLessThan(curve[i - 1]! + 0.002);
    expect(curve[49]!).toBeLessThan(0.05);
  });

  it('goes the way of the others', () => {
    const known = [0.2709, 0.0641, 0.0169]; // steps 10, 25 and 50, to which all three come
    for (const [i, step] of [10, 25, 50].entries()) expect(Math.abs(curve[step - 1]! - known[i]!)).toBeLessThan(0.002);
  });
});
