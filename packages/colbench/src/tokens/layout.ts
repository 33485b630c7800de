/** Messages as template pieces and contents. */
import type { ChatMessage, ChatTemplate } from './template.js';
import type { TextTokenizer } from './tokenizer.js';

/** Tokens of rendered messages, and where the content of each message is. */
export interface Layout {
  ids: number[];
  /** [start, end) of each content in `ids`; undefined where the text was encoded as a whole. */
  contents: { start: number; end: number }[] | undefined;
}

/** What templates do to contents. */
const strippings = [
  (text: string) => text,
  (text: string) => text.trim(),
  (text: string) => text.trimStart(),
  (text: string) => text.trimEnd(),
  (text: string) => text.replace(/^\n+|\n+$/g, ''),
  (text: string) => text.replace(/^\n+/, ''),
  (text: string) => text.replace(/\n+$/, ''),
];

/** Private-use characters, which no template tests for. */
const placeholder = (i: number) => `\uE0F0${i}\uE0F1`;

/**
 * The rendered text split at the contents: pieces[0] + contents[0] + pieces[1] + ... Contents are stripped as the template
 * does.
 * @returns undefined where the rendered text is not of that form
 */
export function splitRendered(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  generationPrompt: boolean,
): { pieces: string[]; contents: string[] } | undefined {
  const marked = messages.map((message, i) => ({ ...message, content: placeholder(i) }));
  const pieces: string[] = [];
  let rest = template.render(marked, generationPrompt);
  for (let i = 0; i < messages.length; i++) {
    const [before, after, ...more] = rest.split(placeholder(i));
    if (before === undefined || after === undefined || more.length > 0) return undefined;
    pieces.push(before);
    rest = after;
  }
  pieces.push(rest);

  const rendered = template.render(messages, generationPrompt);
  if (!rendered.startsWith(pieces[0] as string)) return undefined;
  let at = (pieces[0] as string).length;
  const contents: string[] = [];
  for (const [i, { content }] of messages.entries()) {
    const next = pieces[i + 1] as string;
    const strip = strippings.find((each) => rendered.startsWith(each(content) + next, at));
    if (strip === undefined) return undefined;
    contents.push(strip(content));
    at += strip(content).length + next.length;
  }
  return at === rendered.length ? { pieces, contents } : undefined;
}

/** The tokens of pieces and contents, joined; control tokens in contents are ordinary text. */
export function encodePieces(tokenizer: TextTokenizer, split: { pieces: string[]; contents: string[] }): Layout {
  const ids: number[] = [];
  const contents: { start: number; end: number }[] = [];
  for (const [i, piece] of split.pieces.entries()) {
    for (const id of tokenizer.encode(piece)) ids.push(id);
    const content = split.contents[i];
    if (content === undefined) continue;
    const start = ids.length;
    for (const id of tokenizer.encodePlain(content)) ids.push(id);
    contents.push({ start, end: ids.length });
  }
  return { ids, contents };
}
