/** A call that cannot allocate its working memory throws ERR_MEMORY and leaves its results as they were. */
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { resultOf } from '../helpers/processes.ts';

/** Linear heads, whose passes need more working memory one after the other: the backward pass 23 MB, the forward pass 4 MB. */
const PROGRAM = `
  import { execFileSync } from 'node:child_process';
  import { readFileSync } from 'node:fs';
  import * as sweetRl from 'sweet-rl';
  sweetRl.setThreads(1);
  sweetRl.useBackend('portable');
  const [N, V, H] = [512, 4096, 512];
  const head = { hidden: new Float32Array(N * H).fill(0.1), weight: new Float32Array(V * H).fill(0.1) };
  const labels = Int32Array.from({ length: N }, (_, i) => i);
  const floats = (length) => new Float32Array(length).fill(7);
  const gradients = () => ({ gradHidden: floats(N * H), gradWeight: floats(V * H) });
  const turns = { turnOffsets: Int32Array.of(0, 200, 512), chosen: Int32Array.of(0), rejected: Int32Array.of(1) };
  const update = () => ({ ...head, ...turns, labels, refLogps: new Float32Array(N).fill(-8),
    out: { logps: floats(N), pairLosses: floats(1), margins: floats(1), ...gradients() } });
  const calls = {
    policyUpdate: update(),
    criticUpdate: { ...update(), trajectoryOffsets: Int32Array.of(0, 1, 2) },
    linearLogpsBackward: { ...head, labels, lse: floats(N), gradLogps: floats(N), out: gradients() },
  };
  const bytes = 1024 * Number(/^VmSize:\\s+(\\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))[1]);
  execFileSync('prlimit', ['--pid', process.pid, '--as=' + (bytes + 12e6)]);
  const found = {};
  for (const [name, options] of Object.entries(calls)) {
    try {
      sweetRl[name](options);
      found[name] = 'no error';
    } catch ({ code, message }) {
      const written = Object.entries(options.out).filter(([, array]) => array.some((x) => x !== 7)).map(([key]) => key);
      found[name] = [code ?? message, ...written];
    }
  }
  console.log(JSON.stringify(found));`;

describe.runIf(spawnSync('prlimit', ['--version']).status === 0)('without memory for the backward pass', () => {
  it('nothing is written', () => {
    expect(resultOf(PROGRAM)).toEqual({
      policyUpdate: ['ERR_MEMORY'],
      criticUpdate: ['ERR_MEMORY'],
      linearLogpsBackward: ['ERR_MEMORY'],
    });
  });
});
