/** Tasks: a hidden function, the user's statement of it, and ten calls that distinguish programs. */
import { attributes, domains, programSource, programTokens, token, tokenOf, tokensOf } from './language.js';
import { random } from './random.js';

/**
 * @typedef {object} Task
 * @property {import('./language.js').Spec} spec the hidden function
 * @property {number} hint index of the attribute that the statement contains, or -1
 * @property {number} domain the domain's token
 * @property {number[]} usual indices of the attributes that are usual in the domain
 * @property {number[]} statement tokens
 * @property {number[]} program tokens of the hidden function: the privileged information
 * @property {number[][]} calls ten lists of integers
 * @property {(string | null)[]} expected the hidden function's results, as JSON
 */

const attributeCounts = [0, 0, 0.4, 0.6];
const usualWeight = 8;
const hintShare = 0.5;
const domainNames = Object.keys(domains);

/** A function and its statement without calls, as demonstrations need it. */
export function drawTask(rand) {
  const domain = rand.pick(domainNames);
  const usual = domains[domain].map((topic) => attributes.findIndex((a) => a.topic === topic));
  const weights = attributes.map((_, index) => (usual.includes(index) ? usualWeight : 1));
  const spec = attributes.map(() => -1);
  const present = [];
  for (let left = rand.weighted(attributeCounts); left > 0; left--) {
    const index = rand.weighted(weights);
    weights[index] = 0;
    present.push(index);
    spec[index] = rand.int(attributes[index].options.length);
  }
  const hint = rand.next() < hintShare ? rand.pick(present) : -1;
  const said = hint >= 0 ? ['with', attributes[hint].options[spec[hint]].term] : [];
  const statement = [token.task, ...tokensOf(['code', 'for']), tokenOf(domain), ...tokensOf(said)];
  return { spec, hint, usual, domain: tokenOf(domain), statement, program: programTokens(spec) };
}

/** The split of a function, by a hash: no function is in two splits. */
export function splitOf(spec) {
  let hash = 2166136261;
  for (const option of spec) hash = Math.imul(hash ^ (option + 1), 16777619);
  const bucket = ((hash ^ (hash >>> 15)) >>> 0) % 10;
  return bucket < 7 ? 'train' : bucket < 8 ? 'validation' : 'test';
}

/** An endless sequence of tasks of one split. @returns {Generator<ReturnType<typeof drawTask>, never>} */
export function* drawTasks(split, rand) {
  for (;;) {
    const task = drawTask(rand);
    if (splitOf(task.spec) === split) yield task;
  }
}

function drawCalls(rand) {
  const lengths = [0, 0, 1, 2, 4, 5, 6, 4, 5, 6];
  return lengths.map((length, i) =>
    Array.from({ length }, () => (i % 3 === 0 ? rand.int(90) - 30 : rand.int(i % 2 ? 80 : 45))),
  );
}

/**
 * Tasks with calls. A task is kept if each attribute of its function changes some result and there are at least four
 * different results; otherwise programs for partly known functions would succeed.
 * @param {import('./execute.js').Executor} executor
 * @param {'train' | 'validation' | 'test'} split
 * @param {number} count
 * @param {number} seed
 * @returns {Promise<Task[]>}
 */
export async function makeTasks(executor, split, count, seed) {
  const rand = random(seed, split.charCodeAt(0));
  const source = drawTasks(split, rand);
  const tasks = [];
  while (tasks.length < count) {
    const drafts = Array.from({ length: count - tasks.length + 50 }, () => ({
      ...source.next().value,
      calls: drawCalls(rand),
    }));
    const variants = drafts.map(({ spec }) => [
      spec,
      ...spec.flatMap((option, index) => (option < 0 ? [] : [spec.with(index, -1)])),
    ]);
    const jobs = drafts.flatMap(({ calls }, i) =>
      variants[i].map((spec) => ({ source: programSource(programTokens(spec)), calls })),
    );
    const outputs = await executor.run(jobs);
    let next = 0;
    drafts.forEach((draft, i) => {
      const [expected, ...reduced] = outputs.slice(next, next + variants[i].length);
      next += variants[i].length;
      const varied = new Set(expected).size >= 4;
      if (varied && reduced.every((output) => output.some((value, call) => value !== expected[call]))) {
        tasks.push({ ...draft, expected });
      }
    });
  }
  return tasks.slice(0, count);
}

/** The rewards of programs: the share of the task's calls on which the program agrees with the hidden function. */
export async function rewardsOf(executor, answers) {
  const outputs = await executor.run(
    answers.map(({ task, program }) => ({ source: programSource(program), calls: task.calls })),
  );
  return outputs.map((output, i) => {
    const { expected } = answers[i].task;
    return output.filter((value, call) => value !== null && value === expected[call]).length / expected.length;
  });
}
