import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseArguments } from '../arguments.js';
import { logpsOf } from '../batch.js';
import { writeComparison } from '../comparison-report.js';
import { behaviour, kindOf, maxQuestions, promptOf, splitKindOf, splitKinds, userReply } from '../dialogue.js';
import { Executor } from '../execute.js';
import {
  attributes,
  domains,
  embeddedIds,
  programTokens,
  textOf,
  token,
  tokenOf,
  tokensOf,
  vocabulary,
} from '../language.js';
import { methods, oracles } from '../methods.js';
import { initialParams } from '../model.js';
import { random } from '../random.js';
import { choose } from '../sampler.js';
import { candidateLogps, sampleCandidates } from '../stages/candidates.js';
import { evaluate } from '../stages/evaluate.js';
import { collectOffline } from '../stages/offline.js';
import { oracleScores, pairCandidates } from '../stages/ranking.js';
import { meanOverSeeds } from '../statistics.js';
import { drawTasks, splitOf } from '../task.js';
import { tried, tunedFor } from '../tuned.js';

type Scores = Record<string, Record<string, { success: { mean: number } }>>;

const topicNames = attributes.map(({ topic }) => topic);

/** A function with a filter and a limit; the statement contains its output. */
const task = {
  spec: attributes.map(({ topic }) => (['filter', 'limit', 'output'].includes(topic) ? 0 : -1)),
  hint: topicNames.indexOf('output'),
  usual: [],
  domain: tokenOf('bills'),
  statement: [token.task, ...tokensOf(['code', 'for', 'bills', 'with', 'dollars'])],
  program: [] as number[],
  calls: [],
  expected: [],
};
task.program = programTokens(task.spec);
const ask = (...questions: string[]) => ({ action: tokensOf(questions), reply: tokensOf(['hm']) });

describe('the miniature', () => {
  it('has every topic in six domains, and no two domains with the same topics', () => {
    const sets = Object.values(domains);
    for (const topic of topicNames) expect(sets.filter((set) => set.includes(topic))).toHaveLength(6);
    expect(new Set(sets.map((set) => set.join()))).toHaveProperty('size', sets.length);
  });

  it('puts each function into one split', () => {
    const rand = random(7);
    const specs = ['train', 'validation', 'test'].map((split) => {
      const tasks = drawTasks(split, rand);
      return Array.from({ length: 300 }, () => tasks.next().value.spec);
    });
    const seen = specs.map((all) => new Set(all.map((spec) => spec.join())));
    for (const spec of specs[0] ?? []) expect(splitOf(spec)).toBe('train');
    for (const key of seen[0] ?? []) expect(seen[1]?.has(key) || seen[2]?.has(key)).toBe(false);
  });

  it('adds notes of settled topics and the domain to the tokens that open turns only', () => {
    const prompt = promptOf(task, [ask('filter'), ask('and', 'limit')], false);
    const noted = prompt.map((code) => embeddedIds(code).map((id) => vocabulary[id]));
    expect(noted.filter((ids) => ids.length > 1)).toEqual([
      ['<agent1>', '<settled output>', 'bills'],
      ['<agent2>', '<settled filter>', '<settled output>', 'bills'],
      ['<agent3>', '<settled filter>', '<settled limit>', '<settled output>', 'bills'],
    ]);
    expect(textOf(prompt)).toContain('<agent3>');
  });

  it('distinguishes kinds of questions, as the simulated user does', () => {
    const before = [ask('filter')];
    const kinds = [['limit'], ['please', 'range'], ['filter'], ['output'], ['and', 'lunch'], ['what', 'about']];
    expect(kinds.map((questions) => kindOf(task, before, tokensOf(questions)))).toEqual([
      'useful',
      'absent',
      'repeated',
      'repeated',
      'smallTalk',
      'unclear',
    ]);
    const replies = kinds
      .slice(0, 4)
      .map((questions) => textOf(userReply(task, before, tokensOf(questions), random(1))));
    expect(replies[0]).toMatch(/ceiling$/);
    expect(['unsure', 'whatever']).toContain(replies[1]);
    expect(replies.slice(2)).toEqual(['again', 'again']);
  });

  it('computes statistics of dialogues', () => {
    const turns = [ask('filter'), ask('filter'), ask('range'), ask('lunch'), ask('limit')];
    const told = { turns: [...turns, { action: [token.end] }], reward: 1 };
    const untold = { turns: [...turns.slice(0, 4), ask('what'), { action: [token.end] }], reward: 0.5 };
    const described = behaviour([task, task], [told, untold]);
    expect(described).toEqual({
      questions: maxQuestions,
      useful: 0.3,
      absent: 0.2,
      repeated: 0.2,
      smallTalk: 0.2,
      unclear: 0.1,
      coverage: 0.75,
      allKnown: 0.5,
      rightWhenAllKnown: 1,
    });
  });
});

describe('agents of any width', () => {
  const collect = async (noise: number) => {
    const executor = new Executor();
    try {
      return await collectOffline(initialParams(5, 32), executor, { tasks: 12, perTask: 2, noise }, 5, () => undefined);
    } finally {
      await executor.close();
    }
  };

  it('give a candidate the same log-probs one token at a time and in a batch', async () => {
    const params = initialParams(5, 32);
    const offline = await collect(0);
    const candidates = sampleCandidates(params, offline, { states: 12, perState: 16 }, 5, () => undefined);
    const read = candidateLogps(params, candidates, false, () => undefined);
    const inBatches = logpsOf(
      params,
      candidates.actions.map((action, i) => {
        const { task, turns } = candidates.states[Math.floor(i / 16)] as (typeof candidates.states)[number];
        return [
          { tokens: promptOf(task, turns, false), agent: false },
          { tokens: action, agent: true },
        ];
      }),
      () => undefined,
    ).flatMap((part) => Array.from(part));
    expect(read.length).toBe(inBatches.length);
    read.forEach((logp, i) => {
      expect(logp).toBeCloseTo(candidates.logps[i] as number, 5);
      expect(logp).toBeCloseTo(inBatches[i] as number, 5);
    });
  });

  it('have outcomes that label noise flips at its rate', async () => {
    const [right, some, wrong] = await Promise.all([0, 0.5, 1].map(collect));
    const rewards = right?.trajectories.map(({ reward }) => reward) ?? [];
    const flipped = rewards.map((reward) => Number(reward < 1));
    expect(wrong?.trajectories.map(({ reward }) => reward)).toEqual(flipped);
    expect(right?.chosen).toHaveLength(0);
    const differ = some?.trajectories.filter(({ reward }, i) => reward !== rewards[i]).length ?? 0;
    expect(differ).toBeGreaterThan(4);
    expect(differ).toBeLessThan(20);
    some?.trajectories.forEach(({ reward }, i) => {
      expect([rewards[i], flipped[i]]).toContain(reward);
    });
  });
});

describe('decoding', () => {
  it('samples at a temperature, and takes the most probable token at 0', () => {
    const logits = Float32Array.of(1, 3, 2);
    // Uniform numbers at the middle of 3000 equal parts: the counts are those of the distribution.
    const countsAt = (temperature: number) => {
      const counts = [0, 0, 0];
      for (let i = 0; i < 3000; i++) {
        const token = choose(logits, { next: () => (i + 0.5) / 3000 }, temperature);
        counts[token] = (counts[token] ?? 0) + 1;
      }
      return counts;
    };
    for (const temperature of [1, 0.7, 0.5, 0.3]) {
      const weights = Array.from(logits, (logit) => Math.exp(logit / temperature));
      const sum = weights.reduce((a, b) => a + b);
      countsAt(temperature).forEach((count, token) => {
        expect(Math.abs(count - (3000 * (weights[token] as number)) / sum)).toBeLessThanOrEqual(1);
      });
    }
    expect(countsAt(0)).toEqual([0, 3000, 0]);
  });

  it('is evaluated at temperatures between sampled and greedy if wanted', async () => {
    const executor = new Executor();
    try {
      const params = initialParams(5, 32);
      const counts = { sampled: 6, greedy: 4 };
      const score = (more: object) => evaluate(params, executor, 'test', { ...counts, ...more }, 5, () => undefined);
      const [without, withThem] = [await score({}), await score({ cooler: 5 })];
      expect(without.cooler).toEqual({});
      expect(Object.entries(withThem.cooler).map(([temperature, { count }]) => [temperature, count])).toEqual([
        ['0.7', 5],
        ['0.5', 5],
        ['0.3', 5],
      ]);
      expect({ ...withThem, cooler: {} }).toEqual(without);
    } finally {
      await executor.close();
    }
  });
});

describe('the ranking of candidates', () => {
  const questions = [['filter'], ['limit'], ['range'], ['and', 'range'], ['output'], ['lunch'], ['what']];
  const actions = [...questions, ...questions].map(tokensOf);
  const candidates = {
    states: [
      { task, turns: [] },
      { task, turns: [ask('filter'), ask('lunch')] },
    ],
    actions,
    candidateOffsets: Int32Array.of(0, questions.length, 2 * questions.length),
    turnOffsets: new Int32Array(actions.length + 1),
    logps: new Float32Array(0),
  };
  const diagnose = (scores: Float32Array) =>
    pairCandidates(candidates, scores, { rule: 'halves', numPairs: 4 }, 1).diagnosis;
  const oracle = oracleScores(candidates, { useful: 1 });

  it('agrees with the oracle fully if equal, not at all if reversed, by half if all scores are equal', () => {
    expect(Array.from(oracle)).toEqual([1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    const right = diagnose(oracle);
    expect(right).toMatchObject({ agreement: 1, usefulOverAbsent: 1, usefulOverWasted: 1, pairsInOrder: 1 });
    expect(right.absentOverWasted).toBe(0.5);
    expect(diagnose(oracle.map((score) => -score))).toMatchObject({ agreement: 0, pairsInOrder: 0 });
    expect(diagnose(oracle.map(() => 0.25)).agreement).toBe(0.5);
  });

  it('counts pairs of kinds, with repeated questions by their topic', () => {
    // After filter and range: what repeats an attribute of the function, of the statement, and one that it lacks.
    const asked = ['limit', 'rounding', 'filter', 'output', 'range', 'lunch'].map((question) => tokensOf([question]));
    const kinds = ['useful', 'absent', 'repeatedUseful', 'repeatedHint', 'repeatedAbsent', 'smallTalk'];
    const turns = [ask('filter'), ask('range')];
    expect(asked.map((action) => splitKindOf(task, turns, action))).toEqual(kinds);
    const states = [{ task, turns }];
    const offsets = { candidateOffsets: Int32Array.of(0, 6), turnOffsets: new Int32Array(7) };
    const ofKinds = { states, actions: asked, ...offsets, logps: new Float32Array(0) };
    const ordered = (scores: Float32Array) =>
      pairCandidates(ofKinds, scores, { rule: 'halves', numPairs: 4 }, 1).diagnosis.order;

    const { useful, absent, repeatedUseful, ...others } = ordered(oracleScores(ofKinds, { useful: 1 }));
    const repeats = ['repeatedUseful', 'repeatedHint', 'repeatedAbsent'];
    for (const repeat of repeats) {
      expect([useful?.[repeat], absent?.[repeat], others.smallTalk?.[repeat]]).toEqual([
        { share: 1, count: 1 },
        { share: 0.5, count: 1 },
        { share: 0.5, count: 1 },
      ]);
      if (repeat !== 'repeatedUseful') expect(repeatedUseful?.[repeat]).toEqual({ share: 0.5, count: 1 });
    }
    // A critic that credits the topic of a repeated question although its attribute is known.
    const byTopic = ordered(Float32Array.of(4, 1, 5, 3, 2, 0));
    expect([byTopic.useful?.repeatedUseful?.share, byTopic.repeatedUseful?.useful?.share]).toEqual([0, 1]);
    expect(kinds.slice(1).map((kind) => byTopic.absent?.[kind]?.share)).toEqual([Number.NaN, 0, 0, 0, 1]);
    expect(useful?.unclear?.count).toBe(0);
  });

  it('counts pairs from states without a useful candidate', () => {
    const { diagnosis } = pairCandidates(candidates, oracle, { rule: 'best-worst' }, 1);
    expect(diagnosis.pairsWithoutUseful).toBe(0);
    const none = { task: { ...task, spec: task.spec.map(() => -1), hint: -1 }, turns: [ask('filter'), ask('lunch')] };
    const states = [candidates.states[0] as typeof none, none];
    const scores = Float32Array.from(actions, (_, i) => -i);
    const half = pairCandidates({ ...candidates, states }, scores, { rule: 'halves', numPairs: 4 }, 1).diagnosis;
    expect(half.pairsWithoutUseful).toBe(0.5);
  });

  it('samples from all pairs that are far enough apart', () => {
    const scores = Float32Array.of(6, 5, 4, 3, 2, 1, 0, 2, 2, 2, 2, 2, 2, 2);
    const draw = (ofRange: number, numPairs: number, seed: number) => {
      const { chosen, rejected } = pairCandidates(candidates, scores, { rule: 'apart', ofRange, numPairs }, seed);
      return Array.from(chosen, (better, p) => [better, rejected[p]]);
    };
    const pairs = questions.flatMap((_, i) => questions.map((_, j) => ({ pair: [i, j], apart: j - i })));
    for (const least of [1, 3, 5, 6]) {
      const expected = pairs.filter(({ apart }) => apart >= least).map(({ pair }) => pair.join());
      const drawn = draw(least / 6, 100, 1).map((pair) => pair.join());
      expect(drawn.sort()).toEqual(expected);
    }
    const two = draw(0.5, 2, 1);
    expect(two).toHaveLength(2);
    expect(two[0]).not.toEqual(two[1]);
    expect(draw(0.5, 2, 1)).toEqual(two);
    const seen = new Set(Array.from({ length: 60 }, (_, seed) => draw(0.5, 1, seed).join()));
    expect(seen.size).toBe(pairs.filter(({ apart }) => apart >= 3).length);
  });

  it('counts by turn and by kind', () => {
    // the second state's useful question ranks below one of the absent ones and above all others
    const scores = Float32Array.of(5, 4, 3, 3, 2, 1, 0, 0, 5, 6, 4, 0, 0, 0);
    const { agreementByTurn, usefulOverAbsent, usefulOverWasted, absentOverWasted, advantages } = diagnose(scores);
    expect(agreementByTurn).toEqual([1, Number.NaN, 5 / 6, Number.NaN, Number.NaN]);
    expect(usefulOverAbsent).toBe(5 / 6);
    expect(usefulOverWasted).toBe(1);
    expect(absentOverWasted).toBe(1);
    const total = Object.values(advantages).reduce((sum, { mean, count }) => sum + mean * count, 0);
    expect(total).toBeCloseTo(0, 12);
    expect(Object.values(advantages).reduce((sum, { count }) => sum + count, 0)).toBe(actions.length);
  });
});

describe('the report', () => {
  it("uses Student's t over seeds", () => {
    const { mean, low, high, count } = meanOverSeeds([1, 2, 3]);
    expect([mean, count]).toEqual([2, 3]);
    expect(high - 2).toBeCloseTo(4.302652729911275 / Math.sqrt(3), 9);
    expect(2 - low).toBeCloseTo(high - 2, 12);
  });

  it.each(['report', 'report-4000-tasks'])('in %s is reproduced from its report.json', (name) => {
    const folder = new URL(`../${name}/`, import.meta.url);
    const report = JSON.parse(readFileSync(new URL('report.json', folder), 'utf8'));
    expect(report.runs.length).toBeGreaterThanOrEqual(3);
    const out = mkdtempSync(join(tmpdir(), 'comparison-'));
    const { summary, ...comparison } = report;
    writeComparison(out, comparison);
    for (const name of ['report.json', 'report.md', 'success.svg', 'curves.svg', 'advantages.svg', 'sweep.svg']) {
      expect(readFileSync(`${out}/${name}`, 'utf8') === readFileSync(new URL(name, folder), 'utf8'), name).toBe(true);
    }
    rmSync(out, { recursive: true });
    const ahead = report.runs.map(
      ({ scores }: { scores: Record<string, { sampled: { success: { mean: number } } }> }) =>
        (scores['SWEET-RL']?.sampled.success.mean ?? 0) - (scores['zero-shot']?.sampled.success.mean ?? 0),
    );
    const average = ahead.reduce((sum: number, each: number) => sum + each, 0) / ahead.length;
    expect(summary['zero-shot'].sampled.sweetAhead.mean).toBeCloseTo(average, 12);
  });

  it('has success over temperature and the order of kinds, averaged over seeds, if the runs recorded them', () => {
    const { summary: _, ...comparison } = JSON.parse(
      readFileSync(new URL('../report-4000-tasks/report.json', import.meta.url), 'utf8'),
    );
    const kind = (share: number) => ({ share, count: 3 });
    const order = Object.fromEntries(
      splitKinds.map((each) => [
        each,
        Object.fromEntries(splitKinds.map((other) => [other, { share: null, count: 0 }])),
      ]),
    );
    comparison.runs.forEach((run: Record<string, Record<string, object>>, i: number) => {
      for (const score of Object.values(run.scores ?? {})) {
        Object.assign(score, { cooler: { '0.7': { mean: 0.1 * i }, '0.3': { mean: 0.5 } } });
      }
      const ofRun = { ...order, absent: { ...order.absent, repeatedUseful: kind(0.2 + 0.1 * i) } };
      Object.assign(run.diagnoses?.['SWEET-RL'] ?? {}, { order: ofRun });
    });
    const out = mkdtempSync(join(tmpdir(), 'comparison-'));
    writeComparison(out, comparison);
    const text = readFileSync(`${out}/report.md`, 'utf8');
    rmSync(out, { recursive: true });
    const [sampled, greedy] = ['sampled', 'greedy'].map((way) => {
      const means = comparison.runs.map(
        ({ scores }: { scores: Scores }) => scores['SWEET-RL']?.[way]?.success.mean ?? 0,
      );
      return (100 * means.reduce((a: number, b: number) => a + b)) / means.length;
    });
    expect(text).toContain('| success, % | 1 | 0.7 | 0.3 | greedy |\n');
    expect(text).toContain(`\n| SWEET-RL | ${sampled?.toFixed(1)} | 10.0 | 50.0 | ${greedy?.toFixed(1)} |\n`);
    expect(text).toContain(
      '| in this order, % | SWEET-RL |\n| --- | ---: |\n| absent over repeated (of the function) | 30.0 |',
    );
  });

  it('has the main table of the guide', () => {
    const root = new URL('../../../', import.meta.url);
    const guide = readFileSync(new URL('docs/guide/comparison.md', root), 'utf8');
    const all = Object.keys({ ...methods, ...oracles }).length;
    for (const [name, rows] of [
      ['report', all + 1],
      ['report-4000-tasks', 4],
    ] as const) {
      const report = readFileSync(new URL(`examples/colbench-mini/${name}/report.md`, root), 'utf8');
      const table = report
        .split('\n')
        .filter((line, i, lines) => line.startsWith('|') && i < lines.indexOf('## Seeds'));
      expect(table.length).toBe(2 + rows);
      expect(guide).toContain(table.join('\n'));
    }
  });

  it('contains the command that reproduces it', () => {
    const folder = new URL('../report-4000-tasks/', import.meta.url);
    const [, , first = ''] = readFileSync(new URL('report.md', folder), 'utf8').split('\n');
    const [, seeds, tasks, method] = /--seeds (\S+) --tasks (\d+) --method "([^"]+)"/.exec(first) ?? [];
    const { runs, settings } = JSON.parse(readFileSync(new URL('report.json', folder), 'utf8'));
    const options = parseArguments(['--full', '--seeds', `${seeds}`, '--tasks', `${tasks}`, '--method', `${method}`]);
    expect(options.seeds).toEqual(runs.map(({ seed }: { seed: number }) => seed));
    expect(options.tasks).toBe(settings.offline.tasks);
    expect(options.method).toEqual(Object.keys(runs[0].scores));
  });

  it('has the best settings tried for every method', () => {
    for (const name of Object.keys({ ...methods, ...oracles })) {
      const all = tried[name] as { average: number; critic?: object; policy: object }[];
      const best = all.reduce((a, b) => (b.average > a.average ? b : a));
      const { critic, policy } = best;
      expect(tunedFor(name)).toEqual(critic ? { critic, policy } : { policy });
    }
  });
});

describe('the demo', () => {
  it('uses the portable kernels unless told otherwise, so that all machines print the same numbers', () => {
    const program = `process.argv.splice(1, 2, 'main.js', '--help');
      await import('./main.js');
      const { backends } = await import('sweet-rl');
      console.log('backend:', backends().find(({ active }) => active).name);`;
    const cwd = new URL('..', import.meta.url);
    const env = { ...process.env, SWEET_RL_BACKEND: undefined };
    const args = ['--input-type=module', '--eval', program];
    const { stdout, stderr } = spawnSync(process.execPath, args, { cwd, env, encoding: 'utf8' });
    expect(/backend: (.*)/.exec(stdout)?.[1], stderr).toBe('portable');
  });
});

describe('the command line', () => {
  it('reads seeds and methods', () => {
    const options = parseArguments(['--full', '--seeds', '3,5,3', '--method', 'sum,SWEET-RL', '--resume']);
    expect(options).toMatchObject({
      full: true,
      seeds: [3, 5],
      method: ['zero-shot', 'SWEET-RL', 'sum'],
      resume: true,
    });
    expect(parseArguments([])).toMatchObject({ full: false, seeds: [1], resume: false });
  });

  it.each([
    [['--seeds', '1'], /Expected --seeds only with --full/],
    [['--method', 'sum'], /Expected --method only with --full/],
    [['--full', '--seed', '1'], /Expected --seed only without --full/],
    [['--full', '--base'], /Expected --base only without --full/],
    [['--full', '--method', 'summ'], /--method but received summ/],
    [['--full', '--seeds', '1,,2'], /--seeds but received $/],
    [['--full', '--seeds', '1.5'], /--seeds but received 1.5/],
    [['--tasks', '5'], /from 400 to 100000 for --tasks but received 5/],
  ])('refuses %j', (args, message) => {
    expect(() => parseArguments(args)).toThrow(message);
  });
});
