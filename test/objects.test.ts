import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { availableBackends } from './helpers/machine.ts';

const object = (backend: string) =>
  fileURLToPath(new URL(`../build/CMakeFiles/sweet_kernels_${backend}.dir/native/cpu/kernels.cpp.o`, import.meta.url));

// A weak symbol may be merged with another object's, and the copy that stays may hold instructions that an old processor
// does not have.
describe('the kernels of one instruction set', () => {
  const built = availableBackends.filter((backend) => existsSync(object(backend)));
  it.runIf(built.length > 0).each(built)('share no code with other objects: %s', (backend) => {
    const symbols = execFileSync('nm', ['-C', object(backend)], { encoding: 'utf8' }).split('\n');
    expect(symbols.filter((line) => / [WVu] /.test(line))).toEqual([]);
    expect(symbols.filter((line) => / T /.test(line))).toHaveLength(1);
  });
});
