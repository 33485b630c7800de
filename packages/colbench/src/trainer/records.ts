/** From records to what is trained on: pairs of dialogues, pairs of turns, dialogues. The tokens are those of src/tokens. */
import {
  type AnyTask,
  checkedAnyTask,
  checkedDialogue,
  checkMessages,
  type Fault,
  isTokenIds,
  type Message,
  RecordError,
  readRecords,
} from '../benchmark/records.js';
import { CommandError } from '../errors.js';
import type { Sequence } from '../model.js';
import type { ChatTokenizer } from '../tokens/chat.js';
import {
  candidateSequence,
  cutOnRight,
  type DialogueOptions,
  encodeDialogue,
  promptMessages,
} from '../tokens/records.js';
import type { TrainingItem, TrainingSequence } from './batches.js';
import { hashOf } from './hashes.js';
import type { PairLoss } from './heads.js';

/** How records become tokens. */
export interface EncodeRecords {
  method: PairLoss['method'];
  tokenizer: ChatTokenizer;
  dialogue: DialogueOptions;
  /** Dialogues of a smaller reward are not trained on: fine-tuning. */
  minReward: number;
  /** The policy's loss has the prompt's tokens too, and long sequences are cut on the right, as in the released code. */
  wholePrompt: boolean;
  onFault: (fault: Fault) => void;
}

export interface EncodedRecords {
  items: TrainingItem[];
  /** Items with a sequence that is longer than the maximum. */
  leftOut: number;
  /** Dialogues whose first turns were cut. */
  truncated: number;
  /** Dialogues of a smaller reward. */
  belowReward: number;
  /** Pairs of equal sequences, which have no preference. */
  identical: number;
}

/** Reads the file of a training command. Equal sequences become one object: a dialogue in several pairs is computed once. */
export async function readTrainingItems(file: string, options: EncodeRecords): Promise<EncodedRecords> {
  const result: EncodedRecords = { items: [], leftOut: 0, truncated: 0, belowReward: 0, identical: 0 };
  const known = new Map<string, TrainingSequence>();
  const once = (sequence: TrainingSequence): TrainingSequence => {
    const key = hashOf([[...sequence.ids], sequence.turns, sequence.starts ?? []]);
    const same = known.get(key);
    if (same === undefined) known.set(key, sequence);
    return same ?? sequence;
  };
  const add = (chosen: TrainingSequence | undefined, rejected?: TrainingSequence | undefined) => {
    const isWhole = chosen !== undefined && (options.method === 'sft' || rejected !== undefined);
    if (!isWhole) result.leftOut++;
    else if (options.method === 'sft') result.items.push({ chosen: once(chosen) });
    else {
      const pair = { chosen: once(chosen), rejected: once(rejected as TrainingSequence) };
      if (pair.chosen === pair.rejected) result.identical++;
      else result.items.push(pair);
    }
  };
  const trajectory = (id: string, task: AnyTask, history: readonly Message[]): TrainingSequence | undefined => {
    const { sequence, truncated } = encodeTrajectory(options, id, task, history);
    result.truncated += truncated;
    return sequence;
  };
  if (options.method === 'policy') {
    for await (const { record, line } of readRecords(file, checkedTurnPair, options)) {
      const [chosen, rejected] = turnPair(`${file}, line ${line}`, record, options);
      add(chosen, rejected);
    }
  } else if (options.method === 'sft') {
    for await (const { record, line } of readRecords(file, (value) => checkedDialogue(value), options)) {
      const { task, dialogue_history: history, reward } = record;
      if (reward < options.minReward) result.belowReward++;
      else add(trajectory(`${file}, line ${line}`, task, history));
    }
  } else {
    for await (const { record, line } of readRecords(file, checkedDialoguePair, options)) {
      const side = (name: 'chosen' | 'rejected') =>
        trajectory(`${file}, line ${line}, ${name}`, record.task, record[name].dialogue_history);
      add(side('chosen'), side('rejected'));
    }
  }
  if (result.items.length > 0) return result;
  const { leftOut, belowReward, identical } = result;
  const why = `${leftOut} left out by --max-length, ${belowReward} below --min-reward, ${identical} pairs of equal texts`;
  throw new CommandError('ERR_DATA', `${file} has nothing to train on (${why})`);
}

/** A dialogue as one sequence, which is undefined where it is too long; `truncated` is 1 where its first turns were cut, else 0. */
export function encodeTrajectory(
  { tokenizer, dialogue }: Pick<EncodeRecords, 'tokenizer' | 'dialogue'>,
  id: string,
  task: AnyTask,
  history: readonly Message[],
): { sequence: TrainingSequence | undefined; truncated: number } {
  const { sequences, leftOut, truncated } = encodeDialogue(tokenizer, id, task, history, dialogue);
  return { sequence: leftOut > 0 || sequences.length === 0 ? undefined : joined(id, sequences), truncated };
}

/** The sequences of a dialogue as one, whose parts do not attend to each other. */
function joined(id: string, sequences: readonly Sequence[]): TrainingSequence {
  const [only] = sequences;
  if (only !== undefined && sequences.length === 1) return { ...only, id };
  const ids: number[] = [];
  const starts: number[] = [];
  const turns: Sequence['turns'] = [];
  for (const sequence of sequences) {
    const first = ids.length;
    if (first > 0) starts.push(first);
    for (const token of sequence.ids) ids.push(token);
    for (const { start, end } of sequence.turns) turns.push({ start: first + start, end: first + end });
  }
  return { id, ids: Int32Array.from(ids), turns, starts };
}

function turnPair(
  name: string,
  { input, chosen, rejected, tokens }: TurnPairRecord,
  { tokenizer, dialogue, wholePrompt }: EncodeRecords,
): (TrainingSequence | undefined)[] {
  const prompt = tokenizer.encodePrompt(name, promptMessages(input, []));
  return [chosen, rejected].map((text, side) => {
    const ids = tokens?.[side] ?? tokenizer.encodeReply(text);
    const sequence = candidateSequence(`${name}, ${['chosen', 'rejected'][side]}`, prompt, ids);
    if (ids.length === 0) return undefined;
    if (wholePrompt) {
      const whole = { ...sequence, turns: [{ start: 1, end: sequence.ids.length }] };
      return cutOnRight(whole, dialogue.maxLength, tokenizer.endOfTurn);
    }
    return sequence.ids.length > dialogue.maxLength ? undefined : sequence;
  });
}

interface TurnPairRecord {
  input: Parameters<typeof promptMessages>[0];
  chosen: string;
  rejected: string;
  tokens?: [number[], number[]];
}

interface DialoguePairRecord {
  task: AnyTask;
  chosen: { dialogue_history: Message[] };
  rejected: { dialogue_history: Message[] };
}

function checkedTurnPair(value: unknown): TurnPairRecord {
  const { input, chosen, rejected, tokens } = objectOf(value, 'a pair of turns');
  if (typeof chosen !== 'string' || typeof rejected !== 'string') {
    throw new RecordError('Expected strings for chosen and rejected, a pair of turns as rank writes it');
  }
  checkMessages(input);
  if (tokens !== undefined && !(Array.isArray(tokens) && tokens.length === 2 && tokens.every(isTokenIds))) {
    throw new RecordError('Expected two arrays of token ids for tokens');
  }
  return value as TurnPairRecord;
}

function checkedDialoguePair(value: unknown): DialoguePairRecord {
  const { task, chosen, rejected } = objectOf(value, 'a pair of dialogues');
  const checked = checkedAnyTask(task, 'task.');
  const side = (name: string, dialogue: unknown) => {
    try {
      const { dialogue_history } = checkedDialogue({ reward: 0, answer: '', ...objectOf(dialogue, name), task });
      return { dialogue_history };
    } catch (error) {
      if (error instanceof RecordError) error.message = `${name}: ${error.message}`;
      throw error;
    }
  };
  return { task: checked, chosen: side('chosen', chosen), rejected: side('rejected', rejected) };
}

function objectOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new RecordError(`Expected an object for ${what}`);
}
