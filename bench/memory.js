// The memory that a call takes beyond its inputs and outputs: the rise of the resident memory of a new process during the
// call, after all inputs and outputs have been written.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const FIELDS = ['op', 'rows', 'width', 'vocab', 'backend', 'threads'];

/** Bytes; undefined where the system has no /proc. */
export function extraMemory(shape) {
  const args = FIELDS.map((field) => String(shape[field]));
  const { stdout } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...args], { encoding: 'utf8' });
  return stdout ? Number(stdout) : undefined;
}

async function measure([op, ...args]) {
  const { linearLogps, linearLogpsBackward, setThreads, useBackend } = await import('sweet-rl');
  const { labelsOf, linearHeadOf } = await import('./data.js');
  const [rows, width, vocab] = args.slice(0, 3).map(Number);
  useBackend(args[3]);
  setThreads(Number(args[4]));
  const input = { ...linearHeadOf(rows, width, vocab, 'float32'), labels: labelsOf(rows, vocab) };
  const rest = { lse: new Float32Array(rows).fill(Math.log(vocab)), gradLogps: new Float32Array(rows).fill(1e-3) };
  const outputs = op === 'linearLogps' ? [2, 1] : [rows * width, vocab * width];
  const [first, second] = outputs.map((size, i) => new Float32Array(op === 'linearLogps' ? rows : size).fill(i));
  const resident = (field) => 1024 * Number(readFileSync('/proc/self/status', 'utf8').match(`${field}:\\s+(\\d+)`)[1]);
  writeFileSync('/proc/self/clear_refs', '5'); // resets VmHWM
  const before = resident('VmRSS');
  if (op === 'linearLogps') linearLogps({ ...input, out: { logps: first, lse: second } });
  else linearLogpsBackward({ ...input, ...rest, out: { gradHidden: first, gradWeight: second } });
  console.log(resident('VmHWM') - before);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await measure(process.argv.slice(2));
