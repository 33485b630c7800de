import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const build = fileURLToPath(new URL('../build/CMakeFiles/', import.meta.url));
const objects = (existsSync(build) ? readdirSync(build, { recursive: true, encoding: 'utf8' }) : []).filter((path) =>
  /^sweet_kernels_.*\.o$/.test(path),
);

// A weak symbol may be merged with another object's, and the copy that stays may hold instructions that an old processor
// does not have.
describe('the kernels of one instruction set', () => {
  it.runIf(objects.length > 0).each(objects)('share no code with other objects: %s', (path) => {
    const symbols = execFileSync('nm', ['-C', build + path], { encoding: 'utf8' }).split('\n');
    expect(symbols.filter((line) => / [WVu] /.test(line))).toEqual([]);
    const entries = symbols.filter((line) => / T /.test(line));
    expect(entries.length).toBeGreaterThan(0);
    for (const entry of entries) expect(entry).toMatch(/sweet::\w+(portable|avx2|avx512|avx512bf16|neon)\(/);
  });
});
