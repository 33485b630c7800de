/**
 * examples/adapters and examples/pytorch: a small transformer in four frameworks, 50 training steps with the same loss.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../../../test/helpers/processes.ts';
import { loadTensorflow } from '../../../test/helpers/tensorflow.ts';

const linux = process.platform === 'linux';

/** A Python that has the module, which CI requires. */
function pythonWith(module: string): string | undefined {
  const found = ['python3', '/usr/bin/python3'].find(
    (name) => spawnSync(name, ['-c', `import ${module}`]).status === 0,
  );
  return found ?? (process.env.CI ? 'python3' : undefined);
}
const [numpy, torch] = linux ? [pythonWith('numpy'), pythonWith('torch')] : [];

const EXAMPLES: [file: string, available: boolean, python?: string | undefined][] = [
  ['adapters/jax.js', true],
  ['adapters/tfjs.js', (await loadTensorflow()) !== undefined],
  ['adapters/shm.js', numpy !== undefined, numpy],
  ['pytorch/main.js', torch !== undefined, torch],
];

function printed(example: string, python: string | undefined): string {
  const file = join(ROOT, 'examples', example);
  const env = { ...process.env, PYTHON: python };
  const { status, stdout, stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8', env });
  if (status !== 0) throw new Error(`${example} ended with ${status}:\n${stderr}`);
  return stdout;
}

describe.each(EXAMPLES.filter(([, available]) => available))('examples/%s', (example, _available, python) => {
  const text = printed(example, python);
  const curve = [...text.matchAll(/^step +\d+ {2}loss (\d\.\d{4})/gm)].map(([, loss]) => Number(loss));

  it('trains for 50 steps with decreasing loss', () => {
    expect(curve).toHaveLength(50);
    expect(curve[0]).toBe(Number(Math.LN2.toFixed(4))); // the model is its own reference before training
    for (let i = 1; i < 50; i++) expect(curve[i]!).toBeLessThan(curve[i - 1]! + 0.002);
    expect(curve[49]!).toBeLessThan(0.05);
  });

  it('has the same loss curve as the others', () => {
    const known = [0.2709, 0.0641, 0.0169]; // at steps 10, 25 and 50
    for (const [i, step] of [10, 25, 50].entries()) expect(Math.abs(curve[step - 1]! - known[i]!)).toBeLessThan(0.002);
  });

  if (example !== 'pytorch/main.js') return;

  it('has the gradients of autograd on the first and the last step', () => {
    const line = /autograd: loss (\S+), gradients differ by (\S+) \(hidden\) and (\S+) \(weight\)/g;
    const checks = [...text.matchAll(line)].map(([, ...numbers]) => numbers.map(Number));
    expect(checks.map(([loss]) => loss)).toEqual([curve[0], curve[49]]);
    for (const [, ofHidden, ofWeight] of checks) expect(Math.max(ofHidden!, ofWeight!)).toBeLessThan(1e-5);
  });
});
