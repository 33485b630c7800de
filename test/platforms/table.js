// docs/platforms.json, and the tables that README.md and docs/guide/install.md have of it.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { faultsOfAddon } from '../../scripts/check-symbols.js';
import { PLATFORMS } from '../../scripts/platforms.js';

const PAGES = ['README.md', 'docs/guide/install.md'];
const BEGIN = '<!-- npm run test:platforms -- --table -->';
const END = '<!-- end of the table -->';

const recordOf = (root, name) => join(root, 'build', 'platforms', `${name}.json`);
const binaryOf = (root, name) => join(root, 'prebuilds', PLATFORMS[name].file);
const sha256 = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** Keeps what the tests on a platform told, for the table. */
export function record(root, name, answer) {
  const text = JSON.stringify({ ...answer, binary: sha256(binaryOf(root, name)) }, null, 2);
  writeFileSync(recordOf(root, name), `${text}\n`);
}

export function writeTable(root) {
  const measured = Object.fromEntries(Object.keys(PLATFORMS).map((name) => [name, rowOf(root, name)]));
  writeFileSync(join(root, 'docs', 'platforms.json'), `${JSON.stringify(measured, null, 2)}\n`);
  for (const page of PAGES) {
    const text = readFileSync(join(root, page), 'utf8');
    writeFileSync(join(root, page), text.replace(tableIn(text), tableOf(measured)));
  }
}

function rowOf(root, name) {
  const path = binaryOf(root, name);
  if (!existsSync(path)) return {};
  const faults = faultsOfAddon(path);
  if (faults.length > 0) throw new Error(`${path} ${faults.join(', ')}`);
  const sizes = { bytes: statSync(path).size, gzipped: gzipSync(readFileSync(path)).length };
  if (!existsSync(recordOf(root, name))) return sizes;
  const { binary, backends, how, tests, compared } = JSON.parse(readFileSync(recordOf(root, name), 'utf8'));
  return binary === sha256(path) ? { ...sizes, run: { how, backends: backends.join(' '), tests, compared } } : sizes;
}

/** The table of a page, with its marks. */
export function tableIn(text) {
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`There are no "${BEGIN}" and "${END}"`);
  return text.slice(begin, end + END.length);
}

export function tableOf(measured) {
  const kilobytes = (bytes) => `${(bytes / 1000).toFixed(0)} kB`;
  const rows = Object.entries(measured).map(([name, { bytes, gzipped, run }]) => [
    name,
    bytes === undefined ? 'not built in this run' : `${kilobytes(bytes)} (${kilobytes(gzipped)} gzipped)`,
    run?.how ?? 'not executed',
    run === undefined ? '-' : `${run.tests} passed, ${run.backends}`,
    run === undefined ? '-' : run.compared === 0 ? 'the reference' : `${run.compared} of ${run.compared} equal`,
  ]);
  const head = ['platform', 'binary', 'executed by', 'tests', 'bits of results'];
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((row) => row[i].length)));
  const line = (cells) => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  return [
    BEGIN,
    '',
    line(head),
    `| ${widths.map((n) => '-'.repeat(n)).join(' | ')} |`,
    ...rows.map(line),
    '',
    END,
  ].join('\n');
}
