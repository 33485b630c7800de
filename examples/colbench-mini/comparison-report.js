/** The output of `--full`: report.json, report.md, four charts, and the main table on the terminal. */
import { mkdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { writeAtomically } from './cache.js';
import { advantagesChart, curvesChart, successChart, sweepChart } from './comparison-charts.js';
import { methods, oracles } from './methods.js';
import { kindPairs, temperatureHead, temperatureRow } from './report.js';
import { settings } from './settings.js';
import { average, meanOverSeeds } from './statistics.js';
import { sweep, tried } from './tuned.js';

/** Table 2 of the paper: success in % on ColBench's backend programming with an 8B model. */
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

/** A mean over seeds, with its interval if there are several. */
function estimate(values, show) {
  if (values.length === 1) return show(values[0]);
  const { mean, low, high } = meanOverSeeds(values);
  return `${show(mean)} [${show(low)}, ${show(high)}]`;
}

/** Success of a method in each run. */
const successes = (runs, name, way) => runs.map(({ scores }) => scores[name][way].success.mean);

/** The difference of SWEET-RL's success to a method's in each run, on the same tasks. */
function leads(runs, name, way) {
  const values = successes(runs, name, way);
  return successes(runs, reference, way).map((value, i) => value - values[i]);
}

/** Success and, if SWEET-RL was trained, its lead. */
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

/** Success over temperature, if the runs recorded it. */
function temperatureSection(names, runs) {
  const scoresOf = (name) => runs.map(({ scores }) => scores[name]);
  if (!runs[0].scores[names[0]].cooler) return '';
  const rows = names.map((name) => {
    const bySeed = scoresOf(name).map(temperatureRow);
    return [name, ...bySeed[0].map((_, t) => percent(average(bySeed.map((row) => row[t]))))];
  });
  return `
## Temperature

Success by the temperature of decoding, means over seeds.

${table(['success, %', ...temperatureHead(scoresOf(names[0])[0])], rows)}
`;
}

/** The order of pairs of kinds by critic, if the runs recorded it. */
function orderSection(names, runs) {
  const critics = names.filter((name) => runs[0].diagnoses[name]?.order);
  if (critics.length === 0) return '';
  const cells = ({ kind, other }, name) =>
    runs.map(({ diagnoses }) => diagnoses[name].order[kind][other]).filter(({ count }) => count > 0);
  const rows = kindPairs
    .filter((pair) => cells(pair, critics[0]).length > 0)
    .map((pair) => [
      pair.name,
      ...critics.map((name) => percent(average(cells(pair, name).map(({ share }) => share)))),
    ]);
  return `
By kinds: how often a question of the first kind has the higher score than one of the second kind in the same state. A
perfect critic that sees the function has 100 where the first kind is useful and 50 elsewhere. Repeated questions are
split by their topic: an attribute of the function that was asked about, one that the statement contains, or one that
the function lacks.

${table(['in this order, %', ...critics], rows)}
`;
}

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

/** The numbers in the chart, and the ranking's agreement with an oracle. */
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

/** The command that reproduces the report. */
function commandOf(names, { runs, settings: { offline } }) {
  const known = Object.keys({ ...methods, ...oracles });
  const trained = names.filter((name) => known.includes(name));
  return [
    `npm run demo -- --full --seeds ${runs.map(({ seed }) => seed).join(',')}`,
    ...(offline.tasks === settings.offline.tasks ? [] : [`--tasks ${offline.tasks}`]),
    ...(trained.length === known.length ? [] : [`--method "${trained.join(',')}"`]),
  ].join(' ');
}

function markdown(names, comparison) {
  const { runs, node, machine, backend } = comparison;
  const { tasks, perTask } = comparison.settings.offline;
  return `# Credit for turns: the paper's comparison in miniature

\`${commandOf(names, comparison)}\`, with Node ${node} and the ${backend} backend (${machine}).
Each seed has its own base agent, tasks, dialogues (${perTask} on each of ${tasks} tasks) and training runs.
Intervals are 95 % confidence intervals of the mean over seeds (Student's t). Differences are paired by seed, on the
same tasks. No interval is corrected for the number of comparisons. The column "paper" is ColBench's backend
programming with an 8B model: a different task, for comparison of the order only.

![Success by method](success.svg)

${mainTable(names, runs)}

## Seeds

${seedTable(names, runs)}
${temperatureSection(names, runs)}
## Critics

How often the scores order two candidates of one turn as an oracle does. For an oracle that sees the hidden function,
only questions about its attributes are useful. For one that does not, any question about an open attribute is better
than a wasted one: a repetition, small talk, or a question that names no topic. Chance is 50 %. Small talk is seven
to eight times as frequent among the candidates as repetition, so the columns with "wasted" say little of repetitions.

${criticTable(names, runs)}
${orderSection(names, runs)}
![Advantages of useful and useless questions](advantages.svg)

## Behaviour

Shares of questions by kind; the share of the necessary attributes that were asked about; the share of dialogues in
which all attributes were known, and the success among these. The rules force the answer after five questions: no agent
chooses its time.

${behaviourTable(names, runs, 'sampled')}

${behaviourTable(names, runs, 'greedy')}

## Training

![Preference accuracy during training](curves.svg)

## Tuning

Six training runs per method: three critics and their policies, or six policies if there is no critic; one more critic
if the score is a mean over tokens. Success sampled / greedy, %, on the validation tasks of two validation seeds; the
settings with the best mean were chosen; where they are on the edge of the grid, settings beyond it were not tried. The
settings of the policy stage, the same for all methods that rank candidates, were chosen with an oracle's ranking. All
trials used pairs of the best candidate over the worst; the pair rule was chosen afterwards, with an oracle's ranking and
SWEET-RL's critic.

${tuningTables(names)}
## What it depends on

One setting varies at a time, with all others as tuned, on the two validation seeds: success sampled / greedy, %, and
in brackets the share of candidate pairs that the critic ranks as an oracle does. Of the pairs of candidates, "halves"
is the paper's rule and "apart" the one of all other tables.

![Success while one setting varies](sweep.svg)

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
