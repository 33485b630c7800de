/** The output of a demo run: tables on the terminal, report.json and curves.svg. */
import { mkdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { backends, threads } from 'sweet-rl';
import { writeAtomically } from './cache.js';
import { drawChart } from './chart.js';
import { splitKinds } from './dialogue.js';

const percent = (share) => (100 * share).toFixed(1);
const interval = ({ mean, low, high }) => `${percent(mean).padStart(5)}  [${percent(low)}\u2013${percent(high)}]`;

function table(head, rows) {
  const lines = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  const text = (line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('   ')
      .trimEnd();
  return [text(head), '\u2500'.repeat(widths.reduce((sum, width) => sum + width + 3, -3)), ...rows.map(text)].join(
    '\n',
  );
}

function scoreTable(scores) {
  const agents = Object.entries(scores);
  const [, { sampled, greedy }] = agents[0];
  return table(
    [
      '%, with 95 % intervals',
      `sampled (${sampled.success.count}): success`,
      'tests passed',
      `greedy (${greedy.success.count}): success`,
      'tests passed',
    ],
    agents.map(([name, score]) => [
      name,
      ...[score.sampled, score.greedy].flatMap(({ success, tests }) => [interval(success), interval(tests)]),
    ]),
  );
}

function behaviourTable(scores) {
  const head = [
    '% of the questions',
    'useful',
    'attribute absent',
    'repeated',
    'small talk',
    'unclear',
    'all known',
    'then right',
  ];
  const rows = Object.entries(scores).flatMap(([name, score]) =>
    ['sampled', 'greedy'].map((way) => {
      const { useful, absent, repeated, smallTalk, unclear, allKnown, rightWhenAllKnown } = score[way].behaviour;
      const shares = [useful, absent, repeated, smallTalk, unclear, allKnown, rightWhenAllKnown];
      return [`${name}, ${way}`, ...shares.map((share) => percent(share).padStart(5))];
    }),
  );
  return table(head, rows);
}

/** Columns of success over temperature, from sampled to greedy. */
export const temperatureHead = ({ cooler }) => ['1', ...Object.keys(cooler), 'greedy'];

/** Success over temperature. */
export const temperatureRow = ({ sampled, cooler, greedy }) =>
  [sampled.success, ...Object.values(cooler), greedy.success].map(({ mean }) => mean);

const temperatureTable = (scores) =>
  table(
    ['success, %: temperature', ...temperatureHead(Object.values(scores)[0])],
    Object.entries(scores).map(([name, score]) => [
      name,
      ...temperatureRow(score).map((mean) => percent(mean).padStart(5)),
    ]),
  );

const kindNames = {
  useful: 'useful',
  absent: 'absent',
  repeatedUseful: 'repeated (of the function)',
  repeatedHint: 'repeated (of the statement)',
  repeatedAbsent: 'repeated (absent)',
  smallTalk: 'small talk',
  unclear: 'no topic',
};

/** All pairs of two kinds of questions, with their name in tables. */
export const kindPairs = splitKinds.flatMap((kind, i) =>
  splitKinds.slice(i + 1).map((other) => ({ kind, other, name: `${kindNames[kind]} over ${kindNames[other]}` })),
);

/** Pairs of kinds that are rarer are left out of the demo's table. */
const leastPairs = 100;

/** How often a critic scores a question of one kind above one of another kind in the same state. */
function orderTable(diagnoses) {
  const critics = Object.entries(diagnoses);
  const rows = kindPairs
    .map(({ kind, other, name }) => ({ name, cells: critics.map(([, { order }]) => order[kind][other]) }))
    .filter(({ cells }) => cells.some(({ count }) => count >= leastPairs));
  return table(
    ['% in this order', ...critics.map(([name]) => `critic of ${name}`), 'pairs'],
    rows.map(({ name, cells }) => [
      name,
      ...cells.map(({ share }) => percent(share).padStart(5)),
      String(cells[0].count).padStart(6),
    ]),
  );
}

/** The candidates of one turn that the critic of a method scores highest and lowest. */
function exampleText(name, { program, dialogue, ranked }) {
  const shown = ranked.length > 6 ? [...ranked.slice(0, 3), ...ranked.slice(-3)] : ranked;
  const lines = shown.map(
    ([action, score]) => `  ${`${score < 0 ? '\u2212' : '+'}${Math.abs(score).toFixed(2)}`.padEnd(7)}${action}?`,
  );
  return `The critic of ${name} at one turn. Hidden function: ${program}
  So far: ${dialogue.join(' ')}
${lines.join('\n')}`;
}

/** Wall-clock time of all stages, including those of an earlier run, and the time inside sweet-rl. */
function sumTimings(timings) {
  const sum = (key) => timings.reduce((total, timing) => total + timing[key], 0);
  const seconds = sum('seconds');
  const nativeSeconds = sum('nativeSeconds');
  return { seconds, nativeSeconds, nativeCalls: sum('nativeCalls'), nativeShare: nativeSeconds / seconds };
}

/**
 * @param {string} folder
 * @param {object} run
 * @param {number} run.seed
 * @param {object} run.settings
 * @param {import('./methods.js').Method} run.method
 * @param {Record<string, Record<'sampled' | 'greedy', import('./stages/evaluate.js').Score>>} run.scores
 * @param {Record<string, Record<'critic' | 'policy', { loss: number, accuracy: number }[]>>} run.curves
 * @param {Record<string, { program: string, dialogue: string[], ranked: [string, number][] }>} run.examples
 * @param {Record<string, import('./stages/ranking.js').Diagnosis>} run.diagnoses
 * @param {import('./pipeline.js').Timing[]} run.timings
 */
export function writeReport(folder, run) {
  const time = sumTimings(run.timings);
  const backend = backends().find(({ active }) => active)?.name;
  const report = { ...run, time: { ...time, backend, threads: threads() } };
  const files = { 'report.json': `${JSON.stringify(report, null, 2)}\n`, 'curves.svg': drawChart(run) };
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeAtomically(join(folder, name), text);

  const place = relative(process.cwd(), folder) || '.';
  console.log(`
Seed ${run.seed}, on test tasks with unseen functions

${scoreTable(run.scores)}

${temperatureTable(run.scores)}

${behaviourTable(run.scores)}

${orderTable(run.diagnoses)}

${Object.entries(run.examples)
  .map(([name, example]) => exampleText(name, example))
  .join('\n\n')}

Time ${time.seconds.toFixed(1)} s, of it in sweet-rl ${time.nativeSeconds.toFixed(2)} s \
(${percent(time.nativeShare)} %, ${time.nativeCalls} calls, ${backend})
Written: ${join(place, 'report.json')}, ${join(place, 'curves.svg')}`);
}
