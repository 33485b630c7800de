// npm run bench [-- --filter=text] [--quick] [--out=folder] [--tables]
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { backends, setThreads, threads, useBackend } from 'sweet-rl';
import { chart } from './chart.js';
import { writeCostTables } from './cost-tables.js';
import { format, relativeCost, summarize, timeRounds } from './harness.js';
import { description } from './machine.js';

const { values: options } = parseArgs({
  options: {
    filter: { type: 'string', default: '' },
    quick: { type: 'boolean', default: false },
    out: { type: 'string', default: 'bench/results' },
    tables: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (options.help) {
  console.log(`npm run bench -- [--filter=text] [--quick] [--out=folder] [--tables]

  --filter  only files whose name contains this text or, if there is none, cases whose description does
  --quick   fewer rows, fewer shapes, fewer rounds
  --out     where results.json and benchmark.svg go (bench/results)
  --tables  write the tables of costs in docs/guide; --filter=costs measures what they need`);
  process.exit(0);
}

const machine = description();
const maxThreads = threads();
const backend = backends().find(({ active }) => active).name;
console.log(`${machine.cpu}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}, ${machine.date}`);

const context = {
  quick: options.quick,
  backend,
  threadCounts: maxThreads > 1 ? [1, maxThreads] : [1],
  report: (line) => console.log(`  ${line}`),
};
const describe = ({ op, rows, width, vocab, dtype, backend, threads }) =>
  [
    op,
    rows && [rows, width, vocab].filter(Boolean).join(' x '),
    dtype,
    backend,
    `${threads} thread${threads > 1 ? 's' : ''}`,
  ]
    .filter(Boolean)
    .join(', ');

const NAME_WIDTH = 44;
const results = [];
const allFiles = readdirSync(new URL('.', import.meta.url)).filter((name) => name.endsWith('.bench.js'));
const namedFiles = allFiles.filter((name) => name.includes(options.filter));
const files = namedFiles.length > 0 ? namedFiles : allFiles;
for (const [i, file] of files.entries()) {
  const { cases } = await import(`./${file}`);
  for await (const { implementations, roofline, work, memory, costs, ...shape } of cases(context)) {
    const title = describe(shape);
    if (namedFiles.length === 0 && !title.includes(options.filter)) continue;
    console.log(`\n[${i + 1}/${files.length}] ${title}`);
    for (const [name, bytes] of Object.entries(memory ?? {})) {
      const row = { mebibytes: Math.round(bytes() / 2 ** 20) };
      results.push({ ...shape, name, ...row });
      console.log(`  ${name.padEnd(NAME_WIDTH)} ${row.mebibytes} MiB`);
    }
    if (memory) continue;
    useBackend(shape.backend);
    setThreads(shape.threads);
    const timed = roofline === undefined ? implementations : { roofline, ...implementations };
    const times = await timeRounds(timed, options.quick ? 3 : 7);
    for (const [name, list] of Object.entries(times)) {
      const row = summarize(list, work, name === 'roofline' ? undefined : times.roofline);
      if (costs) Object.assign(row, relativeCost(name, times, costs));
      results.push({ ...shape, name, ...row });
      console.log(`  ${name.padEnd(NAME_WIDTH)} ${format(row)}`);
    }
  }
}

mkdirSync(options.out, { recursive: true });
writeFileSync(`${options.out}/results.json`, `${JSON.stringify({ machine, results }, null, 1)}\n`);
if (results.some(({ op }) => op === 'logits -> gradient'))
  writeFileSync(`${options.out}/benchmark.svg`, chart({ machine, results }));
if (options.tables) writeCostTables({ machine, results });
console.log(`\nWritten to ${options.out}`);
