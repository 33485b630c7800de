/** The stages of a run: what each reads, what it writes, which methods share it. */
import type { Command } from '../command.js';
import { UsageError } from '../errors.js';
import { type Method, type OptionValues, type RunConfig, type Section, sections } from './config.js';

/** Where an input comes from: the output of a stage, or a path outside the run. */
export type Source = { stage: string } | { path: string };

export interface Stage {
  /** The name of its folder. */
  name: string;
  command: string;
  /** The positional argument. */
  input: Source;
  /** Options whose values are outputs or paths. */
  sources: Record<string, Source>;
  /** All other options. */
  options: OptionValues;
  /** The file or folder below the stage's folder that it writes. */
  output: string;
}

interface Plan {
  stages: Stage[];
  /** The stage with the evaluated test dialogues of each method. */
  tests: Record<string, string>;
}

/** What differs between the three variants of SWEET-RL. */
const variants: Record<string, { critic: OptionValues; score: OptionValues }> = {
  sweet: { critic: {}, score: {} },
  'sweet-without-c': { critic: { 'without-c': true }, score: { 'without-c': true } },
  'sweet-sum': { critic: { normalization: 'sum' }, score: { reduction: 'sum' } },
};

/**
 * The stages in the order in which they run.
 * @param find the command of a name
 * @throws UsageError for an option that a section's command does not take
 */
export async function planStages(
  config: RunConfig,
  find: (name: string) => Promise<Command | undefined>,
): Promise<Plan> {
  const stages: Stage[] = [];
  const tests: Record<string, string> = {};
  const model: Source = { path: config.model };
  const add = async (
    section: Section,
    name: string,
    input: Source,
    sources: Record<string, Source>,
    options: OptionValues = {},
  ): Promise<Source> => {
    if (stages.some((stage) => stage.name === name)) return { stage: name };
    const command = sections[section];
    const given = await optionsOf(config, section, command, find);
    const own = { ...given, ...options };
    // Options of the section replace the sources of the plan, such as an endpoint as the agent.
    const left = Object.fromEntries(Object.entries(sources).filter(([option]) => own[option] === undefined));
    const output = command.startsWith('train-') ? 'model' : `${outputs[command] ?? command}.jsonl`;
    stages.push({ name, command, input, sources: left, options: own, output });
    return { stage: name };
  };

  const uses = (...names: Method[]) => config.methods.some((method) => names.includes(method));
  const sweet = ['sweet', 'sweet-without-c', 'sweet-sum'] as const;
  const trained = uses('sft', 'dpo', 'grpo', 'gigpo', 'offline', ...sweet);
  let [dialogues, pairs, candidates]: (Source | undefined)[] = [];
  if (trained) {
    const offline = await add(
      'converse',
      'converse',
      { path: config.tasks },
      config.model === '' ? {} : { agent: model },
    );
    const samples = stages[0]?.options.samples ?? '1';
    if (uses('grpo', 'gigpo') && Number(samples) < 2) {
      throw new UsageError(
        `grpo and gigpo compare the dialogues of a task: converse.samples must be 2 or more, not ${samples}`,
      );
    }
    dialogues = await add('evaluate', 'evaluate', offline, {});
  }
  if (dialogues !== undefined && uses('dpo', 'offline', ...sweet)) pairs = await add('pairs', 'pairs', dialogues, {});
  if (dialogues !== undefined && uses(...sweet))
    candidates = await add('candidates', 'candidates', dialogues, { model });

  for (const method of config.methods) {
    if (method === 'offline') {
      tests.offline = 'evaluate';
      continue;
    }
    let agent: Source = model;
    if (method === 'sft' && dialogues !== undefined) {
      agent = await add('train-sft', 'train-sft', dialogues, { model });
    } else if (method === 'dpo' && pairs !== undefined) {
      agent = await add('train-dpo', 'train-dpo', pairs, { model });
    } else if ((method === 'grpo' || method === 'gigpo') && dialogues !== undefined) {
      agent = await add(`train-${method}`, `train-${method}`, dialogues, { model }, { method });
    } else if (candidates !== undefined && pairs !== undefined && Object.hasOwn(variants, method)) {
      const { critic, score } = variants[method] as (typeof variants)[string];
      const trainedCritic = await add('train-critic', `train-critic-${method}`, pairs, { model }, critic);
      const models = { critic: trainedCritic, reference: model };
      const scored = await add('score', `score-${method}`, candidates, models, score);
      const ranked = await add('rank', `rank-${method}`, scored, {});
      agent = await add('train-policy', `train-policy-${method}`, ranked, { model });
    }
    const held = await add('test-converse', `test-converse-${method}`, { path: config.testTasks }, { agent });
    await add('test-evaluate', `test-evaluate-${method}`, held, {});
    tests[method] = `test-evaluate-${method}`;
  }
  return { stages, tests };
}

const outputs: Record<string, string> = { converse: 'dialogues', evaluate: 'dialogues' };

/** The options of a section, after those of "all" that its command takes. */
async function optionsOf(
  config: RunConfig,
  section: Section,
  name: string,
  find: (name: string) => Promise<Command | undefined>,
): Promise<OptionValues> {
  const command = await find(name);
  if (command === undefined) throw new UsageError(`There is no command ${name}`);
  const given = config.sections[section] ?? {};
  // The test tasks are held as the offline ones, but with the method's model and one sample of each.
  const { agent: _, samples: __, ...shared } = section === 'test-converse' ? (config.sections.converse ?? {}) : {};
  for (const [option, value] of Object.entries(given)) {
    const type = command.options[option]?.type;
    if (type === undefined || option === 'out')
      throw new UsageError(`${section} has no option ${JSON.stringify(option)}`);
    if ((type === 'boolean') !== (value === true)) {
      throw new UsageError(`Expected a ${type} for ${section}.${option} but received ${JSON.stringify(value)}`);
    }
  }
  const ofAll = Object.entries(config.all).filter(([option]) => command.options[option] !== undefined);
  return { ...Object.fromEntries(ofAll), ...shared, ...given };
}
