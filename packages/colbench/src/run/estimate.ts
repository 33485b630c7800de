/** What is left to do in a stage, as far as its inputs exist. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Dialogue, readRecords, type Task } from '../benchmark/records.js';
import { ChatTokenizer } from '../tokens/chat.js';
import { encodeDialogue, promptMessages } from '../tokens/records.js';
import type { Run } from './execute.js';
import type { Stage } from './stages.js';

/** Batch and epochs of the training commands, where the options do not say otherwise: the paper's, and ours for train-grpo. */
const trainingDefaults: Record<string, { batch: number; epochs: number }> = {
  'train-sft': { batch: 32, epochs: 4 },
  'train-dpo': { batch: 8, epochs: 4 },
  'train-critic': { batch: 8, epochs: 4 },
  'train-policy': { batch: 8, epochs: 1 },
  'train-grpo': { batch: 32, epochs: 1 },
};

export interface StageEstimate {
  stage: string;
  state: 'finished' | 'unfinished' | 'to do';
  /** Records of the input; undefined where it does not exist yet. */
  records?: number;
  steps?: number;
  /** Of a training: of all epochs. Of sampling: new tokens at most. */
  tokens?: number;
}

/** What a stage of a run will do. */
export async function estimateStage(run: Run, stage: Stage, model: string): Promise<StageEstimate> {
  const file = run.fileOf(stage.name);
  const state = file === undefined ? 'to do' : file.state === 'finished' ? 'finished' : 'unfinished';
  const input = run.pathOf(stage.input);
  if (state === 'finished' || !existsSync(input)) return { stage: stage.name, state };
  const records: Record<string, unknown>[] = [];
  const check = (value: unknown) => value as Record<string, unknown>;
  for await (const { record } of readRecords(input, check, { onFault: () => {} })) records.push(record);
  return { stage: stage.name, state, records: records.length, ...workOf(stage, records, model) };
}

function workOf({ command, options }: Stage, all: readonly Record<string, unknown>[], model: string) {
  const number = (name: string, fallback: number) => Number(options[name] ?? fallback);
  const training = trainingDefaults[command];
  const leastReward = command === 'train-sft' ? number('min-reward', 1) : 0;
  const records = all.filter(({ reward }) => typeof reward !== 'number' || reward >= leastReward);
  if (training !== undefined) {
    const epochs = number('epochs', training.epochs);
    const steps = Math.ceil(epochs * Math.max(1, Math.floor(records.length / number('batch', training.batch))));
    const tokens = tokensOf(records, model);
    return { steps: Math.min(steps, number('steps', steps)), ...(tokens !== undefined && { tokens: epochs * tokens }) };
  }
  if (command === 'candidates') {
    const used = records.slice(0, Math.floor(number('fraction', 1) * records.length));
    const turns = (record: Record<string, unknown>) =>
      (record as unknown as Dialogue).dialogue_history.filter(({ role }) => role !== 'user').length;
    const states = used.reduce((sum, record) => sum + turns(record), 0);
    return { tokens: states * number('n', 16) * number('max-tokens', 1024) };
  }
  return {};
}

/** Tokens of the dialogues of pairs, of dialogues or of turn pairs; undefined without a tokenizer. */
function tokensOf(records: readonly Record<string, unknown>[], model: string): number | undefined {
  if (!existsSync(join(model, 'tokenizer.json'))) return undefined;
  const tokenizer = ChatTokenizer.load(model);
  const ofDialogue = (task: unknown, history: unknown) =>
    encodeDialogue(tokenizer, '', task as Task, history as Dialogue['dialogue_history'], {
      maxLength: 2 ** 24,
    }).sequences.reduce((sum, { ids }) => sum + ids.length, 0);
  const ofRecord = ({ task, chosen, rejected, dialogue_history, input }: Record<string, unknown>): number => {
    if (dialogue_history !== undefined) return ofDialogue(task, dialogue_history);
    if (typeof chosen === 'string') {
      const prompt = tokenizer.encodePrompt('', promptMessages(input as Dialogue['dialogue_history'], [])).length;
      return 2 * prompt + tokenizer.encodeReply(chosen).length + tokenizer.encodeReply(String(rejected)).length;
    }
    const sides = [chosen, rejected] as { dialogue_history: unknown }[];
    return sides.reduce((sum, side) => sum + ofDialogue(task, side.dialogue_history), 0);
  };
  return records.reduce((sum, record) => sum + ofRecord(record), 0);
}
