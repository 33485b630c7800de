// npm run bench [-- --filter=text] [--quick] [--out=folder]
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { backends, setThreads, threads, useBackend } from 'sweet-rl';
import { chart } from './chart.js';
import { compete, format, summarize } from './harness.js';
import { description } from './machine.js';
import { startPeers } from './peers.js';

const { values: options } = parseArgs({
  options: {
    filter: { type: 'string', default: '' },
    quick: { type: 'boolean', default: false },
    out: { type: 'string', default: 'bench/results' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (options.help) {
  console.log(`npm run bench -- [--filter=text] [--quick] [--out=folder]

  --filter  only cases whose file or description contains this text
  --quick   fewer rows, fewer shapes, fewer rounds
  --out     where results.json and benchmark.svg go (bench/results)`);
  process.exit(0);
}

const machine = description();
const all = threads();
const backend = backends().find(({ active }) => active).name;
console.log(`${machine.processor}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}, ${machine.date}`);

const context = {
  quick: options.quick,
  backend,
  threadCounts: all > 1 ? [1, all] : [1],
  report: (line) => console.log(`  ${line}`),
  peers: (input) => startPeers(input, context.report),
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

const results = [];
const files = readdirSync(new URL('.', import.meta.url)).filter((name) => name.endsWith('.bench.js'));
for (const [i, file] of files.entries()) {
  const { cases } = await import(`./${file}`);
  for await (const { contenders, limit, work, memory, ...shape } of cases(context)) {
    const title = describe(shape);
    if (!`${file} ${title}`.includes(options.filter)) continue;
    console.log(`\n[${i + 1}/${files.length}] ${title}`);
    for (const [name, bytes] of Object.entries(memory ?? {})) {
      const row = { mebibytes: Math.round(bytes() / 2 ** 20) };
      results.push({ ...shape, name, ...row });
      console.log(`  ${name.padEnd(28)} ${row.mebibytes} MiB`);
    }
    if (memory) continue;
    useBackend(shape.backend);
    setThreads(shape.threads);
    const running = limit === undefined ? contenders : { limit, ...contenders };
    const times = await compete(running, options.quick ? 3 : 7);
    for (const [name, list] of Object.entries(times)) {
      const row = summarize(list, work, name === 'limit' ? undefined : times.limit);
      results.push({ ...shape, name, ...row });
      console.log(`  ${name.padEnd(28)} ${format(row)}`);
    }
  }
}

mkdirSync(options.out, { recursive: true });
writeFileSync(`${options.out}/results.json`, `${JSON.stringify({ machine, results }, null, 1)}\n`);
const peers = results.filter(({ op }) => op === 'logits -> gradient');
if (peers.length > 0) writeFileSync(`${options.out}/benchmark.svg`, chart({ machine, results }));
console.log(`\nWritten to ${options.out}`);
