/** Files that are replaced at once: by several writers, in a folder of others, by a process that is killed. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { FileReplacement, readSafetensors, writeSafetensors } from 'sweet-rl/safetensors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ROOT } from '../helpers/processes.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sweet-rl-files-'));
  path = join(folder, 'file');
});
afterEach(() => rmSync(folder, { recursive: true }));

const MODULE = pathToFileURL(join(ROOT, 'dist', 'io', 'safetensors.js')).href;
const partialsOf = (where = folder) => readdirSync(where).filter((name) => name.endsWith('.partial'));
const write = (to: string, text: string) => {
  const file = new FileReplacement(to);
  file.append(text);
  file.commit();
};

describe('FileReplacement', () => {
  it('has the old content until it is committed, and the new one from then on', () => {
    write(path, 'old');
    const file = new FileReplacement(pathToFileURL(path));
    file.append('new, \u00e9');
    file.append(Uint8Array.of(0x21));
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(partialsOf()).toHaveLength(1);
    file.commit();
    file.discard();
    expect(readFileSync(path, 'utf8')).toBe('new, \u00e9!');
    expect(readdirSync(folder)).toEqual(['file']);
    expect(() => file.append('more')).toThrow(expect.objectContaining({ code: 'ERR_FILE' }));
    expect(() => file.commit()).toThrow(expect.objectContaining({ code: 'ERR_FILE' }));
  });

  it('refuses what are no bytes', () => {
    const file = new FileReplacement(path);
    for (const wrong of [Float32Array.of(1, 2), 5, {}, new ArrayBuffer(3), null]) {
      expect(() => file.append(wrong as never)).toThrow(expect.objectContaining({ code: 'ERR_ARG_TYPE' }));
    }
    file.commit();
    expect(readFileSync(path)).toHaveLength(0);
  });

  it('leaves nothing when it is discarded', () => {
    write(path, 'old');
    const file = new FileReplacement(path);
    file.append('new');
    file.discard();
    file.discard();
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(folder)).toEqual(['file']);
  });

  it('keeps the permissions of the file, and gives a new one those of the umask', () => {
    write(path, '');
    expect(statSync(path).mode & 0o777).toBe(0o666 & ~process.umask());
    for (const mode of [0o600, 0o640, 0o666, 0o755]) {
      chmodSync(path, mode);
      write(path, String(mode));
      expect(statSync(path).mode & 0o777).toBe(mode);
      const file = new FileReplacement(path);
      expect(statSync(join(folder, partialsOf()[0]!)).mode & 0o777).toBe(0o600);
      file.discard();
    }
  });

  it('replaces a symbolic link, and refuses devices', () => {
    const other = join(folder, 'other');
    writeFileSync(other, 'other');
    symlinkSync(other, path);
    write(path, 'new');
    expect(lstatSync(path).isFile()).toBe(true);
    expect(readFileSync(other, 'utf8')).toBe('other');
    expect(() => new FileReplacement('/dev/null')).toThrow(expect.objectContaining({ code: 'ERR_ARG_VALUE' }));
  });

  it('never has a name that can be planted: each is new, and one that exists is an error', () => {
    const names = new Set(
      Array.from({ length: 100 }, () => {
        const file = new FileReplacement(path);
        const [name] = partialsOf();
        file.discard();
        return name;
      }),
    );
    expect(names.size).toBe(100);
    // The same name again, now that of a link.
    const program = `
      import crypto from 'node:crypto';
      import { symlinkSync } from 'node:fs';
      import { syncBuiltinESMExports } from 'node:module';
      const bytes = Buffer.alloc(8, 7);
      crypto.randomBytes = () => bytes;
      syncBuiltinESMExports();
      const { FileReplacement } = await import(${JSON.stringify(MODULE)});
      const { readdirSync } = await import('node:fs');
      const file = new FileReplacement(process.argv[1] + '/file');
      const [name] = readdirSync(process.argv[1]);
      file.discard();
      symlinkSync('/etc/planted', process.argv[1] + '/' + name);
      try { new FileReplacement(process.argv[1] + '/file'); } catch (error) { console.log(error.code); }`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '--eval', program, folder], {
      encoding: 'utf8',
    });
    expect(stdout.trim()).toBe('EEXIST');
  });

  it('is on the disk before it gets its name, and its name before commit returns', () => {
    const preload = join(folder, 'trace.cjs');
    writeFileSync(
      preload,
      `const fs = require('node:fs');
      for (const name of ['writeSync', 'fsyncSync', 'renameSync']) {
        const original = fs[name];
        fs[name] = (...args) => {
          const what = typeof args[0] === 'number' ? (fs.fstatSync(args[0]).isDirectory() ? 'folder' : 'file') : '';
          if (what !== '' || name === 'renameSync') console.log(name, what);
          return original(...args);
        };
      }
      require('node:module').syncBuiltinESMExports();`,
    );
    const program = `
      const { writeSafetensors } = await import(${JSON.stringify(MODULE)});
      writeSafetensors(process.argv[1], { tensors: {} });`;
    const { stdout } = spawnSync(
      process.execPath,
      ['--require', preload, '--input-type=module', '--eval', program, path],
      { encoding: 'utf8' },
    );
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.trim())
        .slice(-4),
    ).toEqual(['writeSync file', 'fsyncSync file', 'renameSync', 'fsyncSync folder']);
  });

  it('removes what a killed process left, and nothing of a live one', async () => {
    const program = `
      const { FileReplacement } = await import(${JSON.stringify(MODULE)});
      const file = new FileReplacement(process.argv[1]);
      file.append('half');
      console.log('ready');
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', program, path], { stdio: 'pipe' });
    await once(child.stdout, 'data');
    const [partial] = partialsOf();
    write(path, 'another writer');
    expect(partialsOf()).toEqual([partial]);
    const ended = once(child, 'close');
    child.kill('SIGKILL');
    await ended;
    expect(partialsOf()).toEqual([partial]);
    const folderOfThatName = join(folder, `${partial!.slice(0, -24)}${'0'.repeat(16)}.partial`);
    mkdirSync(folderOfThatName);
    write(path, 'the next one');
    expect(partialsOf()).toEqual([folderOfThatName.slice(folder.length + 1)]);
  });

  it('removes what another machine left a day ago', () => {
    const [young, old] = ['0', '1'].map((digit) =>
      join(folder, `.0123abcd-${process.pid}-${digit.repeat(16)}.partial`),
    );
    for (const file of [young!, old!]) writeFileSync(file, '');
    const then = Date.now() / 1000 - 25 * 3600;
    utimesSync(old!, then, then);
    write(path, '');
    expect([young!, old!].map((file) => existsSync(file))).toEqual([true, false]);
  });
});

describe('writeSafetensors', () => {
  it('never shows a part of a file, while workers write it at once', async () => {
    const size = 1 << 16;
    const program = `
      const { workerData } = require('node:worker_threads');
      import(${JSON.stringify(MODULE)}).then(({ writeSafetensors }) => {
        for (let i = 0; i < 25; i++) {
          writeSafetensors(workerData.path, { tensors: { a: new Float32Array(${size}).fill(workerData.value) } });
        }
      });`;
    writeSafetensors(path, { tensors: { a: new Float32Array(size).fill(1) } });
    const workers = [1, 2, 3].map((value) => new Worker(program, { eval: true, workerData: { path, value } }));
    let running = workers.length;
    const failures: unknown[] = [];
    for (const worker of workers) {
      worker.on('error', (error) => failures.push(error));
      worker.on('exit', () => running--);
    }
    for (let reads = 0; running > 0 || reads === 0; reads++) {
      const { data } = readSafetensors(path).tensors.a!;
      expect(data.length).toBe(size);
      expect(new Set(data as Float32Array).size).toBe(1);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(failures).toEqual([]);
    expect(readdirSync(folder)).toEqual(['file']);
  });
});
