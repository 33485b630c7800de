/** `view`: one static page of a run or of JSONL files. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { FileReplacement } from 'sweet-rl/safetensors';
import { readRecords } from '../benchmark/records.js';
import type { Command, CommandInput } from '../command.js';
import { UsageError } from '../errors.js';
import { checkInput, Values } from '../values.js';
import { page, type Shown } from '../view/page.js';
import { jsonFile } from './endpoints.js';
import { Faults } from './shared.js';

const usage = `colbench view RUN|FILE... --out FILE.html [--records N]
  One HTML page without scripts of a run's folder, or of JSONL files: the table of the methods, the curves of the training,
  dialogues, candidates with their scores, pairs.

  --records N                of each file (50)
`;

export const command: Command = {
  name: 'view',
  summary: 'a page of dialogues, candidates, pairs and curves',
  usage,
  options: { out: { type: 'string' }, records: { type: 'string' } },
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

async function writePage({ positionals, values: given, progress }: CommandInput): Promise<Record<string, unknown>> {
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
  const target = new FileReplacement(out);
  try {
    target.append(page(first, rows, shown));
    target.commit();
  } finally {
    target.discard();
  }
  return faults.checked({
    page: out,
    files: files.length,
    records: shown.reduce((sum, { records }) => sum + records.length, 0),
  });
}
