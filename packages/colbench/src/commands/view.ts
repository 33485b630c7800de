/** `view`: one static page of a run or of JSONL files. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { FileReplacement } from 'sweet-rl/safetensors';
import { readRecords } from '../benchmark/records.js';
import type { Command, CommandInput } from '../command.js';
import { UsageError } from '../errors.js';
import { Progress } from '../progress.js';
import { checkInput, Values } from '../values.js';
import { page, type Shown } from '../view/page.js';
import { type Pictures, pagesOf } from '../view/pictures.js';
import { jsonFile } from './endpoints.js';
import { rendererOf } from './frontend.js';
import { Faults, mapConcurrently } from './shared.js';

const usage = `colbench view RUN|FILE... --out FILE.html [--records N] [--without-pictures]
  One HTML page without scripts of a run's folder, or of JSONL files: the table of the methods, the curves of the training,
  dialogues, candidates with their scores, pairs. Pages of frontend tasks are rendered and shown side by side.

  --records N                of each file (50)
  --without-pictures         shows the pages of frontend tasks as text; Chromium is not needed
  --chromium FILE            Debian's Chromium
  --page-seconds N           of one page (20)
`;

export const command: Command = {
  name: 'view',
  summary: 'a page of dialogues, candidates, pairs and curves',
  usage,
  options: {
    ...{ out: { type: 'string' }, records: { type: 'string' }, 'without-pictures': { type: 'boolean' } },
    ...{ chromium: { type: 'string' }, 'page-seconds': { type: 'string' } },
  },
  run: writePage,
};

const isRecords = (name: string) => /\.jsonl(\.gz)?$/.test(name);

/** The JSONL files of a folder and its subfolders, in order. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? filesIn(path) : isRecords(entry.name) ? [path] : [];
    });
}

async function writePage({
  positionals,
  values: given,
  progress,
  signal,
}: CommandInput): Promise<Record<string, unknown>> {
  const values = new Values('view', given);
  const out = values.outFile();
  const limit = values.number('records', 50, 1, 1e6);
  const [first] = positionals;
  if (first === undefined) throw new UsageError('view needs the folder of a run, or files');
  const isFolder = (path: string) => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  for (const path of positionals) checkInput(path, 'RUN|FILE', isFolder(path) ? 'folder' : 'file');
  const base = isFolder(first) ? first : '.';
  const files = positionals.flatMap((path) => (isFolder(path) ? filesIn(path) : [path]));
  const tableFile = join(base, 'table.json');
  const rows = existsSync(tableFile) ? jsonFile(tableFile, 'table.json') : [];
  const isRow = (row: unknown): row is Record<string, unknown> => typeof row === 'object' && row !== null;
  if (!Array.isArray(rows) || !rows.every(isRow)) throw new UsageError(`Expected a list of objects in ${tableFile}`);

  const faults = new Faults(progress);
  const shown: Shown[] = [];
  for (const file of files) {
    const records: Record<string, unknown>[] = [];
    let total = 0;
    // Curves need all lines.
    const most = file.endsWith('metrics.jsonl') ? Number.POSITIVE_INFINITY : limit;
    const check = (value: unknown) => value as Record<string, unknown>;
    for await (const { record } of readRecords(file, check, { onFault: faults.report })) {
      total += 1;
      if (records.length < most && typeof record === 'object' && record !== null) records.push(record);
    }
    shown.push({ name: relative(base, file), records, total });
  }
  const pages = new Set(shown.flatMap(({ records }) => records.flatMap(pagesOf)));
  const pictures = values.flag('without-pictures') ? new Map() : await picturesOf([...pages], values, progress, signal);
  const target = new FileReplacement(out);
  try {
    target.append(page(first, rows, shown, pictures));
    target.commit();
  } finally {
    target.discard();
  }
  return faults.checked({
    page: out,
    files: files.length,
    records: shown.reduce((sum, { records }) => sum + records.length, 0),
    ...(pages.size > 0 && { pictures: [...pictures.values()].filter((each) => 'png' in each).length }),
  });
}

/** Pages rendered at once. */
const atOnce = 2;

async function picturesOf(
  pages: readonly string[],
  values: Values,
  progress: NodeJS.WriteStream,
  signal: AbortSignal,
): Promise<Pictures> {
  const pictures = new Map();
  if (pages.length === 0) return pictures;
  const renderer = await rendererOf(values, atOnce).catch((error: Error) => {
    error.message += '; --without-pictures shows the pages as text';
    throw error;
  });
  try {
    const bar = new Progress('Pages', progress);
    const rendered = mapConcurrently(
      pages,
      atOnce,
      async (html) => [html, await renderer.render(html, signal)] as const,
    );
    for await (const [html, picture] of rendered) {
      pictures.set(html, picture);
      bar.update(pictures.size, pages.length);
    }
    bar.finish('done');
  } finally {
    await renderer.close();
  }
  return pictures;
}
