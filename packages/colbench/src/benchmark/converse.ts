/** A conversation of an agent with a simulated user about a task, up to the agent's answer. */

import { agentInstructions, answerOf, cutReply, lastTurn, maxTurns } from './protocol.js';
import type { Message, Task } from './records.js';

export type ChatMessage = { role: string; content: string };

/**
 * Writes the next message of a chat: a model behind an endpoint, a model in this process, or a script.
 */
export type Chat = (messages: ChatMessage[], options: { signal?: AbortSignal }) => Promise<string> | string;

/**
 * The simulated user: replies to the last assistant message. Sees the task's ground truth, unlike the agent.
 */
export type Human = (task: Task, dialogue: Message[], options: { signal?: AbortSignal }) => Promise<string> | string;

/** @returns the record without its reward */
export async function converse(
  task: Task,
  { agent, human, signal }: { agent: Chat; human: Human; signal?: AbortSignal },
): Promise<{ task: Task; dialogue_history: Message[]; answer: string }> {
  const options = signal === undefined ? {} : { signal };

  const dialogue: Message[] = [{ role: 'user', content: task.problem_description }];
  for (let turn = 1; ; turn++) {
    signal?.throwIfAborted();
    const last = turn === maxTurns;
    const input = agentPrompt(dialogue, last);
    const output = await agent(structuredClone(input), options);
    if (typeof output !== 'string')
      throw new TypeError(`Expected a string from the agent but received ${typeof output}`);
    dialogue.push({ role: 'assistant', content: output, input, output });
    // The last assistant message is the answer, with or without the marker.
    const answer = answerOf(output) ?? (last ? output.trim() : undefined);
    if (answer !== undefined) return { task, dialogue_history: dialogue, answer };
    signal?.throwIfAborted();
    const reply = await human(task, structuredClone(dialogue), options);
    if (typeof reply !== 'string') throw new TypeError(`Expected a string from the human but received ${typeof reply}`);
    dialogue.push({ role: 'user', content: cutReply(reply) });
  }
}

/** The agent's prompt. It never contains the ground truth. */
export function agentPrompt(dialogue: Message[], last: boolean) {
  const messages = [
    { role: 'system', content: agentInstructions },
    ...dialogue.map(({ role, content }) => ({ role, content })),
  ];
  const end = messages.at(-1) as ChatMessage;
  if (last) end.content = `${end.content}\n\n${lastTurn}`;
  return messages;
}
