// The machine code of the kernels, for every architecture that sweet-rl-cuda is built for:  npm run test:cuda:nvcc
//
// Prints registers and shared memory. Fails on a warning, on a stack frame or a spill in any kernel, and on a kernel of
// VECTOR_KERNELS without 16-byte loads or stores.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { each, run } from '../helpers/programs.js';

const FOLDER = join(import.meta.dirname, '..', '..', 'native', 'cuda');
const ARCHITECTURES = [80, 90, 100];
const VECTOR_KERNELS = {
  segment_stats_kernel: ['load'],
  grad_segments_kernel: ['load', 'store'],
  grad_chunk_kernel: ['load', 'store'],
  product_kernel: ['load'],
};

const failures = [];
const fail = (text) => {
  failures.push(text);
  console.log(`FAILED: ${text}`);
};

/** Kernels by their mangled names, with the resources that ptxas reports. */
function resourcesOf(report) {
  const kernels = new Map();
  let current;
  for (const line of report.split('\n')) {
    const name = /Compiling entry function '([^']+)'/.exec(line)?.[1];
    if (name) {
      current = { registers: 0, shared: 0, frame: 0, spills: 0 };
      kernels.set(name, current);
    }
    const frame = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (frame) [current.frame, current.spills] = [Number(frame[1]), Number(frame[2]) + Number(frame[3])];
    const used = /Used (\d+) registers/.exec(line);
    if (used) {
      current.registers = Number(used[1]);
      current.shared = Number(/(\d+) bytes smem/.exec(line)?.[1] ?? 0);
    }
  }
  return kernels;
}

/**
 * The number of 16-byte accesses of global memory in each function of a cubin, an ELF file whose instructions have 16
 * bytes: the low 12 bits are the operation (LDG, STG), three bits from bit 73 on the width (6: 128 bits).
 */
function wideAccessesOf(cubin) {
  const sections = Number(cubin.readBigUInt64LE(40));
  const [count, names] = [cubin.readUInt16LE(60), cubin.readUInt16LE(62)];
  const header = (i) => sections + 64 * i;
  const [offset, size] = [
    (at) => Number(cubin.readBigUInt64LE(at + 24)),
    (at) => Number(cubin.readBigUInt64LE(at + 32)),
  ];
  const strings = offset(header(names));
  const functions = new Map();
  for (let i = 0; i < count; i++) {
    const start = strings + cubin.readUInt32LE(header(i));
    const name = cubin.toString('latin1', start, cubin.indexOf(0, start));
    if (!name.startsWith('.text.')) continue;
    const accesses = { load: 0, store: 0 };
    const first = offset(header(i));
    for (let at = first; at < first + size(header(i)); at += 16) {
      const kind = { 2433: 'load', 2438: 'store' }[cubin.readUInt16LE(at) & 0xfff];
      if (kind && ((cubin.readUInt16LE(at + 8) >> 9) & 7) === 6) accesses[kind]++;
    }
    functions.set(name.slice('.text.'.length), accesses);
  }
  return functions;
}

/** Such as segment_stats_kernel<half, true>, from a mangled name. */
function readable(name) {
  const [, kernel, rest] = /\d([a-z_]+_kernel)(.*)/.exec(name) ?? [undefined, name, ''];
  const type = { f: 'float', _: rest.startsWith('I6__half') ? 'half' : 'bfloat16' }[/^I\d*(.)/.exec(rest)?.[1]];
  const flags = [...rest.matchAll(/Lb([01])E/g)].map(([, bit]) => bit === '1');
  return type ? `${kernel}<${[type, ...flags].join(', ')}>` : kernel;
}

function check(name, architecture, resources, accesses) {
  const { registers, shared, frame, spills } = resources;
  const wide = `${accesses.load} loads, ${accesses.store} stores of 16 bytes`;
  console.log(
    `  sm_${architecture}  ${readable(name).padEnd(44)} ${registers} registers, ${shared} bytes shared; ${wide}`,
  );
  if (frame > 0 || spills > 0)
    fail(`${readable(name)} on sm_${architecture}: ${frame} bytes of stack, ${spills} of spills`);
  for (const kind of Object.entries(VECTOR_KERNELS).find(([kernel]) => name.includes(kernel))?.[1] ?? []) {
    if (accesses[kind] === 0) fail(`${readable(name)} on sm_${architecture} has no 16-byte ${kind}`);
  }
}

const out = mkdtempSync(join(tmpdir(), 'sweet-rl-'));
const flags = ['-std=c++17', '-O3', '-Werror=all-warnings', '-Xcompiler=-Wall,-Wextra,-Werror', '-Xptxas=-v'];
const sources = readdirSync(FOLDER).filter(
  (each) => each.endsWith('.cu') && readFileSync(join(FOLDER, each), 'utf8').includes('__global__'),
);
let kernels = 0;
const compile = (file, architecture) => async () => {
  const cubin = join(out, `${file}.${architecture}`);
  const { status, text } = await run('nvcc', [
    ...flags,
    ...[`-arch=sm_${architecture}`, '-cubin', '-o', cubin, join(FOLDER, file)],
  ]);
  console.log(`${file}, sm_${architecture}`);
  if (status !== 0) {
    fail(`${file} for sm_${architecture}: ${text}`);
    return;
  }
  const accesses = wideAccessesOf(readFileSync(cubin));
  for (const [name, resources] of resourcesOf(text)) {
    check(name, architecture, resources, accesses.get(name));
    kernels++;
  }
};
await each(sources.flatMap((file) => ARCHITECTURES.map((architecture) => compile(file, architecture))));
rmSync(out, { recursive: true });
if (kernels === 0) fail('no kernel was compiled');
console.log(failures.length === 0 ? `${kernels} kernels: no stack frame, no spill` : `${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
