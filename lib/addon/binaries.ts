/** What `sweet-rl info` tells of the system: the CPU, and each binary of the package. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { libc, root } from './load-native.cjs';

const BUILT = path.join('build', 'Release', 'sweet_rl.node');

/** The binaries of the package, and why each is loaded or not. `loaded` is the path of the one that is. */
export function binaries(loaded: string | undefined): { file: string; state: string }[] {
  const folder = path.join(root, 'prebuilds');
  const prebuilt = existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort() : [];
  const files = [
    BUILT,
    ...prebuilt.filter((file) => file.endsWith('.node')).map((file) => path.join('prebuilds', file)),
  ];
  return files.map((file) => ({ file, state: stateOf(file, loaded) }));
}

function stateOf(file: string, loaded: string | undefined): string {
  if (loaded !== undefined && path.join(root, file) === loaded) return 'loaded';
  if (file === BUILT && !existsSync(path.join(root, file))) return 'not there; npx sweet-rl build makes it';
  return `not loaded, ${unsuitable(file) ?? (loaded === undefined ? 'see above' : `${path.relative(root, loaded)} is preferred`)}`;
}

/** Why a prebuilt binary, prebuilds/<platform>-<arch>/sweet-rl[.<libc>].node, is of no use here. */
function unsuitable(file: string): string | undefined {
  const [, platform, library] = /([^/\\]+)[/\\][^/\\.]+(?:\.(\w+))?\.node$/.exec(file) ?? [];
  if (file === BUILT) return undefined;
  if (platform !== `${process.platform}-${process.arch}`) return `for ${platform}`;
  return library === undefined || library === libc() ? undefined : `for ${library}`;
}

// What the kernels use: native/cpu/isa.
const FEATURES = ['avx2', 'fma', 'f16c', 'avx512f', 'avx512bw', 'avx512dq', 'avx512vl', 'avx512_bf16', 'asimd'];

/** The CPU's name, and on Linux those of its features that matter; elsewhere the backends tell them. */
export function cpuFeatures(): string {
  const model = cpus()[0]?.model.trim() || 'unknown model';
  try {
    const [, flags = ''] = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1')) ?? [];
    const found = FEATURES.filter((feature) => flags.split(' ').includes(feature));
    return `${model}, with ${found.join(' ') || 'none of the features that the kernels use'}`;
  } catch {
    return model;
  }
}
