/** Two humans: a model that is shown the hidden function, and a script. */
import { humanInstructions } from './protocol.js';

/** @typedef {import('./converse.js').Chat} Chat */
/** @typedef {import('./converse.js').Human} Human */

/**
 * A model that plays the human. To it, the agent is the user.
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
 * @property {{ asked: string, reply: string, problem?: string }[]} topics what is said where the question matches `asked`, a
 *   regular expression, and the problem, if given, its own
 * @property {string} [again] to a question whose topic was asked before
 * @property {string} [unknown] to a question of no topic
 */

/**
 * A human without a model, by the rules of the miniature's: tells what was asked for, says that something was asked before,
 * and knows nothing else.
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
