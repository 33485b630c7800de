/**
 * The behaviour of the released evaluator and of its conversations, for `--as released`. One deviation: truth and answer
 * run in separate processes here, so an object whose __eq__ is always true fails instead of passing.
 */
import { createHash } from 'node:crypto';
import type { Chat, Human, Rules } from './converse.js';
import { EndpointError } from './endpoint.js';
import { marker, maxReply } from './protocol.js';
import type { Message } from './records.js';
import type { Limits } from './sandbox/run.js';

/** An answer that contains one of these texts anywhere gets the reward 0 and is not run. */
const forbidden = [
  'import os',
  'from os',
  'import sys',
  'from sys',
  'sudo',
  'transformers',
  'exit(',
  'quit(',
  'argparse',
] as const;

/** The first forbidden text in an answer. */
export const forbiddenText = (answer: string): string | undefined => forbidden.find((text) => answer.includes(text));

const fence = '```';

/** The program of an answer: nothing is stripped, and the info string of a plain fence is part of the program. */
export function releasedProgramOf(answer: string): string {
  const [, python] = answer.split(`${fence}python`);
  const text = python === undefined ? answer : (python.split(fence)[0] as string);
  return text.split(fence)[1] ?? text;
}

/** The digest of None, as the harness encodes it. */
export const NONE_DIGEST = createHash('sha256').update('o4:None').digest('hex');

/** An answer has 1 s for program and call. The truth has no limit there; here it has a minute a call. */
export const releasedSeconds = {
  answer: (calls: number): Partial<Limits> => ({ callSeconds: 1, totalSeconds: 2 * calls + 10 }),
  truth: { callSeconds: 60, totalSeconds: 600 } satisfies Partial<Limits>,
};

/** Why an answer has another reward than by our rules. */
export type Cause = 'substring' | 'fence' | 'None' | 'namespace';

/** Between the first and the second `mark`; the whole text without one. */
const between = (text: string, mark: string): string => text.split(mark)[1] ?? text;

const output = 'OUTPUT:';

/**
 * The rules of the released conversations.
 *
 * @param system the agent's system message, verbatim: a placeholder for the dialogue is not filled in there
 */
export const releasedRules = (system: string): Rules => ({
  prompt: (dialogue) => [
    { role: 'system', content: system },
    ...dialogue.map(({ role, content }) => ({ role, content })),
  ],
  read: (text, last) => {
    const content = between(text, output);
    const answers = content.includes(marker) || last;
    return {
      content,
      output: text.split(output).slice(0, 2).join(output),
      answer: answers ? between(content, marker) : undefined,
    };
  },
  maxReply,
});

/** The dialogue as the released simulated user reads it. */
const dialogueText = (dialogue: readonly Message[]) =>
  `${dialogue.map(({ role, content }) => `${role === 'assistant' ? 'agent' : role}:${content}\n\n\n\n`).join('')}agent:`;

/**
 * The stateless simulated user of the released code: one user message for each reply. A request that the endpoint refuses
 * (HTTP 400) is answered by "No response.".
 *
 * @param template with the placeholders {problem_description}, {hidden_information} and {dialogue_history}
 */
export const releasedHuman =
  (chat: Chat, template: string): Human =>
  async (task, dialogue, options) => {
    const fields: Record<string, string> = {
      problem_description: task.problem_description,
      hidden_information: task.ground_truth,
      dialogue_history: dialogueText(dialogue),
    };
    const content = template.replace(/\{(\w+)\}/g, (whole, name: string) => fields[name] ?? whole);
    const messages = [
      { role: 'system', content: 'You are a helpful assistant.' },
      { role: 'user', content },
    ];
    try {
      return await chat(messages, options);
    } catch (error) {
      if (error instanceof EndpointError && error.status === 400) return 'No response.';
      throw error;
    }
  };
