/** `candidates`: samples candidates for the agent's next message at each state of the offline dialogues. */
import type { Choice } from '../benchmark/endpoint.js';
import { streamKey } from '../benchmark/model-chat.js';
import { PartialFile } from '../benchmark/partial.js';
import { type AnyTask, type Dialogue, readDialogues } from '../benchmark/records.js';
import type { Command, CommandInput } from '../command.js';
import { CommandError } from '../errors.js';
import { hashFile, hashFolder, hashValue } from '../hash.js';
import { modelOptionsOf, modelOptionTypes, modelUsage, type OpenModel, openModel } from '../model.js';
import { Progress } from '../progress.js';
import type { ChatTokenizer } from '../tokens/chat.js';
import { stopTokens, tokenizerOf, tokenOptions, tokenUsage } from '../tokens/folder.js';
import { dialogueStates } from '../tokens/records.js';
import type { ChatMessage } from '../tokens/template.js';
import { checkInput, onePositional, Values } from '../values.js';
import { checkModelFolder, endpointOf, endpointOptions, endpointUsage } from './endpoints.js';
import { taskOf, taskOption, taskUsage } from './frontend.js';
import { all, concurrencyOf, Faults, groupsOf, mapConcurrently } from './shared.js';

/** The share of the dialogues whose states the released code uses. */
const releasedFraction = 0.1;

const usage = `colbench candidates DIALOGUES --out FILE --model FOLDER [--agent URL] [options]
  Samples candidates for each agent turn of the dialogues. A line of --out has id, task, input, candidates, tokens, stop
  and referenceLogps: the mean and the sum of each candidate's log-probs at temperature 1, its end token included. The
  same command resumes an interrupted run.

${taskUsage}
  --model FOLDER             the sampling policy; with --agent, its tokenizer alone
  --agent URL                samples from an endpoint with n and logprobs instead
  --n N                      candidates of a state (16)
  --fraction X               of the dialogues, from the first on (1)
  --as released              --fraction ${releasedFraction}
  --temperature X            (1)
  --top-p X                  (1)
  --max-tokens N             of a candidate (1024)
  --max-length N             of a prompt; states with longer ones are left out and counted (16384)
  --batch N                  states at once (16)
  --seed N                   (0)
  --concurrency N            requests at once (number of CPUs)
${endpointUsage}
${tokenUsage}
${modelUsage}
`;

const texts = [
  'out',
  'model',
  'agent',
  'n',
  'fraction',
  'as',
  'temperature',
  'top-p',
  'max-tokens',
  'max-length',
  'batch',
  'seed',
  'concurrency',
];

/** @param open starts a model folder */
export const candidatesCommand = (open: OpenModel): Command => ({
  name: 'candidates',
  summary: "candidates for the agent's messages",
  usage,
  options: {
    ...Object.fromEntries(texts.map((name) => [name, { type: 'string' as const }])),
    ...taskOption,
    ...endpointOptions,
    ...tokenOptions,
    ...modelOptionTypes,
  },
  run: (input) => sampleCandidates(input, open),
});

export const command = candidatesCommand(openModel);

interface State {
  id: string;
  task: AnyTask;
  input: ChatMessage[];
  prompt: Int32Array;
}

interface Candidate {
  text: string;
  tokens: number[];
  stop: 'stop' | 'length';
  /** Undefined where the endpoint returns none. */
  logps: ArrayLike<number> | undefined;
}

interface Settings {
  n: number;
  temperature: number;
  topP: number;
  maxTokens: number;
  seed: number;
}

/** Samples the candidates of each state of a group. */
type Source = (states: readonly State[]) => Promise<Candidate[][]>;

async function sampleCandidates(input: CommandInput, open: OpenModel): Promise<Record<string, unknown>> {
  const { progress, signal } = input;
  const values = new Values('candidates', input.values);
  const file = onePositional(input, 'candidates', 'file');
  const out = values.outFile();
  const folder = values.required('model');
  checkModelFolder(folder, '--model');
  checkInput(file, 'DIALOGUES');
  const released = values.text('as') !== undefined && values.choice('as', ['released']) === 'released';
  values.exclusive('as', 'fraction');
  const fraction = values.number('fraction', released ? releasedFraction : 1, 0, 1, false);
  const settings: Settings = {
    n: values.number('n', 16, 1, 4096),
    temperature: values.number('temperature', 1, 0.001, 10, false),
    topP: values.number('top-p', 1, 0.001, 1, false),
    maxTokens: values.number('max-tokens', 1024, 1, 2 ** 20),
    seed: values.number('seed', 0, 0, 2 ** 31 - 1),
  };
  if (released) progress.write(`--as released: the first ${100 * releasedFraction} % of the dialogues\n`);
  const batch = values.number('batch', 16, 1, 4096);
  const maxLength = values.number('max-length', 16384, 1, 2 ** 24);
  const tokenizer = tokenizerOf(folder, values);

  const faults = new Faults(progress);
  const dialogues = await all(readDialogues(file, { onFault: faults.report }, taskOf(values)));
  const used = Math.floor(fraction * dialogues.length);
  if (used === 0) {
    const message = `--fraction ${fraction} of ${dialogues.length} dialogues is none`;
    throw new CommandError('ERR_NO_STATES', message);
  }
  const states = statesOf(dialogues.slice(0, used), tokenizer);
  const short = states.filter(({ prompt }) => prompt.length <= maxLength);
  const url = values.text('agent');
  const model =
    url === undefined
      ? await open(folder, { ...modelOptionsOf(values), seed: settings.seed, progress, signal })
      : undefined;
  try {
    const source =
      url === undefined ? undefined : endpointSource(values, url, settings, tokenizer, concurrencyOf(values), signal);
    const stop = stopTokens(folder, tokenizer);
    const sample: Source =
      source?.sample ?? ((group) => sampleFolder(group, tokenizer, { ...settings, stop, signal }, model));
    const from = source === undefined ? { folder: await hashFolder(folder), stop } : source.settings;
    const run = hashValue([from, settings, batch, maxLength, fraction, await hashFile(file)]);
    const partial = await PartialFile.open(out, run, batch);
    const bar = new Progress('Candidates', progress);
    let [done, tokens] = [partial.done, 0];
    for await (const group of groupsOf(short.slice(done), batch)) {
      signal.throwIfAborted();
      const sampled = await sample(group);
      signal.throwIfAborted();
      await partial.add(group.map((state, i) => recordOf(state, sampled[i] as Candidate[])));
      done += group.length;
      tokens += sampled.flat().reduce((sum, each) => sum + each.tokens.length, 0);
      bar.update(done, short.length, { tokens });
    }
    bar.finish('done');
    const count = await partial.finish();
    return faults.checked({
      states: count,
      candidates: count * settings.n,
      dialogues: used,
      leftOut: states.length - short.length,
    });
  } finally {
    await model?.close();
  }
}

function statesOf(dialogues: readonly Dialogue[], tokenizer: ChatTokenizer): State[] {
  return dialogues.flatMap(({ task, dialogue_history }, d) =>
    dialogueStates(dialogue_history, task).map((input, t) => {
      const id = `${d}/${t}`;
      return { id, task, input, prompt: tokenizer.encodePrompt(`dialogue ${d}, turn ${t}`, input) };
    }),
  );
}

function recordOf({ id, task, input }: State, candidates: readonly Candidate[]) {
  const logps = candidates.map((candidate) => candidate.logps);
  const sums = logps.map((each) => Array.from(each ?? []).reduce((sum, logp) => sum + logp, 0));
  return {
    id,
    task,
    input,
    candidates: candidates.map(({ text }) => text),
    tokens: candidates.map(({ tokens }) => tokens),
    stop: candidates.map(({ stop }) => stop),
    ...(!logps.includes(undefined) && {
      referenceLogps: { mean: sums.map((sum, i) => sum / Math.max(1, logps[i]?.length ?? 0)), sum: sums },
    }),
  };
}

async function sampleFolder(
  group: readonly State[],
  tokenizer: ChatTokenizer,
  { signal, ...settings }: Settings & { stop: readonly number[]; signal: AbortSignal },
  model: Awaited<ReturnType<OpenModel>> | undefined,
): Promise<Candidate[][]> {
  const sampled: Candidate[][] = group.map(() => []);
  const keys = group.map(({ id }) => streamKey(id));
  const prompts = group.map(({ prompt }) => prompt);
  for await (const { prompt, candidate, ids, logps, stop } of model?.sample(prompts, { ...settings, keys, signal }) ??
    []) {
    const text = tokenizer.text.decode(stop === 'stop' ? ids.subarray(0, -1) : ids);
    (sampled[prompt] as Candidate[])[candidate] = { text, tokens: [...ids], stop, logps: logps.slice() };
  }
  const missing = sampled.findIndex(
    (each) => each.filter((candidate) => candidate !== undefined).length !== settings.n,
  );
  if (missing >= 0)
    throw new CommandError('ERR_PROTOCOL', `The sampler left out candidates of state ${group[missing]?.id}`);
  return sampled;
}

function endpointSource(
  values: Values,
  url: string,
  { n, temperature, topP, maxTokens, seed }: Settings,
  tokenizer: ChatTokenizer,
  concurrency: number,
  signal: AbortSignal,
): { sample: Source; settings: Record<string, unknown> } {
  const { complete, settings } = endpointOf(values, 'agent', url, concurrency, { temperature, maxTokens });
  const fields = { ...(topP !== 1 && { top_p: topP }), ...(seed !== 0 && { seed }) };
  const sampleState = async ({ input }: State) => {
    const choices: Choice[] = [];
    // Servers that ignore n return one message.
    while (choices.length < n) {
      choices.push(...(await complete(input, { ...fields, n: n - choices.length, logprobs: true, signal })));
    }
    return choices.slice(0, n).map(
      ({ content, stop, logps }): Candidate => ({
        text: content,
        tokens: tokenizer.encodeReply(content, stop),
        stop,
        logps,
      }),
    );
  };
  const sample: Source = async (states) => {
    const sampled: Candidate[][] = [];
    for await (const each of mapConcurrently(states, concurrency, sampleState)) sampled.push(each);
    return sampled;
  };
  return { sample, settings };
}
