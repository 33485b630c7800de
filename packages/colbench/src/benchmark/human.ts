/** Simulated users: a model that sees the ground truth, and a script. ColBench calls them human simulators. */
import { humanInstructions } from './protocol.js';

/** @typedef {import('./converse.js').Chat} Chat */
/** @typedef {import('./converse.js').Human} Human */

/**
 * A model as the simulated user. In its prompt the roles are exchanged: the agent's messages are the user's.
 * @param {Chat} chat
 * @returns {Human}
 */
export const modelHuman = (chat) => (task, dialogue, options) => {
  const other = (/** @type {string} */ role) => (role === 'assistant' ? 'user' : 'assistant');
  return chat(
    [
      { role: 'system', content: humanInstructions(task.ground_truth) },
      ...dialogue.map(({ role, content }) => ({ role: other(role), content })),
    ],
    options,
  );
};

/**
 * @typedef {object} Script
 * @property {{ asked: string, reply: string, problem?: string }[]} topics the reply to a question that matches the
 *   regular expression `asked`, in tasks whose description matches `problem` (default: all tasks)
 * @property {string} [again] the reply to a repeated topic
 * @property {string} [unknown] the reply to a question of no topic
 */

/**
 * A simulated user without a model, by the rules of examples/colbench-mini: it answers questions of its topics, says
 * when a topic is repeated, and answers nothing else.
 * @param {Script} script
 * @returns {Human}
 */
export function scriptedHuman({ topics, again = 'I told you already.', unknown = 'I have no preference there.' }) {
  const compiled = topics.map(({ asked, reply, problem = '' }) => ({
    asked: new RegExp(asked, 'i'),
    problem: new RegExp(problem, 'i'),
    reply,
  }));
  return ({ problem_description }, dialogue) => {
    const questions = dialogue.filter(({ role }) => role === 'assistant').map(({ content }) => content);
    const known = compiled.filter(({ problem }) => problem.test(problem_description));
    const topicOf = (/** @type {string} */ question) => known.find(({ asked }) => asked.test(question));
    const topic = topicOf(questions.at(-1) ?? '');
    if (topic === undefined) return unknown;
    return questions.slice(0, -1).some((question) => topicOf(question) === topic) ? again : topic.reply;
  };
}
