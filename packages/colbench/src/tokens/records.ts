/** Records as token sequences: dialogues, prompts, candidates; with the privileged information c for the critic. */
import { ownRules, type Rules } from '../benchmark/converse.js';
import { type AnyTask, isAgent, kindOf, type Message, type Prompt } from '../benchmark/records.js';
import { frontendRules } from '../frontend/conversation.js';
import type { Sequence } from '../model.js';
import type { ChatTokenizer, EncodeOptions } from './chat.js';
import type { ChatMessage } from './template.js';

/** How the critic is shown the hidden solution. */
export interface Privileged {
  /** With the placeholder {ground_truth}. */
  template: string;
  /** 'system': the first part of the system message. 'front': before everything, the begin-of-text token included. */
  place: 'system' | 'front';
}

export const ownPrivileged: Privileged = { template: 'Hidden reference solution:\n{ground_truth}', place: 'system' };

/** The released code's c. */
export const releasedPrivileged: Privileged = {
  template: 'In light that the final answer is: {ground_truth}.',
  place: 'front',
};

/** The text of c for a task. */
export const privilegedText = ({ template }: Privileged, { ground_truth }: AnyTask): string =>
  template.replaceAll('{ground_truth}', () => ground_truth);

const plain = ({ role, content }: { role: string; content: string }): ChatMessage => ({
  role: isAgent({ role }) ? 'assistant' : role,
  content,
});

/**
 * The messages of a dialogue up to the agent's last one, as the agent saw them: its last `input` where that is messages,
 * else the instructions of this package and the history.
 */
export function dialogueMessages(history: readonly Message[], task?: AnyTask): ChatMessage[] {
  const at = history.findLastIndex(isAgent);
  const last = history[at];
  if (last === undefined) return [];
  const output = { role: 'assistant', content: last.output ?? last.content };
  return [...promptMessages(last.input, history.slice(0, at), task), output];
}

/** The rules of this package for a task; those of a backend task where it is not known. */
const rulesOf = (task: AnyTask | undefined): Rules =>
  task !== undefined && kindOf(task) === 'frontend' ? frontendRules() : ownRules;

/** The messages of a prompt; where it is a text or missing, the instructions of this package and the history. */
export function promptMessages(input: Prompt | undefined, history: readonly Message[], task?: AnyTask): ChatMessage[] {
  return Array.isArray(input)
    ? input.map(plain)
    : rulesOf(task)
        .prompt([...history], false)
        .map(plain);
}

/** The states of a dialogue: the prompt of each agent turn. */
export function dialogueStates(history: readonly Message[], task?: AnyTask): ChatMessage[][] {
  return history.flatMap((message, i) =>
    isAgent(message) ? [promptMessages(message.input, history.slice(0, i), task)] : [],
  );
}

/** The messages with c as the first part of the system message, which is added where there is none. */
export function withPrivileged(messages: readonly ChatMessage[], text: string): ChatMessage[] {
  const [first, ...rest] = messages;
  if (first?.role !== 'system') return [{ role: 'system', content: text }, ...messages];
  return [{ role: 'system', content: `${text}\n\n${first.content}` }, ...rest];
}

export interface DialogueOptions extends EncodeOptions {
  /** c; without it the sequence is what the policy sees. */
  privileged?: Privileged | undefined;
  /** Longer sequences are left out, or truncated. */
  maxLength: number;
  /** Cut whole turns from the left, never the system message and c. */
  truncate?: boolean | undefined;
  /**
   * As the released trainer: line ends at the end of the dialogue are removed, a space stands before the last end-of-turn token, and
   * long sequences are cut on the right.
   */
  released?: boolean | undefined;
}

/** The sequences of a dialogue within the maximum length, and the number of longer ones. */
export interface EncodedDialogue {
  sequences: Sequence[];
  leftOut: number;
  truncated: number;
}

/**
 * Encodes a dialogue for a training or scoring command.
 *
 * @param id names the record in errors, and the sequence
 * @returns no sequence and `leftOut` > 0 where it is longer than `maxLength`
 * @throws CommandError ERR_TEMPLATE, ERR_CONTROL_TOKEN
 */
export function encodeDialogue(
  tokenizer: ChatTokenizer,
  id: string,
  task: AnyTask,
  history: readonly Message[],
  { privileged, maxLength, truncate = false, released = false, ...options }: DialogueOptions,
): EncodedDialogue {
  const c = privileged === undefined ? undefined : privilegedText(privileged, task);
  const encode = (messages: readonly ChatMessage[]) =>
    tokenizer.encodeDialogue(
      id,
      c !== undefined && privileged?.place === 'system' ? withPrivileged(messages, c) : messages,
      {
        ...options,
        ...(privileged?.place === 'front' && { prefix: c }),
        spaceBeforeEnd: released,
      },
    );
  let messages: readonly ChatMessage[] = dialogueMessages(history, task);
  if (released) messages = withoutLastLineEnds(messages);
  let sequences = encode(messages);
  const isLong = ({ ids }: Sequence) => ids.length > maxLength;
  const long = sequences.filter(isLong).length;
  if (long === 0) return { sequences, leftOut: 0, truncated: 0 };
  if (released) {
    const cut = sequences.map((each) => cutOnRight(each, maxLength, tokenizer.endOfTurn));
    const left = cut.filter(({ turns }) => turns.length > 0);
    return { sequences: left, leftOut: cut.length - left.length, truncated: long };
  }
  if (!truncate) return { sequences: sequences.filter((each) => !isLong(each)), leftOut: long, truncated: 0 };
  while (sequences.some(isLong)) {
    const shorter = withoutFirstTurn(messages);
    if (shorter === undefined) return { sequences: [], leftOut: 1, truncated: 0 };
    messages = shorter;
    sequences = encode(messages);
  }
  return { sequences, leftOut: 0, truncated: 1 };
}

function withoutLastLineEnds(messages: readonly ChatMessage[]): ChatMessage[] {
  const last = messages.length - 1;
  return messages.map((each, i) => (i === last ? { ...each, content: each.content.replace(/\n+$/, '') } : each));
}

/**
 * The first `maxLength` tokens of a sequence, as the released trainer cuts: the last one becomes the end-of-turn token. Turns after
 * them are gone.
 */
export function cutOnRight(sequence: Sequence, maxLength: number, endOfTurn: number | undefined): Sequence {
  if (sequence.ids.length <= maxLength) return sequence;
  const ids = sequence.ids.slice(0, maxLength);
  if (endOfTurn !== undefined) ids[maxLength - 1] = endOfTurn;
  const turns = sequence.turns.map(({ start, end }) => ({ start, end: Math.min(end, maxLength) }));
  return { ...sequence, ids, turns: turns.filter(({ start, end }) => start < end) };
}

/** Without the first agent message and what precedes it, except the system message; undefined if no other is left. */
function withoutFirstTurn(messages: readonly ChatMessage[]): ChatMessage[] | undefined {
  const first = messages.findIndex(isAgent);
  const rest = messages.slice(first + 1);
  if (first < 0 || !rest.some(isAgent)) return undefined;
  return [...messages.slice(0, 1).filter(({ role }) => role === 'system'), ...rest];
}

/** The scores of a candidate need its tokens after the prompt as one turn. */
export function candidateSequence(
  id: string,
  prompt: Int32Array,
  candidate: ArrayLike<number>,
  headerTokens = 0,
): Sequence {
  const ids = new Int32Array(prompt.length + candidate.length);
  ids.set(prompt);
  ids.set(candidate, prompt.length);
  return { id, ids, turns: [{ start: prompt.length - headerTokens, end: ids.length }] };
}
