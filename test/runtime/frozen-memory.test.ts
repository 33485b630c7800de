/** With frozenWeight, no memory of the size of the weight is touched: the peak of the resident memory of a process shows it. */
import { describe, expect, it } from 'vitest';
import { resultOf } from '../helpers/processes.ts';

/**
 * Prints by how many bytes each call raises the peak. The peak may lie above the present size, from an earlier call or from the
 * process that forked this one; arrays that fill the difference let every new page raise it.
 */
const PROGRAM = `
  import * as sweetRl from 'sweet-rl';
  sweetRl.setThreads(2);
  const [N, H, V] = [16, 256, 65_536];
  const head = { hidden: new Float32Array(N * H).fill(0.1), weight: new Float32Array(V * H).fill(0.1), hiddenSize: H };
  const labels = Int32Array.from({ length: N }, (_, i) => i);
  const gradients = new Float32Array(N).fill(0.1);
  const backward = { ...head, labels, lse: sweetRl.linearLogps({ ...head, labels }).lse, gradLogps: gradients };
  const turns = { turnOffsets: Int32Array.of(0, 8, 16), chosen: Int32Array.of(0), rejected: Int32Array.of(1) };
  const policy = { ...head, labels, refLogps: new Float32Array(N).fill(-8), ...turns };
  const teacher = { teacherHidden: new Float32Array(N).fill(1), teacherWeight: new Float32Array(V).fill(1) };
  const divergence = { ...head, ...teacher, divergence: 'forward_kl' };
  const { saved } = sweetRl.linearDivergence(divergence);
  const calls = {
    linearLogpsBackward: backward,
    policyUpdate: policy,
    criticUpdate: { ...policy, trajectoryOffsets: Int32Array.of(0, 1, 2) },
    linearDivergenceBackward: { ...divergence, saved, gradDivergence: gradients },
  };
  const STEP = 2 ** 21;
  const peak = () => 1024 * process.resourceUsage().maxRSS;
  const kept = []; // results as well, so that no collection of garbage lowers the size during a call
  const growth = (call) => {
    while (process.memoryUsage.rss() < peak() - STEP) kept.push(new Uint8Array(STEP).fill(1));
    const before = peak();
    kept.push(call());
    return peak() - before;
  };
  const found = {};
  for (const [name, options] of Object.entries(calls)) {
    const bytes = (frozenWeight) => growth(() => sweetRl[name]({ ...options, frozenWeight }));
    found[name] = { frozen: bytes(true) / (4 * V * H), trained: bytes(false) / (4 * V * H) };
  }
  console.log(JSON.stringify(found));`;

describe('the peak of the memory in units of a weight', () => {
  const growths = resultOf<Record<string, { frozen: number; trained: number }>>(PROGRAM);

  it.each(Object.entries(growths))('%s', (_, { frozen, trained }) => {
    expect(frozen).toBeLessThan(0.25);
    expect(trained).toBeGreaterThan(0.9);
  });
});
