/** A conversation of an agent with a simulated user about a task, up to the agent's answer. */

import { agentInstructions, answerOf, cutReply, lastTurn, maxReply, maxTurns } from './protocol.js';
import type { AnyTask, Message, Task } from './records.js';

export type ChatMessage = { role: string; content: string };

/**
 * Writes the next message of a chat: a model behind an endpoint, a model in this process, or a script.
 */
export type Chat = (messages: ChatMessage[], options: { signal?: AbortSignal }) => Promise<string> | string;

/**
 * The simulated user: replies to the last assistant message. Sees the task's ground truth, unlike the agent.
 */
export type Human<T extends AnyTask = AnyTask> = (
  task: T,
  dialogue: Message[],
  options: { signal?: AbortSignal },
) => Promise<string> | string;

/** How a conversation is held: the agent's prompt, and what counts of its messages. */
export interface Rules {
  prompt(dialogue: Message[], last: boolean): ChatMessage[];
  /**
   * @param text the agent's message
   * @param dialogue the messages before it
   * @returns what the simulated user sees, what the record keeps as `output`, and the answer, undefined if the
   *   conversation goes on
   */
  read(
    text: string,
    last: boolean,
    dialogue: readonly Message[],
  ): { content: string; output: string; answer: string | undefined };
  /** Code points of a simulated user's reply. */
  maxReply: number;
}

/** The rules of this package; the released code's are in released.ts. */
export const ownRules: Rules = {
  prompt: (dialogue, last) => agentPrompt(dialogue, last),
  // The last assistant message is the answer, with or without the marker.
  read: (text, last) => ({ content: text, output: text, answer: answerOf(text) ?? (last ? text.trim() : undefined) }),
  maxReply,
};

/** @returns the record without its reward */
export async function converse<T extends AnyTask = Task>(
  task: T,
  { agent, human, signal, rules = ownRules }: { agent: Chat; human: Human<T>; signal?: AbortSignal; rules?: Rules },
): Promise<{ task: T; dialogue_history: Message[]; answer: string }> {
  const options = signal === undefined ? {} : { signal };
  const dialogue: Message[] = [{ role: 'user', content: task.problem_description }];
  for (let turn = 1; ; turn++) {
    signal?.throwIfAborted();
    const last = turn === maxTurns;
    const input = rules.prompt(dialogue, last);
    const text = await agent(structuredClone(input), options);
    if (typeof text !== 'string') throw new TypeError(`Expected a string from the agent but received ${typeof text}`);
    const { content, output, answer } = rules.read(text, last, dialogue);
    dialogue.push({ role: 'assistant', content, input, output });
    if (answer !== undefined) return { task, dialogue_history: dialogue, answer };
    signal?.throwIfAborted();
    const reply = await human(task, structuredClone(dialogue), options);
    if (typeof reply !== 'string') throw new TypeError(`Expected a string from the human but received ${typeof reply}`);
    dialogue.push({ role: 'user', content: cutReply(reply, rules.maxReply) });
  }
}

/** The agent's prompt. It never contains the ground truth. */
export function agentPrompt(
  dialogue: readonly Message[],
  last: boolean,
  { instructions, hint }: { instructions: string; hint?: string } = { instructions: agentInstructions, hint: lastTurn },
): ChatMessage[] {
  const messages = [
    { role: 'system', content: instructions },
    ...dialogue.map(({ role, content }) => ({ role, content })),
  ];
  const end = messages.at(-1) as ChatMessage;
  if (last && hint !== undefined) end.content = `${end.content}\n\n${hint}`;
  return messages;
}
