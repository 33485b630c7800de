/** Dialogues as token sequences, with the spans of the agent's turns. */
import { CommandError } from '../errors.js';
import type { Sequence } from '../model.js';
import { encodePieces, type Layout, splitRendered } from './layout.js';
import { type ChatMessage, type ChatTemplate, loadTemplate } from './template.js';
import { TextTokenizer } from './tokenizer.js';

export interface ChatTokenizerOptions {
  /** Control tokens in contents become control tokens, as plain encoding does; false by default. */
  allowSpecial?: boolean | undefined;
}

export interface EncodeOptions {
  /** A sequence of its own for each turn, for templates that change earlier turns. */
  perTurn?: boolean | undefined;
  /** Encoded as ordinary text in front of everything. */
  prefix?: string | undefined;
  /** The last tokens of the header in front of each turn that count as its own; 0 by default. */
  headerTokens?: number | undefined;
  /** A space in front of the end-of-turn token of the last message, as the released code trains its critic. */
  spaceBeforeEnd?: boolean | undefined;
}

const sample: readonly ChatMessage[] = [
  { role: 'user', content: 'Write a function f(x), please: 2 * x + 1.' },
  { role: 'assistant', content: "Is x an integer?\n\n- I don't know that." },
  { role: 'user', content: 'Yes, it is.' },
];

const isAgent = ({ role }: ChatMessage) => role === 'assistant';

/** The tokenizer and the chat template of a model folder. */
export class ChatTokenizer {
  readonly text: TextTokenizer;
  readonly template: ChatTemplate;
  /** Whether the template takes a system message; otherwise its text is the first part of the first user message. */
  readonly takesSystemMessage: boolean;
  /** The token that ends the agent's turn; undefined where the template has none. */
  readonly endOfTurn: number | undefined;
  /** Tokens of the header in front of the agent's content. */
  readonly headerTokens: number;
  readonly #allowSpecial: boolean;
  /** Whether template and contents are encoded apart; otherwise the text as a whole. */
  readonly #apart: boolean;

  constructor(text: TextTokenizer, template: ChatTemplate, { allowSpecial = false }: ChatTokenizerOptions = {}) {
    this.text = text;
    this.template = template;
    const shown = template.render(sample, false);
    const lost = sample.find(({ content }) => !shown.includes(content));
    if (lost !== undefined) {
      throw new CommandError('ERR_TEMPLATE', `The chat template does not show a message of the role ${lost.role}`);
    }
    this.takesSystemMessage = template.takesSystemMessage();
    this.#allowSpecial = allowSpecial;
    this.#apart = !allowSpecial && this.#agreesWithPlainEncoding();
    const header = this.text.encode(template.render(sample.slice(0, 1), true)).length;
    this.headerTokens = header - this.text.encode(template.render(sample.slice(0, 1), false)).length;
    this.endOfTurn = this.text
      .encode(template.render(sample.slice(0, 2), false))
      .slice(header)
      .find(this.#isControl);
  }

  /**
   * Loads the tokenizer and the template of a folder.
   * @param options.chatTemplate a file with another template
   * @param options.templateValues further variables of the template
   */
  static load(
    folder: string,
    options: ChatTokenizerOptions & {
      chatTemplate?: string | undefined;
      templateValues?: Record<string, unknown> | undefined;
    } = {},
  ): ChatTokenizer {
    const { chatTemplate, templateValues, ...more } = options;
    const template = loadTemplate(folder, { file: chatTemplate, values: templateValues });
    return new ChatTokenizer(TextTokenizer.load(folder), template, more);
  }

  readonly #isControl = (id: number) => this.text.isControl(id);

  /** Whether joined pieces have the tokens of the whole text, where no content has a control token. */
  #agreesWithPlainEncoding(): boolean {
    for (const generationPrompt of [true, false]) {
      const split = splitRendered(this.template, sample, generationPrompt);
      if (split === undefined) return false;
      const whole = this.text.encode(this.template.render(sample, generationPrompt));
      const { ids } = encodePieces(this.text, split);
      if (ids.length !== whole.length || ids.some((id, i) => id !== whole[i])) return false;
    }
    return true;
  }

  /** Merges the system message into the first user message where the template takes none. */
  #normalized(messages: readonly ChatMessage[]): readonly ChatMessage[] {
    const [system, first, ...rest] = messages;
    if (this.takesSystemMessage || system?.role !== 'system' || first === undefined) return messages;
    return [{ ...first, content: `${system.content}\n\n${first.content}` }, ...rest];
  }

  #layout(id: string, messages: readonly ChatMessage[], generationPrompt: boolean): Layout {
    if (this.#apart) {
      const split = splitRendered(this.template, messages, generationPrompt);
      if (split !== undefined) return encodePieces(this.text, split);
    }
    for (const [i, message] of messages.entries()) {
      const { role, content } = message;
      // The agent writes tokens such as <think> itself; they are no control tokens.
      const token = this.#allowSpecial ? undefined : this.text.addedIn(content, isAgent(message));
      if (token === undefined) continue;
      const why = 'and with this tokenizer and template it would become a control token; --allow-special permits that';
      throw new CommandError('ERR_CONTROL_TOKEN', `${id}: message ${i} (${role}) contains ${token}, ${why}`);
    }
    return { ids: [...this.text.encode(this.template.render(messages, generationPrompt))], contents: undefined };
  }

  /** The tokens of a prompt, up to where the agent's message begins. */
  encodePrompt(id: string, messages: readonly ChatMessage[], { prefix = '' }: EncodeOptions = {}): Int32Array {
    return Int32Array.from([
      ...this.text.encodePlain(prefix),
      ...this.#layout(id, this.#normalized(messages), true).ids,
    ]);
  }

  /** The tokens of the agent's message, with the end-of-turn token unless it was cut at its maximum length. */
  encodeReply(text: string, stop: 'stop' | 'length' = 'stop'): number[] {
    const end = stop === 'stop' && this.endOfTurn !== undefined ? [this.endOfTurn] : [];
    return [...this.text.encodePlain(text), ...end];
  }

  /**
   * The sequence of a dialogue: its tokens, and for each agent turn the span of its content and end-of-turn token. With
   * `perTurn`, a sequence for each turn, which ends with it.
   *
   * @param id names the record in errors
   * @param messages the system message first, if any
   * @throws CommandError ERR_TEMPLATE naming the first token that differs, where the template changes earlier turns;
   *   ERR_CONTROL_TOKEN
   */
  encodeDialogue(id: string, messages: readonly ChatMessage[], options: EncodeOptions = {}): Sequence[] {
    const all = this.#normalized(messages);
    const turns = all.flatMap((message, i) => (isAgent(message) ? [i] : []));
    if (options.perTurn) {
      return turns.map((i, t) => this.#sequence(`${id}#${t}`, all.slice(0, i + 1), [i], options));
    }
    return turns.length === 0 ? [] : [this.#sequence(id, all, turns, options)];
  }

  #sequence(id: string, messages: readonly ChatMessage[], turns: readonly number[], options: EncodeOptions): Sequence {
    const { headerTokens = 0, prefix = '' } = options;
    const whole = this.#layout(id, messages, false);
    const before = this.text.encodePlain(prefix);
    const spans = turns.map((i) => {
      const prompt = this.#layout(id, messages.slice(0, i), true).ids;
      const ended = i + 1 === messages.length ? whole.ids : this.#layout(id, messages.slice(0, i + 1), false).ids;
      this.#checkPrefix(id, i, prompt, whole.ids);
      this.#checkPrefix(id, i, ended, whole.ids);
      // Where a template writes something between the header and the content, the turn begins with its content.
      const start = whole.contents?.[i]?.start ?? prompt.length;
      const content = whole.contents?.[i]?.end ?? start;
      const after = ended.slice(content).findIndex(this.#isControl);
      const end = after >= 0 ? content + after + 1 : whole.contents === undefined ? ended.length : content;
      return { start: before.length + start - headerTokens, end: before.length + end };
    });
    const last = spans.at(-1);
    const ids = [...before, ...whole.ids];
    if (options.spaceBeforeEnd && last !== undefined && turns.at(-1) === messages.length - 1) {
      const space = this.text.encodePlain(' ');
      const ended = this.#isControl(ids[last.end - 1] as number);
      ids.splice(last.end - Number(ended), 0, ...space);
      last.end += space.length;
    }
    return { id, ids: Int32Array.from(ids), turns: spans };
  }

  #checkPrefix(id: string, message: number, part: readonly number[], whole: readonly number[]): void {
    const at = part.findIndex((token, i) => token !== whole[i]);
    if (at < 0) return;
    const shown = (token: number | undefined) =>
      token === undefined ? 'nothing' : `${token} ${JSON.stringify(this.text.decode([token]))}`;
    const where = `the template renders message ${message} in another way once more messages follow`;
    const tokens = `token ${at} is ${shown(part[at])} at first and ${shown(whole[at])} then`;
    throw new CommandError('ERR_TEMPLATE', `${id}: ${where}: ${tokens}. Use --per-turn`);
  }
}
