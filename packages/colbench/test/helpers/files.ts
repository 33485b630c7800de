/** Files of a test in a folder that is removed after it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { afterAll } from 'vitest';

/** The folder of the package. */
export const PACKAGE = fileURLToPath(new URL('../../', import.meta.url));

export function testFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `colbench-${name}-`));
  afterAll(() => rmSync(folder, { recursive: true }));
  return folder;
}

export function writeLines(file: string, records: readonly unknown[]): string {
  writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  return file;
}

// biome-ignore lint/suspicious/noExplicitAny: records of tests are read as they come
export function linesOf(file: string): any[] {
  const bytes = readFileSync(file);
  const text = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8').trim();
  return text === '' ? [] : text.split('\n').map((line) => JSON.parse(line));
}
