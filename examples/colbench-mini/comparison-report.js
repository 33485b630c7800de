/** What `--full` leaves behind: report.json, report.md and four pictures, and the main table on the terminal. */
import { mkdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { writeAtomically } from './cache.js';
import { advantagesChart, curvesChart, successChart, sweepChart } from './comparison-charts.js';
import { methods, oracles } from './methods.js';
import { settings } from './settings.js';
import { average, meanOverSeeds } from './statistics.js';
import { sweep, tried } from './tuned.js';

/** Table 2 of the paper, ColBench's backend programming with 8B: success in %. */
const paper = {
  'zero-shot': 22.4,
  'rejection fine-tuning': 28.2,
  'multi-turn DPO': 34.4,
  'SWEET-RL': 40.4,
  'value head': 36.2,
  'without c': 31.2,
  sum: 3.6,
};
const reference = 'SWEET-RL';
const ways = /** @type {const} */ (['sampled', 'greedy']);

const percent = (share) => (100 * share).toFixed(1);
const signed = (share) => `${share < 0 ? '\u2212' : '+'}${percent(Math.abs(share))}`;

/** @param {string[]} head @param {string[][]} rows */
const table = (head, rows) =>
  [head, head.map((_, i) => (i === 0 ? '---' : '---:')), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** A mean over seeds, with its interval where there is one. */
function estimate(values, show) {
  if (values.length === 1) return show(values[0]);
  const { mean, low, high } = meanOverSeeds(values);
  return `${show(mean)} [${show(low)}, ${show(high)}]`;
}

/** Success of a method in each run. */
const successes = (runs, name, way) => runs.map(({ scores }) => scores[name][way].success.mean);

/** By how much SWEET-RL is above a method, run by run on the same tasks. */
function leads(runs, name, way) {
  const values = successes(runs, name, way);
  return successes(runs, reference, way).map((value, i) => value - values[i]);
}

/** Success and, where SWEET-RL is there, its lead. */
export function summarize(names, runs) {
  return Object.fromEntries(
    names.map((name) => [
      name,
      Object.fromEntries(
        ways.map((way) => {
          const values = successes(runs, name, way);
          const ahead = names.includes(reference) && name !== reference ? leads(runs, name, way) : undefined;
          const several = runs.length > 1;
          return [
            way,
            {
              success: several ? meanOverSeeds(values) : { mean: values[0], count: 1 },
              ...(ahead && { sweetAhead: several ? meanOverSeeds(ahead) : { mean: ahead[0], count: 1 } }),
            },
          ];
        }),
      ),
    ]),
  );
}

function mainTable(names, runs) {
  const ahead = names.includes(reference);
  return table(
    [
      'success, %',
      ...ways,
      ...(ahead ? ways.map((way) => `SWEET-RL ahead, ${way}`) : []),
      'tests passed, sampled',
      'paper',
    ],
    names.map((name) => [
      name === reference ? `**${name}**` : name,
      ...ways.map((way) => estimate(successes(runs, name, way), percent)),
      ...(ahead ? ways.map((way) => (name === reference ? '' : estimate(leads(runs, name, way), signed))) : []),
      percent(average(runs.map(({ scores }) => scores[name].sampled.tests.mean))),
      paper[name]?.toFixed(1) ?? '',
    ]),
  );
}

const seedTable = (names, runs) =>
  table(
    ['success, %: sampled / greedy', ...runs.map(({ seed }) => `seed ${seed}`)],
    names.map((name) => [
      name,
      ...runs.map(({ scores }) => ways.map((way) => percent(scores[name][way].success.mean)).join(' / ')),
    ]),
  );

function criticTable(names, runs) {
  const critics = names.filter((name) => runs[0].diagnoses[name]);
  const [first] = critics;
  if (first === undefined) return '';
  const turns = runs[0].diagnoses[first].agreementByTurn;
  return table(
    [
      'agreement with the oracle, %',
      'all',
      ...turns.map((_, t) => `turn ${t + 1}`),
      'useful over absent',
      'useful over wasted',
      'absent over wasted',
      'pairs in order',
    ],
    critics.map((name) => {
      const over = (pick) => percent(average(runs.map(({ diagnoses }) => pick(diagnoses[name]))));
      return [
        name,
        over((d) => d.agreement),
        ...turns.map((_, t) => over((d) => d.agreementByTurn[t])),
        over((d) => d.usefulOverAbsent),
        over((d) => d.usefulOverWasted),
        over((d) => d.absentOverWasted),
        over((d) => d.pairsInOrder),
      ];
    }),
  );
}

function behaviourTable(names, runs, way) {
  const columns = {
    'attributes asked about': 'coverage',
    useful: 'useful',
    absent: 'absent',
    repeated: 'repeated',
    'small talk': 'smallTalk',
    'no topic': 'unclear',
    'all known': 'allKnown',
    'then right': 'rightWhenAllKnown',
  };
  return table(
    [`${way}, %`, ...Object.keys(columns), ...(way === 'sampled' ? ['entropy, nats a token'] : [])],
    names.map((name) => {
      const scores = runs.map((run) => run.scores[name][way]);
      return [
        name,
        ...Object.values(columns).map((key) => percent(average(scores.map(({ behaviour }) => behaviour[key])))),
        ...(way === 'sampled' ? [average(scores.map(({ entropy }) => entropy)).toFixed(2)] : []),
      ];
    }),
  );
}

const settingText = (values) =>
  Object.entries(values ?? {})
    .filter(([key]) => !['pairsPerBatch', 'batch'].includes(key))
    .map(([key, value]) => `${key} ${value}`)
    .join(', ');

function tuningTables(names) {
  return names
    .filter((name) => tried[name])
    .map((name) => {
      const best = Math.max(...tried[name].map((each) => each.average));
      const rows = tried[name].map(({ critic, policy, success, average: mean }) => [
        [critic && `critic: ${settingText(critic)}`, `policy: ${settingText(policy)}`].filter(Boolean).join('; '),
        ...success.map(({ sampled, greedy }) => `${percent(sampled)} / ${percent(greedy)}`),
        mean === best ? `**${percent(mean)}**` : percent(mean),
      ]);
      const seeds = tried[name][0].success.map((_, i) => `validation seed ${i + 1}`);
      return `${table([name, ...seeds, 'mean'], rows)}\n`;
    })
    .join('\n');
}

/** What the picture shows, and the ranking's agreement with an oracle. */
const sweepTables = () =>
  sweep
    .map(({ title, values }) => {
      const over = (seeds, key) => percent(average(seeds.map((seed) => seed[key])));
      const cell = (seeds) =>
        ways.map((way) => over(seeds, way)).join(' / ') +
        (seeds[0].agreement === undefined ? '' : ` (${over(seeds, 'agreement')})`);
      return table(
        [title, ...values.map(({ label }) => label)],
        Object.keys(values[0].outcomes).map((name) => [name, ...values.map(({ outcomes }) => cell(outcomes[name]))]),
      );
    })
    .join('\n\n');

/** The command that makes a report like this one. */
function commandOf(names, { runs, settings: { offline } }) {
  const known = Object.keys({ ...methods, ...oracles });
  const own = names.filter((name) => known.includes(name));
  return [
    `npm run demo -- --full --seeds ${runs.map(({ seed }) => seed).join(',')}`,
    ...(offline.tasks === settings.offline.tasks ? [] : [`--tasks ${offline.tasks}`]),
    ...(own.length === known.length ? [] : [`--method "${own.join(',')}"`]),
  ].join(' ');
}

function markdown(names, comparison) {
  const { runs, node, machine, backend } = comparison;
  const { tasks, perTask } = comparison.settings.offline;
  return `# Credit for turns: the paper's comparison in miniature

\`${commandOf(names, comparison)}\`, with Node ${node} and the kernels of the ${backend} backend (${machine}).
Every seed has a base agent, tasks, dialogues (${perTask} on each of ${tasks} tasks) and training of its own. Intervals are 95 % ones of the mean over seeds (Student's t);
differences are taken seed by seed, on the same tasks. The paper's column is ColBench's backend programming with an 8B model: another
task, for the order only.

![Success by method](success.svg)

${mainTable(names, runs)}

## Seeds

${seedTable(names, runs)}

## Critics

How often the scores put two candidates of one turn in an oracle's order. Who sees the function knows that only questions on its
attributes bring the dialogue nearer to success; who does not had better ask about anything open than waste the question by
repeating one, by small talk or by words that name no topic. 50 % is chance.

${criticTable(names, runs)}

![Advantages of useful and useless questions](advantages.svg)

## Behaviour

Shares of the questions; the share of the attributes that had to be asked about and were; dialogues in which all were known, and how many
of these ended in success. The answer comes after five questions, by the rules: its time is no agent's choice.

${behaviourTable(names, runs, 'sampled')}

${behaviourTable(names, runs, 'greedy')}

## Training

![Pairs in the right order while training](curves.svg)

## Tuning

Six trainings for every method: three critics and the policies that learn from them, or six policies where there is no critic; one
critic more where the score is a mean over tokens. On two validation seeds (success sampled / greedy, %, on validation tasks); the
best mean was taken. The settings of the last stage, one for all methods that rank candidates, were chosen with an oracle's ranking. All
were tried with pairs of the best candidate against the worst; the rule of the pairs was chosen after them, with an oracle's ranking and
SWEET-RL's critic in view.

${tuningTables(names)}
## What it depends on

One thing varied at a time, all settings as tuned, on the two validation seeds: success sampled / greedy, %, and in brackets how often the
critic ranks two candidates as an oracle does.

![Success while one thing is varied](sweep.svg)

${sweepTables()}
`;
}

/**
 * @param {string} folder
 * @param {object} comparison
 * @param {string} comparison.node
 * @param {string} comparison.machine
 * @param {string | undefined} comparison.backend
 * @param {object} comparison.settings
 * @param {object} comparison.methods
 * @param {object[]} comparison.runs
 * @param {number} comparison.seconds
 */
export function writeComparison(folder, comparison) {
  const { runs, seconds } = comparison;
  const names = Object.keys(runs[0].scores);
  const report = { ...comparison, summary: summarize(names, runs) };
  mkdirSync(folder, { recursive: true });
  const files = {
    'report.json': `${JSON.stringify(report, null, 1)}\n`,
    'report.md': markdown(names, comparison),
    'success.svg': successChart(names, runs),
    'curves.svg': curvesChart(names, runs),
    'advantages.svg': advantagesChart(names, runs),
    'sweep.svg': sweepChart(Object.keys({ 'zero-shot': {}, ...methods, ...oracles }), sweep),
  };
  for (const [name, content] of Object.entries(files)) writeAtomically(join(folder, name), content);
  const place = relative(process.cwd(), folder) || '.';
  console.log(`\n${mainTable(names, runs)}\n\nTime ${(seconds / 60).toFixed(1)} min
Written: ${Object.keys(files)
    .map((name) => join(place, name))
    .join(', ')}`);
}
