/** One folder for what all test files write, removed after the last of them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'colbench-test-'));
  process.env.COLBENCH_TEST_FOLDER = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
