/** Programs that use the package as others do: in a process of their own, by its name. */
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';

export const ROOT = join(import.meta.dirname, '..', '..');

export function runNode(code: string, { env = {}, type = 'module' }: { env?: NodeJS.ProcessEnv; type?: string } = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [`--input-type=${type}`, '--eval', code], {
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  return { status, stdout, stderr };
}

/** What the program printed as JSON. */
export function resultOf<T>(code: string, options: Parameters<typeof runNode>[1] = {}): T {
  const { status, stdout, stderr } = runNode(code, options);
  if (status !== 0) throw new Error(`the program ended with ${status}:\n${stderr}`);
  return JSON.parse(stdout) as T;
}

export function npm(...args: string[]): string {
  return execFileSync('npm', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}
