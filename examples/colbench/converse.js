/** A conversation of an agent with a human about a task, up to the agent's answer. */
import { agentInstructions, answerOf, cutReply, lastTurn, maxTurns } from './protocol.js';

/** @typedef {import('./records.js').Task} Task */
/** @typedef {import('./records.js').Message} Message */
/** @typedef {{ role: string, content: string }} ChatMessage */

/**
 * Anything that goes on with a chat: a model behind an endpoint, a model in this process, a script.
 * @typedef {(messages: ChatMessage[], options: { signal?: AbortSignal }) => Promise<string> | string} Chat
 */

/**
 * What the human replies to the agent's last message; sees the hidden function.
 * @typedef {(task: Task, dialogue: Message[], options: { signal?: AbortSignal }) => Promise<string> | string} Human
 */

/**
 * @param {Task} task
 * @param {{ agent: Chat, human: Human, signal?: AbortSignal }} parties
 * @returns {Promise<{ task: Task, dialogue_history: Message[], answer: string }>} the record, but for the reward
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
    // The last message is the answer, whether it says so or not.
    const answer = answerOf(output) ?? (last ? output.trim() : undefined);
    if (answer !== undefined) return { task, dialogue_history: dialogue, answer };
    signal?.throwIfAborted();
    const reply = await human(task, structuredClone(dialogue), options);
    if (typeof reply !== 'string') throw new TypeError(`Expected a string from the human but received ${typeof reply}`);
    dialogue.push({ role: 'user', content: cutReply(reply) });
  }
}

/** What the agent sees: never the hidden function. @param {Message[]} dialogue @param {boolean} last */
export function agentPrompt(dialogue, last) {
  const messages = [
    { role: 'system', content: agentInstructions },
    ...dialogue.map(({ role, content }) => ({ role, content })),
  ];
  const end = /** @type {ChatMessage} */ (messages.at(-1));
  if (last) end.content = `${end.content}\n\n${lastTurn}`;
  return messages;
}
