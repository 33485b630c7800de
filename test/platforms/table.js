// docs/platforms.json, and the tables that README.md and docs/guide/install.md have of it.
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { faultsOfAddon } from '../../scripts/check-symbols.js';
import { PLATFORMS } from '../../scripts/platforms.js';

const PAGES = ['README.md', 'docs/guide/install.md'];
const BEGIN = '<!-- npm run test:platforms -- --table -->';
const END = '<!-- end of the table -->';

/** `answers`: what the tests on a platform told, where they ran. */
export function writeTable(root, answers) {
  const rows = Object.entries(PLATFORMS).map(([name, { file }]) => {
    const path = join(root, 'prebuilds', file);
    if (!existsSync(path)) throw new Error(`No prebuilt binary: npm run build:prebuilds -- ${name}`);
    const faults = faultsOfAddon(path);
    if (faults.length > 0) throw new Error(`${file} ${faults.join(', ')}`);
    const sizes = { bytes: statSync(path).size, gzipped: gzipSync(readFileSync(path)).length };
    const answer = answers[name];
    const run = answer && { ...answer, backends: answer.backends.join(' ') };
    return [name, { ...sizes, ...(run && { run }) }];
  });
  const measured = Object.fromEntries(rows);
  writeFileSync(join(root, 'docs', 'platforms.json'), `${JSON.stringify(measured, null, 2)}\n`);
  for (const page of PAGES) {
    const text = readFileSync(join(root, page), 'utf8');
    writeFileSync(join(root, page), text.replace(tableIn(text), tableOf(measured)));
  }
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
    `${kilobytes(bytes)} (${kilobytes(gzipped)} gzipped)`,
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
