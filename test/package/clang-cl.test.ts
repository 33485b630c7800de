/** The flags of the hosted build for Windows: clang-cl takes fewer than Clang, and ignores some in silence. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../helpers/processes.ts';

const [, given] = /if\(MSVC\)\n[^)]*?add_compile_options\(([^)]*)\)/.exec(
  readFileSync(join(ROOT, 'CMakeLists.txt'), 'utf8'),
)!;
const flags = given!.split(' ');
const there = spawnSync('clang++-14', ['--version']).status === 0;

/** The assembly and the warnings of a * b + c for a CPU with FMA. Without the headers of MSVC: no library is included. */
function compile(options: string[]): { assembly: string; warnings: string } {
  const folder = mkdtempSync(join(tmpdir(), 'clang-cl-'));
  try {
    const source = join(folder, 'sum.cpp');
    writeFileSync(source, 'double sum(double a, double b, double c) { return a * b + c; }\n');
    const target = ['--driver-mode=cl', '--target=x86_64-pc-windows-msvc', '-mfma', '/O2', '/c'];
    const files = [`/Fa${join(folder, 'sum.asm')}`, `/Fo${join(folder, 'sum.obj')}`, '--', source];
    const { status, stderr } = spawnSync('clang++-14', [...target, ...options, ...files], { encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
    return { assembly: readFileSync(join(folder, 'sum.asm'), 'utf8'), warnings: stderr };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe.runIf(there || process.env.CI)('clang-cl', () => {
  it('takes the flags of CMakeLists.txt, and contracts nothing', () => {
    const { assembly, warnings } = compile(flags);
    expect(warnings).toBe('');
    expect(assembly).toMatch(/v?mulsd/);
    expect(assembly).not.toMatch(/vfn?m(add|sub)/);
  });

  it('contracts without them, where -ffp-contract=off is not passed on', () => {
    const { assembly, warnings } = compile([
      '/clang:-ffp-contract=fast',
      ...flags.filter((flag) => !flag.includes('contract')),
    ]);
    expect(warnings).toBe('');
    expect(assembly).toMatch(/vfmadd/);
  });
});
