/** The chat template of a model folder. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
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

/** Renders messages to text by a Jinja template. */
export class ChatTemplate {
  readonly #template: Template;
  readonly #values: Record<string, unknown>;

  /**
   * @param text in Jinja
   * @param values of its variables, such as bos_token
   */
  constructor(text: string, values: Record<string, unknown> = {}) {
    const dated = text.includes('strftime_now');
    this.#template = new Template(dated ? dateMacro + text : text);
    this.#values = dated ? { ...values, fixed_date: fixedDate } : values;
  }

  /** @param generationPrompt whether the header of the agent's next message follows */
  render(messages: readonly ChatMessage[], generationPrompt: boolean): string {
    return this.#template.render({ ...this.#values, messages, add_generation_prompt: generationPrompt });
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
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  } catch (cause) {
    throw new CommandError('ERR_MODEL', `${file} is not JSON: ${(cause as Error).message}`, { cause });
  }
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
      return token === undefined || token === null ? [] : [[name, typeof token === 'string' ? token : token.content]];
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
