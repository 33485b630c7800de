/** The tokenizer of a model folder by the options of the command line, and what ends a message. */
import { join } from 'node:path';
import { CommandError, UsageError } from '../errors.js';
import type { Values } from '../values.js';
import { ChatTokenizer } from './chat.js';
import { readJson } from './template.js';

export const tokenOptions = {
  'chat-template': { type: 'string' },
  'template-values': { type: 'string' },
  'allow-special': { type: 'boolean' },
} as const;

export const tokenUsage = `  --chat-template FILE       instead of the template of the folder
  --template-values JSON     variables of the template, such as '{"enable_thinking": false}'
  --allow-special            control tokens in messages become control tokens`;

/** The tokenizer of a folder. */
export function tokenizerOf(folder: string, values: Values): ChatTokenizer {
  const text = values.text('template-values');
  let templateValues: Record<string, unknown> | undefined;
  try {
    templateValues = text === undefined ? undefined : JSON.parse(text);
  } catch (error) {
    throw new UsageError(`Expected JSON for --template-values: ${(error as Error).message}`);
  }
  if (
    text !== undefined &&
    (typeof templateValues !== 'object' || templateValues === null || Array.isArray(templateValues))
  ) {
    throw new UsageError(`Expected a JSON object for --template-values but received ${text}`);
  }
  return ChatTokenizer.load(folder, {
    chatTemplate: values.text('chat-template'),
    templateValues,
    allowSpecial: values.flag('allow-special'),
  });
}

/** The tokens that end a message: of the template, and eos_token_id of generation_config.json or config.json. */
export function stopTokens(folder: string, tokenizer: ChatTokenizer): number[] {
  const given = [readJson(join(folder, 'generation_config.json')), readJson(join(folder, 'config.json'))].flatMap(
    ({ eos_token_id }) => (Array.isArray(eos_token_id) ? eos_token_id : [eos_token_id]) as unknown[],
  );
  const bad = given.find((id) => id !== undefined && id !== null && !Number.isInteger(id));
  if (bad !== undefined) {
    const message = `${folder}: Expected token ids for eos_token_id but received ${JSON.stringify(bad)}`;
    throw new CommandError('ERR_MODEL', message);
  }
  const ids = [tokenizer.endOfTurn, ...given].filter((id): id is number => typeof id === 'number');
  return [...new Set(ids)];
}

/** The text of a file that an option names, for c. */
export function privilegedFile(values: Values): string | undefined {
  const file = values.text('c-template');
  if (file === undefined) return undefined;
  const text = values.textFile('c-template').replace(/\n$/, '');
  if (!text.includes('{ground_truth}')) throw new UsageError(`--c-template: ${file} does not contain {ground_truth}`);
  return text;
}
