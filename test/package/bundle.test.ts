/** What the guide says about bundlers, with esbuild. */
import { execFileSync } from 'node:child_process';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { afterAll, describe, expect, it } from 'vitest';
import { installedProject } from '../helpers/installed.ts';

const project = installedProject({ addon: true });
afterAll(project.remove);

const PROGRAM = (entry: string) => `
  import { turnAdvantages } from '${entry}';
  const [logps, refLogps, turnOffsets] = [Float32Array.of(-1, -2, -3), Float32Array.of(-2, -2, -4), Int32Array.of(0, 2, 3)];
  console.log(...turnAdvantages({ logps, refLogps, turnOffsets }));`;

async function bundle(entry: string, options: BuildOptions): Promise<string> {
  const { folder } = project;
  writeFileSync(join(folder, 'main.js'), PROGRAM(entry));
  await build({
    entryPoints: ['main.js'],
    absWorkingDir: folder,
    bundle: true,
    platform: 'node',
    logLevel: 'silent',
    ...options,
  });
  return execFileSync(process.execPath, [join(folder, options.outfile ?? join(options.outdir!, 'main.js'))], {
    cwd: '/',
    encoding: 'utf8',
  });
}

describe('esbuild', () => {
  it.each(['cjs', 'esm'] as const)('leaves an external package alone: %s', async (format) => {
    const outfile = join('out', format === 'cjs' ? 'main.cjs' : 'main.mjs');
    expect(await bundle('sweet-rl', { format, external: ['sweet-rl'], outfile })).toBe('0.5 1\n');
  });

  it('bundles the static entry and copies the addon: nothing of node_modules is needed then', async () => {
    const options: BuildOptions = { format: 'cjs', outdir: 'static', loader: { '.node': 'copy' } };
    expect(await bundle('sweet-rl/static', options)).toBe('0.5 1\n');
    const files = readdirSync(join(project.folder, 'static'));
    expect(files.filter((name) => name.endsWith('.node'))).toHaveLength(1);
    rmSync(join(project.folder, 'node_modules'), { recursive: true });
    const again = execFileSync(process.execPath, ['main.js'], {
      cwd: join(project.folder, 'static'),
      encoding: 'utf8',
    });
    expect(again).toBe('0.5 1\n');
  });
});
