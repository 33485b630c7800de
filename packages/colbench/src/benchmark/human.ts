/** Simulated users: a model that sees the ground truth, and a script. ColBench calls them human simulators. */
import type { Chat, Human } from './converse.js';
import { humanInstructions } from './protocol.js';

/** A model as the simulated user. In its prompt the roles are exchanged: the agent's messages are the user's. */
export const modelHuman =
  (chat: Chat): Human =>
  (task, dialogue, options) => {
    const other = (role: string) => (role === 'assistant' ? 'user' : 'assistant');
    return chat(
      [
        { role: 'system', content: humanInstructions(task.ground_truth) },
        ...dialogue.map(({ role, content }) => ({ role: other(role), content })),
      ],
      options,
    );
  };

export interface Script {
  /**
   * The reply to a question that matches the regular expression `asked`, in tasks whose description matches `problem` and
   * whose hidden function matches `truth` (default: all tasks).
   */
  topics: { asked: string; reply: string; problem?: string; truth?: string }[];
  /** The reply to a repeated topic. */
  again?: string;
  /** The reply to a question of no topic. */
  unknown?: string;
}

/**
 * A simulated user without a model, by the rules of examples/colbench-mini: it answers questions of its topics, says
 * when a topic is repeated, and answers nothing else.
 */
export function scriptedHuman({
  topics,
  again = 'I told you already.',
  unknown = 'I have no preference there.',
}: Script): Human {
  const compiled = topics.map(({ asked, reply, problem = '', truth = '' }) => ({
    asked: new RegExp(asked, 'i'),
    problem: new RegExp(problem, 'i'),
    truth: new RegExp(truth),
    reply,
  }));
  return ({ problem_description, ground_truth }, dialogue) => {
    const questions = dialogue.filter(({ role }) => role === 'assistant').map(({ content }) => content);
    const known = compiled.filter(
      ({ problem, truth }) => problem.test(problem_description) && truth.test(ground_truth),
    );
    const topicOf = (question: string) => known.find(({ asked }) => asked.test(question));
    const topic = topicOf(questions.at(-1) ?? '');
    if (topic === undefined) return unknown;
    return questions.slice(0, -1).some((question) => topicOf(question) === topic) ? again : topic.reply;
  };
}
