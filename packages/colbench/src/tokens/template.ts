/** The chat template of a model folder. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createContext, Script } from 'node:vm';
import { Template } from '@huggingface/jinja';
import { CommandError } from '../errors.js';

export interface ChatMessage {
  role: string;
  content: string;
}

/** The date that templates get: the tokens of a record must not depend on the day. It is the one that Llama 3 falls back to. */
const date: Record<string, string> = { Y: '2024', m: '07', d: '26', b: 'Jul', B: 'July', H: '00', M: '00' };
const fixedDate = (format: string) => format.replace(/%([YmdbBHM])/g, (_, part: string) => date[part] as string);
/** Replaces the function of today's date. The line end is removed with the block. */
const dateMacro = '{%- macro strftime_now(format) -%}{{ fixed_date(format) }}{%- endmacro %}\n';

/** Replaces `range`, as above. */
const rangeBound = '{%- set range = bounded_range -%}\n';
/** Elements of a `range` of a template; the library's own has no limit but the memory. */
const MAX_RANGE = 100_000;
/** A dialogue takes milliseconds; a template may have loops without an end. */
const RENDER_SECONDS = 30;

function boundedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (!(count <= MAX_RANGE)) throw new Error(`range() of more than ${MAX_RANGE} elements`);
  return Array.from({ length: count }, (_, i) => start + i * step);
}

/** A context in which calls have a limit of time. */
const timed = createContext({ render: undefined as (() => string) | undefined });
const call = new Script('render()');

/** Renders messages to text by a Jinja template. */
export class ChatTemplate {
  readonly #template: Template;
  readonly #values: Record<string, unknown>;
  readonly #seconds: number;

  /**
   * @param text in Jinja
   * @param values of its variables, such as bos_token
   * @param seconds of a call of `render`
   * @throws Error for a syntax error
   */
  constructor(text: string, values: Record<string, unknown> = {}, seconds = RENDER_SECONDS) {
    const dated = text.includes('strftime_now');
    const ranged = text.includes('range');
    this.#template = new Template(`${dated ? dateMacro : ''}${ranged ? rangeBound : ''}${text}`);
    this.#values = {
      ...values,
      ...(dated && { fixed_date: fixedDate }),
      ...(ranged && { bounded_range: boundedRange }),
    };
    this.#seconds = seconds;
  }

  /**
   * @param generationPrompt whether the header of the agent's next message follows
   * @throws CommandError ERR_TEMPLATE where the template raises an exception or does not end
   */
  render(messages: readonly ChatMessage[], generationPrompt: boolean): string {
    timed.render = () => this.#template.render({ ...this.#values, messages, add_generation_prompt: generationPrompt });
    try {
      return call.runInContext(timed, { timeout: 1000 * this.#seconds }) as string;
    } catch (cause) {
      const { code, message } = cause as { code?: string; message: string };
      const why =
        code === 'ERR_SCRIPT_EXECUTION_TIMEOUT' ? `has not ended after ${this.#seconds} s` : `fails: ${message}`;
      throw new CommandError('ERR_TEMPLATE', `The chat template ${why}`, { cause });
    }
  }

  /** Whether a system message is rendered; some templates raise an exception or leave it out. */
  takesSystemMessage(): boolean {
    try {
      const messages = [
        { role: 'system', content: 'SYSTEM' },
        { role: 'user', content: 'USER' },
      ];
      return this.render(messages, true).includes('SYSTEM');
    } catch {
      return false;
    }
  }
}

/** Tokens that templates write, by the names of tokenizer_config.json. */
const tokenNames = ['bos_token', 'eos_token', 'unk_token', 'pad_token'];

/** A JSON file of a folder; an empty object if there is none. */
export function readJson(file: string): Record<string, unknown> {
  if (!existsSync(file)) return {};
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new CommandError('ERR_MODEL', `${file} is not JSON: ${(cause as Error).message}`, { cause });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new CommandError('ERR_MODEL', `Expected an object in ${file}`);
}

/**
 * The template of a folder: chat_template.jinja, else chat_template of tokenizer_config.json, a text or a list with the
 * name "default".
 *
 * @param options.file another file with a template
 * @param options.values further variables of the template, such as { enable_thinking: false }
 * @throws CommandError ERR_TEMPLATE where the folder has none
 */
export function loadTemplate(
  folder: string,
  { file, values = {} }: { file?: string | undefined; values?: Record<string, unknown> | undefined } = {},
): ChatTemplate {
  const config = readJson(join(folder, 'tokenizer_config.json'));
  const tokens = Object.fromEntries(
    tokenNames.flatMap((name) => {
      const token = config[name] as string | { content: string } | null | undefined;
      if (token === undefined || token === null) return [];
      const content = typeof token === 'string' ? token : token.content;
      if (typeof content === 'string') return [[name, content]];
      throw new CommandError('ERR_MODEL', `${join(folder, 'tokenizer_config.json')}: Expected a text for ${name}`);
    }),
  );
  const own = join(folder, 'chat_template.jinja');
  const text = file ?? (existsSync(own) ? own : undefined);
  const template = text === undefined ? templateOf(config.chat_template) : readFileSync(text, 'utf8');
  if (template === undefined) {
    const where = 'chat_template.jinja or chat_template in tokenizer_config.json';
    throw new CommandError(
      'ERR_TEMPLATE',
      `${folder} has no chat template (${where}): give one by --chat-template FILE`,
    );
  }
  try {
    return new ChatTemplate(template, { ...tokens, ...values });
  } catch (cause) {
    const message = `The chat template of ${text ?? folder} cannot be read: ${(cause as Error).message}`;
    throw new CommandError('ERR_TEMPLATE', message, { cause });
  }
}

function templateOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  const found = value.find((each: { name?: unknown }) => each?.name === 'default') as
    | { template?: unknown }
    | undefined;
  return typeof found?.template === 'string' ? found.template : undefined;
}
