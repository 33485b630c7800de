/** Results of stages on disk, from which an interrupted run resumes. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { deserialize, serialize } from 'node:v8';
import { FileReplacement } from 'sweet-rl/safetensors';

const folder = new URL('./.cache/', import.meta.url);

/** Replaces a file atomically: readers see the old or the new content, never a part. */
export function writeAtomically(path, data) {
  const file = new FileReplacement(path);
  try {
    file.append(data);
    file.commit();
  } finally {
    file.discard();
  }
}

/** @param {...(string | NodeJS.ArrayBufferView)} parts */
export const hash = (...parts) => {
  const sum = createHash('sha256');
  for (const part of parts) sum.update(part).update('\0');
  return sum.digest('hex').slice(0, 20);
};

/** Modules that do not affect results. */
const presentation =
  /^(arguments|bounds|chart|comparison.*|demonstration|main|portable|progress|report|sweep|tuned?|validation)\.js$/;

/** A hash of the example's code and of sweet-rl's version and backend: results of other code are not reused. */
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

  /** @param {{ resume: boolean }} options resume: reuse results of earlier runs; new results are always stored */
  constructor({ resume }) {
    this.#resume = resume;
    mkdirSync(folder, { recursive: true });
  }

  /** The name of a result: the stage's title and a hash of everything that the result depends on. */
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
        // missing or unreadable: computed below
      }
    }
    const value = await compute();
    writeAtomically(path, serialize(value));
    return value;
  }
}
