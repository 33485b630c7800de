/** Agents and simulated users by the options of the command line: endpoints, model folders, scripts. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Complete, type EndpointOptions, endpointCompletions } from '../benchmark/endpoint.js';
import { CommandError, UsageError } from '../errors.js';
import type { Values } from '../values.js';

type Party = 'agent' | 'human' | 'endpoint';

export const endpointOptions = {
  'agent-model': { type: 'string' },
  'agent-temperature': { type: 'string' },
  'agent-key-env': { type: 'string' },
  'timeout-seconds': { type: 'string' },
  attempts: { type: 'string' },
} as const;

export const endpointUsage = `  --agent-model NAME         of an endpoint
  --agent-temperature X      1 for a folder; the endpoint's own
  --agent-key-env NAME       environment variable with the API key (OPENAI_API_KEY)
  --timeout-seconds N        per attempt of a request (120)
  --attempts N               per request (6)`;

export const isUrl = (text: string) => /^https?:\/\//.test(text);

/** Whether a path is a model folder. */
export function checkModelFolder(folder: string): void {
  if (['config.json', 'adapter_config.json'].some((name) => existsSync(join(folder, name)))) return;
  const hint = existsSync(folder) ? 'it has no config.json' : 'it does not exist';
  throw new CommandError('ERR_MODEL', `Expected an address or a model folder but received ${folder}: ${hint}`);
}

/** The completions of the endpoint `url` and the settings that identify a run with it. */
export function endpointOf(
  values: Values,
  party: Party,
  url: string,
  concurrency: number,
  defaults: Pick<EndpointOptions, 'temperature' | 'maxTokens'> = {},
): { complete: Complete; settings: Record<string, unknown> } {
  const model = values.text(`${party}-model`);
  if (model === undefined) throw new UsageError(`The endpoint ${url} needs --${party}-model`);
  const temperature = values.number(`${party}-temperature`, defaults.temperature, 0, 10, false);
  const { maxTokens } = defaults;
  const settings = {
    baseUrl: url,
    model,
    ...(temperature !== undefined && { temperature }),
    ...(maxTokens !== undefined && { maxTokens }),
  };
  const apiKey = process.env[values.text(`${party}-key-env`) ?? 'OPENAI_API_KEY'];
  const complete = endpointCompletions({
    ...settings,
    ...(apiKey && { apiKey }),
    timeoutSeconds: values.number('timeout-seconds', 120, 0.1, 86400, false),
    attempts: values.number('attempts', 6, 1, 100),
    concurrency,
  });
  return { complete, settings };
}

/** A JSON file that an option names. */
export function jsonFile(file: string, option: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new UsageError(`--${option}: ${file}: ${(error as Error).message}`);
  }
}
