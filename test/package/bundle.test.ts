/** What the guide says about bundlers, with esbuild and Vite; test/install has the others. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { build as vite } from 'vite';
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

/** The error of a bundle that has no addon. */
function errorOf(file: string): string {
  const { status, stderr } = spawnSync(process.execPath, [file], { cwd: '/', encoding: 'utf8' });
  expect(status).toBe(1);
  return stderr;
}

const TWO_WAYS = [
  /code: 'ERR_ADDON'/,
  /serverExternalPackages: \['sweet-rl'\] in Next\.js, externals/,
  /sweet-rl\/static/,
];

describe('Vite', () => {
  const viteBuild = (external: string[], outDir: string, format: 'cjs' | 'es') => {
    writeFileSync(join(project.folder, 'main.js'), PROGRAM('sweet-rl'));
    return vite({
      root: project.folder,
      configFile: false,
      logLevel: 'silent',
      ssr: external.length > 0 ? { external } : { noExternal: true },
      build: { ssr: 'main.js', outDir, rollupOptions: { output: { format, entryFileNames: 'main.mjs' } } },
    });
  };

  it('leaves an external package alone', async () => {
    await viteBuild(['sweet-rl'], 'vite', 'es');
    const file = join(project.folder, 'vite', 'main.mjs');
    expect(execFileSync(process.execPath, [file], { cwd: '/', encoding: 'utf8' })).toBe('0.5 1\n');
  });

  it('names the two ways where it is bundled into an ES module, which has no __dirname', async () => {
    await viteBuild([], 'vite-bundled', 'es');
    const stderr = errorOf(join(project.folder, 'vite-bundled', 'main.mjs'));
    for (const part of TWO_WAYS) expect(stderr).toMatch(part);
  });
});

describe('esbuild', () => {
  it('names the two ways where the package is bundled, or its .node files are replaced by their names', async () => {
    await expect(bundle('sweet-rl', { format: 'cjs', outfile: join('bundled', 'main.cjs') })).rejects.toThrow();
    const named: BuildOptions = { format: 'cjs', outdir: 'named', loader: { '.node': 'file' } };
    await expect(bundle('sweet-rl/static', named)).rejects.toThrow();
    const errors = [join('bundled', 'main.cjs'), join('named', 'main.js')].map((file) =>
      errorOf(join(project.folder, file)),
    );
    for (const stderr of errors) for (const part of TWO_WAYS) expect(stderr).toMatch(part);
    expect(errors[1]).toMatch(/\[cause\]: Error: the bundler replaced the \.node file by .*\.node/);
  });

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
