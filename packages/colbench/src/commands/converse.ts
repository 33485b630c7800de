/** `converse`: samples dialogues of an agent with a simulated user and evaluates the answers. */
import { type Chat, converse, type Human, ownRules } from '../benchmark/converse.js';
import { EndpointError } from '../benchmark/endpoint.js';
import { modelHuman, type Script, scriptedHuman } from '../benchmark/human.js';
import { Journal, nameOf } from '../benchmark/journal.js';
import { createLimiter } from '../benchmark/limiter.js';
import { LockStep } from '../benchmark/model-chat.js';
import { type AnyTask, type Dialogue, readTasksOf, type TaskKind } from '../benchmark/records.js';
import { releasedHuman, releasedRules } from '../benchmark/released.js';
import type { Command, CommandInput } from '../command.js';
import { CommandError, UsageError } from '../errors.js';
import { frontendRules } from '../frontend/conversation.js';
import { scriptedDesigner, turnsOfSample } from '../frontend/designer.js';
import { scriptedHuman as scriptedViewer, visionHuman } from '../frontend/human.js';
import { type Pages, TruthError } from '../frontend/pages.js';
import { hashFolder } from '../hash.js';
import { type Model, modelOptionsOf, modelOptionTypes, modelUsage, type OpenModel, openModel } from '../model.js';
import { Progress } from '../progress.js';
import { stopTokens, tokenizerOf, tokenOptions, tokenUsage } from '../tokens/folder.js';
import { checkInput, isUrl, onePositional, Values } from '../values.js';
import { checkModelFolder, endpointOf, endpointOptions, endpointUsage, jsonFile } from './endpoints.js';
import { pageOptions, pageUsage, taskOf, taskOption, taskUsage } from './frontend.js';
import { checkJudgeOptions, type Judge, openJudge } from './judge.js';
import {
  concurrencyOf,
  countOf,
  Faults,
  groupsOf,
  limitOptions,
  limitUsage,
  mapConcurrently,
  mean,
  quiet,
} from './shared.js';

const usage = `colbench converse TASKS --out FILE --agent URL|FOLDER --human URL|SCRIPT [options]
  Samples dialogues of an agent with a simulated user about each task and evaluates the answers. FILE is the offline data
  and the journal: the same command resumes an interrupted run.

${taskUsage}
  --agent URL|FOLDER         an endpoint of OpenAI's chat completions API, or a model folder; with --task frontend also
                             scripted: a designer without a model, which draws what the scripted user says
${endpointUsage}
  --max-tokens N             of a message: 1024 for a folder; the endpoint's own
  --batch N                  dialogues of a folder at once (32)
  --seed N                   of a folder's samples (0)
  --human URL|SCRIPT         an endpoint, or a JSON file with replies by topic (see sample/script.json); with
                             --task frontend an endpoint of a vision model, or scripted: names the largest differences
  --human-model NAME         --human-temperature X      --human-key-env NAME
  --samples N                dialogues of each task (1)
  --as released              the conversations of the released code, with
  --agent-prompt FILE        the agent's system message
  --human-prompt FILE        the simulated user's prompt with {problem_description}, {hidden_information} and
                             {dialogue_history}; with --task frontend its instructions
${tokenUsage}
${modelUsage}
${limitUsage}
${pageUsage}
`;

const texts = ['out', 'agent', 'human', 'samples', 'max-tokens', 'batch', 'seed', 'as', 'agent-prompt', 'human-prompt'];

/** @param open starts a model folder */
export const converseCommand = (open: OpenModel): Command => ({
  name: 'converse',
  summary: 'dialogues of an agent with a simulated user, with their rewards',
  usage,
  options: {
    ...Object.fromEntries(texts.map((name) => [name, { type: 'string' as const }])),
    'human-model': { type: 'string' },
    'human-temperature': { type: 'string' },
    'human-key-env': { type: 'string' },
    ...endpointOptions,
    ...tokenOptions,
    ...modelOptionTypes,
    ...limitOptions,
    ...taskOption,
    ...pageOptions,
  },
  run: (input) => converseOnTasks(input, open),
});

export const command = converseCommand(openModel);

/** A dialogue to sample. */
interface Job {
  task: AnyTask;
  id: string;
  /** Its number among the samples of the task. */
  sample: number;
  /** Whether the journal has it. */
  done: boolean;
}

/** Holds a conversation and evaluates its answer; calls `over` after the agent's last message. */
type Hold = (job: Job, chat: Chat, over: () => void) => Promise<void>;

/** Holds the conversations of jobs. */
interface Agent {
  settings: Record<string, unknown>;
  /** Calls `hold` with an agent for each job, and yields as each job ends. */
  holdAll(jobs: AsyncIterable<Job>, hold: Hold): AsyncIterable<unknown>;
  close(): Promise<void>;
}

async function converseOnTasks(input: CommandInput, open: OpenModel): Promise<Record<string, unknown>> {
  const { progress, signal } = input;
  const values = new Values('converse', input.values);
  const tasks = onePositional(input, 'converse', 'file');
  const out = values.outFile();
  // A journal is appended to.
  if (out.endsWith('.gz')) throw new UsageError('--out of converse cannot be compressed: leave out .gz');
  const samples = values.number('samples', 1, 1, 1e6);
  const concurrency = concurrencyOf(values);
  const released = values.text('as') !== undefined && values.choice('as', ['released']) === 'released';
  for (const option of ['agent-prompt', 'human-prompt']) {
    if (!released && values.text(option) !== undefined) throw new UsageError(`--${option} needs --as released`);
  }
  const system = released ? values.textFile('agent-prompt') : undefined;
  const kind = taskOf(values);
  checkJudgeOptions(values, kind);
  const rules = kind === 'frontend' ? frontendRules(system) : system === undefined ? ownRules : releasedRules(system);
  const human = kind === 'frontend' ? viewerOf(values, concurrency, released) : humanOf(values, concurrency, released);
  checkInput(tasks, 'TASKS');
  const faults = new Faults(progress);
  const total = samples * (await countOf(readTasksOf(tasks, kind, { onFault: faults.report })));
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const agent = await agentOf(values, kind, concurrency, released, open, { ...input, signal: either });
  const judge = await openJudge(values, kind, { released, concurrency, progress, signal: either });
  const reply = human.reply(judge);
  const run = nameOf({ agent: agent.settings, human: human.settings, ...judge.settings, system });

  // A wave of a folder's conversations ends in many answers at once; their time would run out.
  const limit = createLimiter(concurrency);
  let journal: Journal | undefined;
  let failed = 0;
  let stopped: unknown;
  try {
    const open = await Journal.open(out, run, faults.report);
    journal = open;
    const bar = new Progress('Conversations', progress);
    const held = agent.holdAll(jobsOf(tasks, kind, samples, open.done), async ({ task, id, done }, chat, over) => {
      if (either.aborted) return;
      try {
        const dialogue = await converse(task, { agent: chat, human: reply, signal: either, rules });
        over();
        if (done) return;
        const { reward } = await limit(() => judge.evaluate(dialogue));
        await open.add(id, { ...dialogue, reward } as Dialogue);
      } catch (error) {
        if (either.aborted) return;
        if (!(error instanceof EndpointError || error instanceof TruthError)) {
          stopped = error;
          stop.abort();
          return;
        }
        failed += 1;
        progress.write(`${id}: ${error.message}\n`);
        // A request that the endpoint rejects would be rejected again.
        if (error instanceof EndpointError && error.status !== undefined && error.status < 500 && error.status !== 429)
          stop.abort();
      }
    });
    for await (const _ of held) bar.update(open.done.size, total);
    if (stopped !== undefined) throw stopped;
    bar.finish(`${open.done.size} of ${total} dialogues in ${out}`);
    if (open.done.size === total) await open.sort(idsOf(jobsOf(tasks, kind, samples, open.done)));
    const rewards: number[] = [];
    for await (const { reward } of open.entries(() => {})) rewards.push(reward);
    const summary = {
      dialogues: rewards.length,
      ...(kind === 'frontend'
        ? { cosine: mean(rewards) }
        : { testsPassed: mean(rewards), success: mean(rewards.map((reward) => Number(reward === 1))) }),
      ...(failed > 0 && { failed }),
    };
    if (open.done.size < total) {
      const message = `${total - open.done.size} dialogues are missing: the same command resumes with the rest`;
      throw new CommandError('ERR_UNFINISHED', message, { summary });
    }
    return faults.checked(summary);
  } finally {
    await journal?.close();
    await agent.close();
    await judge.close();
  }
}

async function* idsOf(jobs: AsyncIterable<Job>): AsyncGenerator<string> {
  for await (const { id } of jobs) yield id;
}

/** The dialogues to sample. A task that occurs twice in the file gets twice the samples. */
async function* jobsOf(tasks: string, kind: TaskKind, samples: number, done: ReadonlySet<string>): AsyncGenerator<Job> {
  const copies = new Map<string, number>();
  for await (const { record: task } of readTasksOf(tasks, kind, quiet)) {
    const name = nameOf(task);
    const copy = copies.get(name) ?? 0;
    copies.set(name, copy + 1);
    for (let sample = 0; sample < samples; sample++) {
      const id = `${name}/${copy * samples + sample}`;
      yield { task, id, sample: copy * samples + sample, done: done.has(id) };
    }
  }
}

/** A simulated user; that of a frontend task looks at the pages of the judge. */
interface Simulated {
  reply: (judge: Judge) => Human;
  settings: unknown;
}

/** The simulated user of a frontend task. */
function viewerOf(values: Values, concurrency: number, released: boolean): Simulated {
  const given = values.required('human');
  const instructions = released ? values.textFile('human-prompt') : undefined;
  if (given === 'scripted') {
    if (released) throw new UsageError('--as released needs an address for --human');
    return { reply: ({ pages }) => scriptedViewer(pages as Pages), settings: 'scripted' };
  }
  if (!isUrl(given)) {
    throw new UsageError(`Expected an address or "scripted" for --human of --task frontend but received ${given}`);
  }
  const { complete, settings } = endpointOf(values, 'human', given, concurrency, { temperature: 0, maxTokens: 1024 });
  return {
    reply: ({ pages }) => visionHuman(complete, pages as Pages, instructions, released),
    settings: { ...settings, ...(instructions !== undefined && { instructions }) },
  };
}

function humanOf(values: Values, concurrency: number, released: boolean): Simulated {
  const given = values.required('human');
  const template = released ? values.textFile('human-prompt') : undefined;
  if (!isUrl(given)) {
    const script = jsonFile(given, '--human') as Script;
    if (!Array.isArray(script?.topics)) throw new UsageError(`--human: ${given} has no list of topics`);
    const texts = script.topics.flatMap((topic) => [
      topic?.asked,
      topic?.reply,
      topic?.problem ?? '',
      topic?.truth ?? '',
    ]);
    if (![...texts, script.again ?? '', script.unknown ?? ''].every((text) => typeof text === 'string')) {
      throw new UsageError(`--human: ${given}: Expected texts for asked, reply, problem, truth, again and unknown`);
    }
    try {
      const reply = scriptedHuman(script);
      return { reply: () => reply, settings: script };
    } catch (error) {
      throw new UsageError(`--human: ${given}: ${(error as Error).message}`);
    }
  }
  const defaults = released ? { temperature: 0, maxTokens: 4096 } : {};
  const { complete, settings } = endpointOf(values, 'human', given, concurrency, defaults);
  const chat: Chat = async (messages, options) => (await complete(messages, options))[0]?.content ?? '';
  const reply = template === undefined ? modelHuman(chat) : releasedHuman(chat, template);
  return { reply: () => reply, settings: { ...settings, ...(template !== undefined && { template }) } };
}

async function agentOf(
  values: Values,
  kind: TaskKind,
  concurrency: number,
  released: boolean,
  open: OpenModel,
  { progress, signal }: Pick<CommandInput, 'progress' | 'signal'>,
): Promise<Agent> {
  const given = values.required('agent');
  if (given === 'scripted' && kind === 'frontend') {
    if (released) throw new UsageError('--as released needs an address or a model folder for --agent');
    const holdAll: Agent['holdAll'] = (jobs, hold) =>
      mapConcurrently(
        jobs,
        concurrency,
        async (job) => job.done || hold(job, scriptedDesigner(turnsOfSample(job.sample)), () => {}),
      );
    return { settings: { script: 'designer' }, holdAll, close: async () => {} };
  }
  const maxTokens = values.number('max-tokens', undefined, 1, 2 ** 20);
  if (isUrl(given)) {
    const defaults = {
      ...(released && { temperature: 1, maxTokens: 1024 }),
      ...(maxTokens !== undefined && { maxTokens }),
    };
    const { complete, settings } = endpointOf(values, 'agent', given, concurrency, defaults);
    const chat: Chat = async (messages, options) => (await complete(messages, options))[0]?.content ?? '';
    const holdAll: Agent['holdAll'] = (jobs, hold) =>
      mapConcurrently(jobs, concurrency, async (job) => job.done || hold(job, chat, () => {}));
    return { settings, holdAll, close: async () => {} };
  }
  checkModelFolder(given, '--agent', true);
  const tokenizer = tokenizerOf(given, values);
  const options = {
    temperature: values.number('agent-temperature', 1, 0, 10, false),
    maxTokens: maxTokens ?? 1024,
    seed: values.number('seed', 0, 0, 2 ** 31 - 1),
    stop: stopTokens(given, tokenizer),
  };
  const batch = values.number('batch', 32, 1, 4096);
  let model: Model | undefined;
  return {
    settings: { folder: await hashFolder(given), ...options },
    async *holdAll(jobs, hold) {
      model = await open(given, { ...modelOptionsOf(values), seed: options.seed, progress, signal });
      for await (const wave of groupsOf(jobs, batch)) {
        // A wave that was interrupted is sampled again as a whole: a resumed run has the same batches.
        if (wave.every(({ done }) => done)) continue;
        const steps = new LockStep(model, tokenizer, wave.length, { ...options, signal });
        const held = wave.map(async (job) => {
          let isOver = false;
          const over = () => {
            if (!isOver) steps.end();
            isOver = true;
          };
          try {
            await hold(job, (messages) => steps.reply(job.id, messages), over);
          } finally {
            over();
          }
        });
        for (const each of held) yield await each;
      }
    },
    close: async () => model?.close(),
  };
}
