/** The rules of a frontend conversation: which page a message has, when it ends, prompts, lengths. */
import { agentPrompt, type Rules } from '../benchmark/converse.js';
import { marker, maxTurns } from '../benchmark/protocol.js';
import { type FrontendAnswer, isAgent, type Message } from '../benchmark/records.js';

/** Code points of a simulated user's reply. */
export const maxReply = 1000;

/**
 * The page of a message: the first `<html ...>...</html>`, else the first `<body ...>...</body>`, in any case of letters.
 * It ends at the first end tag, also where elements are nested. Linear in the length of the message.
 * @returns undefined where neither element is complete
 */
export const pageOf = (message: string): string | undefined => elementOf(message, 'html') ?? elementOf(message, 'body');

function elementOf(message: string, tag: 'html' | 'body'): string | undefined {
  const start = message.search(new RegExp(`<${tag}[\\s>]`, 'i'));
  const opened = start < 0 ? -1 : message.indexOf('>', start);
  if (opened < 0) return undefined;
  // A later start tag cannot succeed where the first one finds no end tag.
  const rest = message.slice(opened + 1);
  const end = new RegExp(`</${tag}\\s*>`, 'i').exec(rest);
  return end === null ? undefined : message.slice(start, opened + 1 + end.index + end[0].length);
}

/** The last page of the agent's messages. */
export function lastPage(dialogue: readonly Message[]): string | undefined {
  for (const message of [...dialogue].reverse()) {
    const page = isAgent(message) ? pageOf(message.content) : undefined;
    if (page !== undefined) return page;
  }
  return undefined;
}

/**
 * The page that is evaluated: that of `answer`, or the dialogue's last one. The released records have the path of a picture
 * as `answer`; the picture is not part of the record.
 */
export const answerPage = ({ answer, dialogue_history = [] }: FrontendAnswer): string | undefined =>
  pageOf(answer) ?? lastPage(dialogue_history);

const instructions = `You design web pages. A client asks you for a page, has a certain one in mind and sees pictures of yours. Each of your \
messages may contain one whole page, from <html> to </html>, styled by a <style> element or by classes of Tailwind 2.2; scripts \
do not run, and every <img> shows the same grey picture. Ask short questions, show drafts, and change them as the client says. You \
have at most ${maxTurns} messages in all. When you are done, write "${marker}" and then the final page.`;

const hint = `This is your last message. Answer now: "${marker}" and then the final page.`;

/**
 * Each page replaces the answer; the conversation ends at the marker or at the last turn. Without a page the answer is empty.
 * @param system replaces this package's instructions and its hint on the last turn, as in the released code
 */
export const frontendRules = (system?: string): Rules => ({
  prompt: (dialogue, last) =>
    agentPrompt(dialogue, last, system === undefined ? { instructions, hint } : { instructions: system }),
  read: (text, last, dialogue) => ({
    content: text,
    output: text,
    answer: last || text.includes(marker) ? (pageOf(text) ?? lastPage(dialogue) ?? '') : undefined,
  }),
  maxReply,
});

/** The instructions of a vision model as the simulated user. */
export const humanInstructions = `You are a client who talks with a designer about a web page. You have a certain page in mind: its picture is the last \
one. Compare it with the designer's page and tell the designer the most important differences, in at most three sentences and \
${maxReply} characters: layout and columns, colours, sizes, texts. Describe what you want to see. Never write HTML or CSS. If the \
two look the same, say so.`;
