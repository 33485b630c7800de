/** `import 'sweet-rl'` in a bundle for browsers gives WebAssembly: examples/browser in Chromium, by esbuild and by Vite. */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { build as vite } from 'vite';
import { afterAll, expect, it } from 'vitest';
import { installedProject } from '../helpers/installed.ts';
import { ROOT } from '../helpers/processes.ts';

const project = installedProject({ addon: false });
cpSync(join(ROOT, 'examples', 'browser'), project.folder, { recursive: true });
const profile = mkdtempSync(join(tmpdir(), 'sweet-rl-chromium-'));

const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript' };
const server = createServer((request, response) => {
  try {
    const file = readFileSync(join(project.folder, request.url ?? ''));
    response.writeHead(200, { 'content-type': TYPES[extname(request.url ?? '')] }).end(file);
  } catch {
    response.writeHead(404).end();
  }
}).listen(0, '127.0.0.1');

afterAll(() => {
  server.close();
  project.remove();
  rmSync(profile, { recursive: true, force: true });
});

/** The page after its scripts have run. */
async function pageAt(path: string): Promise<string> {
  const { port } = server.address() as AddressInfo;
  const flags = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--virtual-time-budget=10000',
    `--user-data-dir=${profile}`,
  ];
  const args = [...flags, '--dump-dom', `http://127.0.0.1:${port}/${path}`];
  const { stdout } = await promisify(execFile)('chromium', args, { timeout: 120_000 });
  return stdout;
}

function expectTrained(page: string): void {
  const output = (id: string) => page.match(new RegExp(`id="${id}">([^<]*)<`))?.[1];
  const points = page.match(/points="([^"]*)"/)?.[1]?.split(' ') ?? [];
  const heights = points.map((point) => Number(point.split(',')[1]));
  expect(output('backend')).toBe('wasm');
  expect(output('first')).toBe('0.6478'); // as in the README
  expect(Number(output('last'))).toBeLessThan(0.3);
  expect(heights).toHaveLength(60);
  expect(heights.every((height, i) => i === 0 || height >= (heights[i - 1] as number))).toBe(true); // the loss falls
}

it('esbuild', async () => {
  await build({
    absWorkingDir: project.folder,
    entryPoints: ['main.js'],
    bundle: true,
    format: 'esm',
    outfile: 'esbuild/main.js',
    logLevel: 'silent',
  });
  cpSync(join(project.folder, 'index.html'), join(project.folder, 'esbuild', 'index.html'));
  expectTrained(await pageAt('esbuild/index.html'));
});

it('Vite', async () => {
  await vite({ root: project.folder, base: './', configFile: false, logLevel: 'silent', build: { outDir: 'vite' } });
  expectTrained(await pageAt('vite/index.html'));
});

it('no bundler: the module of the package itself', async () => {
  const html = readFileSync(join(project.folder, 'index.html'), 'utf8');
  const map = '<script type="importmap">{"imports":{"sweet-rl":"./node_modules/sweet-rl/dist-wasm/index.js"}}</script>';
  writeFileSync(join(project.folder, 'plain.html'), html.replace('<body>', `${map}<body>`));
  expectTrained(await pageAt('plain.html'));
});
