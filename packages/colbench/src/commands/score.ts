/** `score`: the advantage of each candidate under the critic. */
import type { CandidateRecord } from '../benchmark/pairs.js';
import { PartialFile } from '../benchmark/partial.js';
import {
  type AnyTask,
  checkedCandidates,
  checkedTaskCandidates,
  readRecords,
  writeRecords,
} from '../benchmark/records.js';
import { reduced, type ScoreRule } from '../benchmark/score.js';
import type { Command, CommandInput } from '../command.js';
import { CommandError, UsageError } from '../errors.js';
import { hashFile, hashFolder, hashValue } from '../hash.js';
import { modelOptionsOf, modelOptionTypes, modelUsage, type OpenModel, openModel, type Sequence } from '../model.js';
import { Progress } from '../progress.js';
import type { ChatTokenizer } from '../tokens/chat.js';
import { privilegedFile, tokenizerOf, tokenOptions, tokenUsage } from '../tokens/folder.js';
import {
  candidateSequence,
  ownPrivileged,
  type Privileged,
  privilegedText,
  promptMessages,
  releasedPrivileged,
  withPrivileged,
} from '../tokens/records.js';
import { checkInput, onePositional, Values } from '../values.js';
import { checkModelFolder } from './endpoints.js';
import { taskOf, taskOption, taskUsage } from './frontend.js';
import { Faults, groupsOf, quiet } from './shared.js';

/** States whose candidates are scored in one request. */
const statesAtOnce = 8;

const usage = `colbench score CANDIDATES --out FILE --critic FOLDER --reference FOLDER [options]
  Scores each candidate by the mean of log p_critic - log p_reference over its content and end token, both with the hidden
  solution c in the prompt. --out has the same lines with scores. The same command resumes an interrupted run.

${taskUsage}
  --critic FOLDER            of train-critic
  --reference FOLDER         the model before training
  --without-c                neither model sees c
  --c-template FILE          the text of c, with {ground_truth}
  --reduction mean|sum       (mean)
  --content-only             without the end token
  --max-length N             states with a longer sequence are left out and counted (8192)
  --as released              the critic's mean over header and content with c before the begin-of-text token, minus the
                             mean of the sampling policy without c (referenceLogps; computed where they are missing)
${tokenUsage}
${modelUsage}
`;

const texts = ['out', 'critic', 'reference', 'c-template', 'reduction', 'max-length', 'as'];

const releasedNote =
  '--as released: the critic over header and content with c before the begin-of-text token; the reference without c\n';

/** @param open starts a model folder */
export const scoreCommand = (open: OpenModel): Command => ({
  name: 'score',
  summary: 'scores of candidates by the critic',
  usage,
  options: {
    ...Object.fromEntries(texts.map((name) => [name, { type: 'string' as const }])),
    ...taskOption,
    'without-c': { type: 'boolean' },
    'content-only': { type: 'boolean' },
    ...tokenOptions,
    ...modelOptionTypes,
  },
  run: (input) => scoreCandidates(input, open),
});

export const command = scoreCommand(openModel);

interface State extends CandidateRecord {
  task: AnyTask;
  referenceLogps?: { mean: number[]; sum: number[] };
}

/** What one model is shown, and which of its log-probs count. */
interface View {
  privileged: Privileged | undefined;
  /** The last tokens of the header that count. */
  headerTokens: number;
  /** A token in front of everything. */
  begin: number[];
}

async function scoreCandidates(input: CommandInput, open: OpenModel): Promise<Record<string, unknown>> {
  const { progress, signal } = input;
  const values = new Values('score', input.values);
  const file = onePositional(input, 'score', 'file');
  const out = values.outFile();
  const [critic, reference] = [values.required('critic'), values.required('reference')];
  checkModelFolder(critic, '--critic');
  checkModelFolder(reference, '--reference');
  const released = values.text('as') !== undefined && values.choice('as', ['released']) === 'released';
  values.exclusive('without-c', 'c-template');
  values.exclusive('as', 'content-only');
  if (released && values.flag('without-c'))
    throw new UsageError('--as released shows c to the critic: leave out --without-c');
  checkInput(file, 'CANDIDATES');
  const maxLength = values.number('max-length', 8192, 1, 2 ** 24);
  const rule: ScoreRule = {
    reduction: values.choice('reduction', ['mean', 'sum']),
    tokens: released ? 'released' : values.flag('content-only') ? 'content' : 'content+end',
  };
  const template = privilegedFile(values);
  const base = released ? releasedPrivileged : ownPrivileged;
  const privileged = values.flag('without-c') ? undefined : { ...base, ...(template !== undefined && { template }) };
  const tokenizer = tokenizerOf(critic, values);
  const views = viewsOf(tokenizer, privileged, released);
  if (released) progress.write(releasedNote);

  const kind = taskOf(values);
  const checked = (value: unknown) => checkedTaskCandidates(value, kind);
  const faults = new Faults(progress);
  // Whether each state has no longer sequence. The file is read once more for each model: its candidates may not fit in memory.
  const short: boolean[] = [];
  let stored = released;
  for await (const { record } of readRecords(file, checked, { onFault: faults.report })) {
    const state = record as State;
    const sequences = sequencesOf(tokenizer, state, short.length, views.critic);
    short.push(sequences.every(({ ids }) => ids.length <= maxLength));
    stored &&= state.referenceLogps !== undefined || !short.at(-1);
  }
  async function* states(): AsyncGenerator<State> {
    let k = 0;
    for await (const { record } of readRecords(file, checked, quiet)) if (short[k++]) yield record as State;
  }
  const total = short.filter(Boolean).length;
  const run = hashValue([await hashFile(file), maxLength]);
  const pass: Pass = { tokenizer, rule, values, open, out, run, total, states, progress, signal };
  const ofCritic = await logpsOf(critic, views.critic, true, pass);
  const ofReference = stored ? undefined : await logpsOf(reference, views.reference, false, pass);
  let candidates = 0;
  async function* scored() {
    const [critics, references] = [ofCritic.records(), ofReference?.records()];
    for await (const state of states()) {
      const ofState = (await critics.next()).value?.logps as number[];
      const stored = state.referenceLogps?.[rule.reduction];
      const before = references === undefined ? stored : ((await references.next()).value?.logps as number[]);
      candidates += ofState.length;
      yield { ...state, scores: ofState.map((logp, i) => logp - (before?.[i] ?? Number.NaN)) };
    }
  }
  await writeRecords(out, scored(), checkedCandidates);
  await ofCritic.discard();
  await ofReference?.discard();
  return faults.checked({
    states: total,
    candidates,
    leftOut: short.length - total,
    ...(released && { referenceLogps: stored ? 'of the sampling' : 'computed' }),
  });
}

function viewsOf(tokenizer: ChatTokenizer, privileged: Privileged | undefined, released: boolean) {
  const own: View = { privileged, headerTokens: 0, begin: [] };
  if (!released) return { critic: own, reference: own };
  const header = tokenizer.headerTokens;
  const [begin] = tokenizer.encodePrompt('', [{ role: 'user', content: '' }]);
  const bos = begin !== undefined && tokenizer.text.isControl(begin) ? [begin] : [];
  return {
    critic: { privileged, headerTokens: header, begin: bos },
    reference: { privileged: undefined, headerTokens: 0, begin: [] },
  };
}

/** The sequence of each candidate after the prompt of its state. */
function sequencesOf(tokenizer: ChatTokenizer, state: State, index: number, view: View): Sequence[] {
  const messages = promptMessages(state.input, []);
  const c = view.privileged === undefined ? undefined : privilegedText(view.privileged, state.task);
  const id = `state ${index}`;
  const shown = c !== undefined && view.privileged?.place === 'system' ? withPrivileged(messages, c) : messages;
  const prompt = tokenizer.encodePrompt(id, shown, view.privileged?.place === 'front' ? { prefix: c } : {});
  const begun = Int32Array.from([...view.begin, ...prompt]);
  return state.candidates.map((text, i) => {
    const ids = state.tokens?.[i] ?? tokenizer.encodeReply(text, state.stop?.[i]);
    if (ids.length === 0) throw new CommandError('ERR_RECORD', `${id}: candidate ${i} has no token`);
    return { ...candidateSequence(`${id}, candidate ${i}`, begun, ids, view.headerTokens), prompt: begun };
  });
}

/** What the passes over the candidates share. */
interface Pass {
  tokenizer: ChatTokenizer;
  rule: ScoreRule;
  values: Values;
  open: OpenModel;
  /** The file of the scores; each model's log-probs are kept beside it until both are done. */
  out: string;
  /** The hash of the candidates and the options. */
  run: string;
  /** The number of states. */
  total: number;
  /** Reads the states. */
  states: () => AsyncGenerator<State>;
  progress: NodeJS.WriteStream;
  signal: AbortSignal;
}

/**
 * The mean or sum of each candidate under one model, a record a state. An interrupted pass goes on with the states that are
 * missing.
 */
async function logpsOf(folder: string, view: View, isCritic: boolean, pass: Pass): Promise<PartialFile> {
  const { tokenizer, rule, values, open, total, progress, signal } = pass;
  const name = isCritic ? 'critic' : 'reference';
  const run = hashValue([pass.run, rule, view, await hashFolder(folder)]);
  const partial = await PartialFile.open(`${pass.out}.${name}`, run, statesAtOnce);
  let { done } = partial;
  if (done === total) return partial;
  const model = await open(folder, { ...modelOptionsOf(values), progress, signal });
  try {
    const bar = new Progress(isCritic ? 'Critic' : 'Reference', progress);
    let tokens = 0;
    for await (const group of groupsOf(after(pass.states(), done), statesAtOnce)) {
      signal.throwIfAborted();
      const sequences = group.flatMap((state, i) => sequencesOf(tokenizer, state, done + i, view));
      const values: number[] = [];
      for await (const logps of model.logps(sequences, { signal })) {
        const { ids } = sequences[values.length] as Sequence;
        values.push(reduced(partsOf(logps, ids, view, tokenizer), rule, isCritic));
        tokens += ids.length;
      }
      if (values.length !== sequences.length) {
        throw new CommandError('ERR_PROTOCOL', `The trainer left out ${sequences[values.length]?.id}`);
      }
      const ofGroup = group.map(({ candidates }) => values.splice(0, candidates.length));
      // JSON has no NaN: it would come back as null.
      const bad = ofGroup.findIndex((row) => !row.every(Number.isFinite));
      if (bad >= 0) {
        const message = `state ${done + bad}: a log-prob under the ${name} is not finite`;
        throw new CommandError('ERR_NONFINITE', message);
      }
      await partial.add(ofGroup.map((logps) => ({ logps })));
      done += group.length;
      bar.update(done, total, { tokens });
    }
    bar.finish('done');
    return partial;
  } finally {
    await model.close();
  }
}

async function* after<T>(items: AsyncIterable<T>, count: number): AsyncGenerator<T> {
  let k = 0;
  for await (const item of items) if (k++ >= count) yield item;
}

/** Header, content and end token of the log-probs of a sequence. */
function partsOf(logps: Float32Array, ids: Int32Array, { headerTokens }: View, tokenizer: ChatTokenizer) {
  const last = ids.at(-1);
  const ended = logps.length > headerTokens && last !== undefined && tokenizer.text.isControl(last);
  return {
    header: logps.subarray(0, headerTokens),
    content: logps.subarray(headerTokens, logps.length - Number(ended)),
    end: ended ? logps.at(-1) : undefined,
  };
}
