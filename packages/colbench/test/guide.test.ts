/** Every command in the pages takes the options that it is shown with. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { describe, expect, it } from 'vitest';
import { commandNames, findCommand } from '../src/commands/table.ts';
import { PACKAGE } from './helpers/files.ts';

const pages = ['README.md', '../../docs/guide/your-model.md'];
const text = (page: string) => readFileSync(join(PACKAGE, page), 'utf8');

/** Commands of another part of the package that may not be there. */
const find = (name: string) => findCommand(name).catch(() => undefined);

describe.each(pages)('%s', (page) => {
  const lines = text(page)
    .split('\n')
    .filter((line) => line.startsWith('npx colbench '))
    .map((line) => line.replace(/^npx colbench /, '').trim());
  it.each(lines)('colbench %s', async (line) => {
    const [name, ...args] = line.split(/ +/);
    if (name === '--help') return;
    expect(commandNames).toContain(name);
    const command = await find(name!);
    if (command === undefined) return;
    const { positionals } = parseArgs({ args, options: command.options, allowPositionals: true });
    expect(positionals).toHaveLength(1);
  });
});

it('the README has every error code, and no other', () => {
  const sources = readdirSync(join(PACKAGE, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.ts$/.test(name),
  );
  const codes = (files: string[]) => new Set(files.flatMap((file) => text(file).match(/ERR_[A-Z_]+/g) ?? []));
  // Of Node itself.
  const foreign = ['ERR_SCRIPT_EXECUTION_TIMEOUT', 'ERR_STREAM_PREMATURE_CLOSE'];
  const own = [...codes([...sources.map((name) => join('src', name)), 'trainer.py'])].filter(
    (code) => !foreign.includes(code),
  );
  expect([...codes(['README.md'])].sort()).toEqual(own.sort());
});

it('the usage of each command names all of its options', async () => {
  for (const name of commandNames) {
    const command = await find(name);
    if (command === undefined) continue;
    const missing = Object.keys(command.options).filter((option) => !command.usage.includes(`--${option}`));
    expect([name, missing]).toEqual([name, []]);
    const shown = [...command.usage.matchAll(/--([a-z][a-z-]*)/g)].map(([, option]) => option!);
    const known = [...Object.keys(command.options), 'help', 'json'];
    // That of run shows no options of the commands that it runs.
    expect([name, shown.filter((option) => !known.includes(option))]).toEqual([name, []]);
  }
});
