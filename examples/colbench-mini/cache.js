/** Results of stages on disk, so that a run that was cut off goes on where it was. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { deserialize, serialize } from 'node:v8';

const folder = new URL('./.cache/', import.meta.url);

/** A reader sees the old file or the whole new one, never half of it. */
export function writeAtomically(path, data) {
  const target = path instanceof URL ? fileURLToPath(path) : path;
  const temporary = `${target}.${process.pid}.tmp`;
  writeFileSync(temporary, data);
  renameSync(temporary, target);
}

/** @param {...(string | NodeJS.ArrayBufferView)} parts */
export const hash = (...parts) => {
  const sum = createHash('sha256');
  for (const part of parts) sum.update(part).update('\0');
  return sum.digest('hex').slice(0, 20);
};

/** Code that no result depends on. */
const presentation =
  /^(arguments|bounds|chart|comparison|comparison-[a-z]+|demonstration|main|portable|progress|report|sweep|tune|tuned|validation)\.js$/;

/** Stands for the code of the example, and the version and backend of sweet-rl: a result of others is not taken up. */
function codeVersion() {
  const here = new URL('./', import.meta.url);
  const files = readdirSync(here, { recursive: true, encoding: 'utf8' })
    .filter((name) => /^(stages\/)?[a-z-]+\.js$/.test(name.replaceAll('\\', '/')) && !presentation.test(name))
    .sort();
  const { version } = createRequire(import.meta.url)('sweet-rl/package.json');
  const backend = process.env.SWEET_RL_BACKEND ?? '';
  return hash(version, backend, ...files.flatMap((name) => [name, readFileSync(new URL(name, here))]));
}

export class Cache {
  #version = codeVersion();
  #resume;

  /** @param {{ resume: boolean }} options resume: take up what earlier runs have kept; new results are kept in any case */
  constructor({ resume }) {
    this.#resume = resume;
    mkdirSync(folder, { recursive: true });
  }

  /** A name for a result: the stage's title and a hash of everything that the result depends on. */
  key(title, ...dependencies) {
    const name = title.toLowerCase().replace(/[^a-z0-9]+/g, '-');
    return `${name}-${hash(this.#version, JSON.stringify(dependencies))}`;
  }

  /**
   * @template Value
   * @param {string} key
   * @param {() => Promise<Value>} compute
   * @returns {Promise<Value>}
   */
  async get(key, compute) {
    const path = new URL(key, folder);
    if (this.#resume) {
      try {
        return deserialize(readFileSync(path));
      } catch {
        // not there, or not readable: computed below
      }
    }
    const value = await compute();
    writeAtomically(path, serialize(value));
    return value;
  }
}
