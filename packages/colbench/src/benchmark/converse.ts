/** A conversation of an agent with a simulated user about a task, up to the agent's answer. */
import { agentInstructions, answerOf, cutReply, lastTurn, maxTurns } from './protocol.js';

/** @typedef {import('./records.js').Task} Task */
/** @typedef {import('./records.js').Message} Message */
/** @typedef {{ role: string, content: string }} ChatMessage */

/**
 * Writes the next message of a chat: a model behind an endpoint, a model in this process, or a script.
 * @typedef {(messages: ChatMessage[], options: { signal?: AbortSignal }) => Promise<string> | string} Chat
 */

/**
 * The simulated user: replies to the last assistant message. Sees the task's ground truth, unlike the agent.
 * @typedef {(task: Task, dialogue: Message[], options: { signal?: AbortSignal }) => Promise<string> | string} Human
 */

/**
 * @param {Task} task
 * @param {{ agent: Chat, human: Human, signal?: AbortSignal }} parties
 * @returns {Promise<{ task: Task, dialogue_history: Message[], answer: string }>} the record without its reward
 */
export async function converse(task, { agent, human, signal }) {
  const options = signal === undefined ? {} : { signal };
  /** @type {Message[]} */
  const dialogue = [{ role: 'user', content: task.problem_description }];
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

/** The agent's prompt. It never contains the ground truth. @param {Message[]} dialogue @param {boolean} last */
export function agentPrompt(dialogue, last) {
  const messages = [
    { role: 'system', content: agentInstructions },
    ...dialogue.map(({ role, content }) => ({ role, content })),
  ];
  const end = /** @type {ChatMessage} */ (messages.at(-1));
  if (last) end.content = `${end.content}\n\n${lastTurn}`;
  return messages;
}
