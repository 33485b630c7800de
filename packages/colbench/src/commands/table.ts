/** The commands by name. Each is loaded when it is used: a command that needs a module does not slow down the others. */
import type { Command } from '../command.js';

type Module = Record<string, unknown>;

/** The modules in the order of --help, with the commands that each exports. */
const modules: readonly (readonly [readonly string[], () => Promise<Module>])[] = [
  [['tasks'], () => import('./tasks.js')],
  [['converse'], () => import('./converse.js')],
  [['evaluate'], () => import('./evaluate.js')],
  [['pairs'], () => import('./pairs.js')],
  [['train-critic', 'train-policy', 'train-sft', 'train-dpo', 'train-grpo'], () => import('./train.js')],
  [['candidates'], () => import('./candidates.js')],
  [['score'], () => import('./score.js')],
  [['rank'], () => import('./rank.js')],
  [['merge'], () => import('./merge.js')],
  [['tiny'], () => import('./tiny.js')],
  [['run'], () => import('./run.js')],
  [['view'], () => import('./view.js')],
];

/** The names of all commands. */
export const commandNames: readonly string[] = modules.flatMap(([names]) => names);

const isCommand = (value: unknown): value is Command =>
  typeof value === 'object' && value !== null && 'run' in value && 'usage' in value;

/** The command of a name, undefined if there is none. A module exports each command under any name. */
export async function findCommand(name: string): Promise<Command | undefined> {
  const entry = modules.find(([names]) => names.includes(name));
  if (entry === undefined) return undefined;
  const exported = Object.values(await entry[1]()).flatMap((value) => (Array.isArray(value) ? value : [value]));
  return exported.find((value): value is Command => isCommand(value) && value.name === name);
}
