/** The tables of platforms are what docs/platforms.json says, and it says something of each platform. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PLATFORMS } from '../../scripts/platforms.js';
import { ROOT } from '../helpers/processes.ts';
import { tableIn, tableOf } from '../platforms/table.js';

const measured = JSON.parse(readFileSync(join(ROOT, 'docs', 'platforms.json'), 'utf8')) as object;

it('docs/platforms.json has the platforms of scripts/platforms.js', () => {
  expect(Object.keys(measured)).toEqual(Object.keys(PLATFORMS));
});

it.each(['README.md', 'docs/guide/install.md'])('%s has the table of docs/platforms.json', (page) => {
  expect(tableIn(readFileSync(join(ROOT, page), 'utf8'))).toBe(tableOf(measured));
});
