/** RUN.json: the model, the tasks, the methods, and the options of each stage. */
import { dirname, resolve } from 'node:path';
import { UsageError } from '../errors.js';
import { checkInput, isUrl, textOf } from '../values.js';

/** Those of the paper, which a RUN.json without methods compares. */
const defaultMethods = ['zero-shot', 'sft', 'dpo', 'sweet', 'sweet-without-c', 'sweet-sum'] as const;
/** 'offline' is no method of training: the dialogues and their pairs alone, without a model where the agent is none. */
export const methods = [...defaultMethods, 'grpo', 'gigpo', 'offline'] as const;
export type Method = (typeof methods)[number];

/** The stages that have a section, with the command that each runs. */
export const sections = {
  converse: 'converse',
  evaluate: 'evaluate',
  pairs: 'pairs',
  'train-sft': 'train-sft',
  'train-dpo': 'train-dpo',
  'train-grpo': 'train-grpo',
  'train-gigpo': 'train-grpo',
  'train-critic': 'train-critic',
  candidates: 'candidates',
  score: 'score',
  rank: 'rank',
  'train-policy': 'train-policy',
  'test-converse': 'converse',
  'test-evaluate': 'evaluate',
} as const;
export type Section = keyof typeof sections;

export type OptionValues = Record<string, string | true>;

export interface RunConfig {
  /** The folder of the model, absolute; empty where only 'offline' is asked for and no model is given. */
  model: string;
  /** JSONL files, absolute. */
  tasks: string;
  testTasks: string;
  methods: readonly Method[];
  /** Options of every stage whose command takes them. */
  all: OptionValues;
  sections: Partial<Record<Section, OptionValues>>;
}

/** Options that are paths, resolved against the folder of RUN.json. */
const paths = ['agent', 'human', 'clip', 'c-template', 'chat-template', 'agent-prompt', 'human-prompt'];

/**
 * Reads RUN.json.
 * @throws UsageError naming the field
 */
export function readConfig(file: string): RunConfig {
  const text = textOf(file, 'RUN.json');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${file}: ${(error as Error).message}`);
  }
  if (!isObject(value)) throw new UsageError(`Expected an object in ${file}`);
  const { model, tasks, testTasks, methods: given, all, ...rest } = value;
  const base = dirname(resolve(file));
  const path = (name: string, each: unknown) => {
    if (typeof each === 'string' && each !== '') return resolve(base, each);
    throw new UsageError(`Expected a path for ${name} in ${file} but received ${JSON.stringify(each)}`);
  };
  for (const name of Object.keys(rest)) {
    if (Object.hasOwn(sections, name)) continue;
    const known = ['model', 'tasks', 'testTasks', 'methods', 'all', ...Object.keys(sections)].join(', ');
    throw new UsageError(`${file} has the unknown field ${JSON.stringify(name)}; known are ${known}`);
  }
  const used = methodsOf(given ?? defaultMethods);
  const isOffline = used.every((each) => each === 'offline');
  const ofSections = Object.entries(rest).map(([name, each]) => [name, optionsOf(name, each, base)]);
  return {
    model: isOffline && model === undefined ? '' : path('model', model),
    tasks: path('tasks', tasks),
    testTasks: isOffline && testTasks === undefined ? '' : path('testTasks', testTasks),
    methods: used,
    all: optionsOf('all', all ?? {}, base),
    sections: Object.fromEntries(ofSections),
  };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function methodsOf(value: unknown): Method[] {
  if (!Array.isArray(value) || value.length === 0) throw new UsageError('Expected a list of names for methods');
  for (const each of value) {
    if (methods.includes(each)) continue;
    throw new UsageError(`There is no method ${JSON.stringify(each)}; known are ${methods.join(', ')}`);
  }
  return methods.filter((each) => value.includes(each));
}

/** Checks every path: a run of hours must not end at a file that its last stage needs. @throws CommandError ERR_INPUT */
export function checkPaths({ model, tasks, testTasks, all, sections: given }: RunConfig): void {
  if (model !== '') checkInput(model, 'model of RUN.json', 'folder');
  checkInput(tasks, 'tasks of RUN.json');
  if (testTasks !== '') checkInput(testTasks, 'testTasks of RUN.json');
  for (const [section, options] of Object.entries({ all, ...given })) {
    for (const name of paths) {
      const path = options?.[name];
      if (typeof path !== 'string' || isUrl(path) || path === 'scripted') continue;
      checkInput(path, `${section}.${name} of RUN.json`, name === 'agent' ? 'folder' : 'file');
    }
  }
}

/** Values as a command line has them. */
function optionsOf(section: string, value: unknown, base: string): OptionValues {
  if (!isObject(value)) throw new UsageError(`Expected an object of options for ${section}`);
  const options: OptionValues = {};
  for (const [name, each] of Object.entries(value)) {
    if (each === true) options[name] = true;
    else if (typeof each === 'number') options[name] = String(each);
    else if (typeof each === 'string')
      options[name] = paths.includes(name) && !isUrl(each) && each !== 'scripted' ? resolve(base, each) : each;
    else if (each !== false) {
      throw new UsageError(
        `Expected a text, a number or a boolean for ${section}.${name} but received ${JSON.stringify(each)}`,
      );
    }
  }
  return options;
}
