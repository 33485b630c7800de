/**
 * Batched decoding with a key-value cache. Dense layers run compiled over all rows; attention over each row's cache is
 * plain JavaScript. A sequence is a generator: it yields the token to feed and receives the logits after it. Keys and
 * values of a common prefix are computed once and copied.
 */
import { jit, numpy as np } from '@jax-js/jax';
import { embeddedIds } from './language.js';
import { afterAttention, dispose, layerNorm, shape, share, toArrays, widthOf } from './model.js';

/**
 * @typedef {object} Prediction
 * @property {Float32Array} logits [vocab], valid until the next yield
 * @property {number} row
 */
/** @typedef {Generator<number, void, Prediction>} Sequence */
/** @typedef {{ length: number, keys: Float32Array[], values: Float32Array[] }} Past */

const { vocab, context, heads, layers } = shape;

const firstProjection = jit((p, x) => np.matmul(layerNorm(x, p.scale, p.shift), p.weight));
const layerStep = jit((p, x, y) => {
  const next = afterAttention(x, y, p.out, p.scale2, p.shift2, p.up, p.upBias, p.down, p.downBias);
  return { x: next.ref, projected: np.matmul(layerNorm(next, p.scale, p.shift), p.weight) };
});

export class Sampler {
  #params;
  #width;
  #arrays;
  #first;
  #steps;
  #rows;
  #keys;
  #values;
  #tokens;
  #positions;
  #weights = new Float32Array(context);

  /** @param {import('./model.js').Params} params */
  constructor(params, rows = 256) {
    const width = widthOf(params);
    this.#params = params;
    this.#width = width;
    this.#rows = rows;
    this.#arrays = toArrays(params);
    const projection = (l) => {
      const [norm, weight] = l < layers ? [`${l}.norm1`, `${l}.qkv`] : ['final', 'head'];
      const { [`${norm}.scale`]: scale, [`${norm}.shift`]: shift, [weight]: matrix } = this.#arrays;
      return { scale, shift, weight: matrix };
    };
    this.#first = projection(0);
    this.#steps = Array.from({ length: layers }, (_, l) => {
      const w = (name) => this.#arrays[`${l}.${name}`];
      return {
        out: w('out'),
        scale2: w('norm2.scale'),
        shift2: w('norm2.shift'),
        up: w('up'),
        upBias: w('upBias'),
        down: w('down'),
        downBias: w('downBias'),
        ...projection(l + 1),
      };
    });
    const store = () => Array.from({ length: layers }, () => new Float32Array(rows * context * width));
    this.#keys = store();
    this.#values = store();
    this.#tokens = new Int32Array(rows);
    this.#positions = new Int32Array(rows);
  }

  /**
   * Runs sequences until the queue is empty. It is read from its end and may grow meanwhile.
   * @param {{ sequence: Sequence, past?: Past }[]} queue
   * @param {() => void} [onFinish] called when a sequence ends
   */
  run(queue, onFinish = () => {}) {
    const running = new Array(this.#rows);
    const free = Array.from({ length: this.#rows }, (_, row) => this.#rows - 1 - row);
    let active = [];
    for (;;) {
      while (free.length && queue.length) {
        const { sequence, past } = queue.pop();
        const { done, value } = sequence.next();
        if (done) {
          onFinish();
          continue;
        }
        const row = free.pop();
        running[row] = sequence;
        this.#tokens[row] = value;
        this.#positions[row] = past ? this.#restore(row, past) : 0;
        active.push(row);
      }
      if (active.length === 0) return;
      const logits = this.#step(active);
      const next = [];
      for (const row of active) {
        const { done, value } = running[row].next({ logits: logits.subarray(row * vocab, (row + 1) * vocab), row });
        if (done) {
          free.push(row);
          onFinish();
        } else {
          this.#tokens[row] = value;
          this.#positions[row]++;
          next.push(row);
        }
      }
      active = next;
    }
  }

  /** A copy of a row's cache. */
  past(row) {
    const width = this.#width;
    const length = this.#positions[row] + 1;
    const start = row * context * width;
    const copy = (store) => store.map((layer) => layer.slice(start, start + length * width));
    return { length, keys: copy(this.#keys), values: copy(this.#values) };
  }

  dispose() {
    dispose(this.#arrays);
  }

  #restore(row, { length, keys, values }) {
    const start = row * context * this.#width;
    for (let l = 0; l < layers; l++) {
      this.#keys[l].set(keys[l], start);
      this.#values[l].set(values[l], start);
    }
    return length;
  }

  #step(active) {
    const rows = this.#rows;
    const width = this.#width;
    const embedded = new Float32Array(rows * width);
    const { tokens, positions } = this.#params;
    for (const row of active) {
      const into = row * width;
      const position = this.#positions[row] * width;
      for (let i = 0; i < width; i++) embedded[into + i] = positions.data[position + i];
      for (const id of embeddedIds(this.#tokens[row])) {
        for (let i = 0; i < width; i++) embedded[into + i] += tokens.data[id * width + i];
      }
    }
    let x = np.array(embedded).reshape([rows, width]);
    let projected = firstProjection(share(this.#first), x.ref);
    for (let l = 0; l < layers; l++) {
      const y = np.array(this.#attend(l, projected.dataSync(), active)).reshape([rows, width]);
      ({ x, projected } = layerStep(share(this.#steps[l]), x, y));
    }
    x.dispose();
    return projected.dataSync();
  }

  #attend(l, qkv, active) {
    const keys = this.#keys[l];
    const values = this.#values[l];
    const weights = this.#weights;
    const width = this.#width;
    const headWidth = width / heads;
    const y = new Float32Array(this.#rows * width);
    const scale = 1 / Math.sqrt(headWidth);
    for (const row of active) {
      const query = row * 3 * width;
      const position = this.#positions[row];
      const past = row * context * width;
      keys.set(qkv.subarray(query + width, query + 2 * width), past + position * width);
      values.set(qkv.subarray(query + 2 * width, query + 3 * width), past + position * width);
      for (let head = 0; head < width; head += headWidth) {
        let max = -Infinity;
        for (let t = 0; t <= position; t++) {
          const key = past + t * width + head;
          let dot = 0;
          for (let i = 0; i < headWidth; i++) dot += qkv[query + head + i] * keys[key + i];
          weights[t] = dot * scale;
          if (weights[t] > max) max = weights[t];
        }
        let sum = 0;
        for (let t = 0; t <= position; t++) {
          weights[t] = Math.exp(weights[t] - max);
          sum += weights[t];
        }
        const output = row * width + head;
        for (let t = 0; t <= position; t++) {
          const weight = weights[t] / sum;
          const value = past + t * width + head;
          for (let i = 0; i < headWidth; i++) y[output + i] += weight * values[value + i];
        }
      }
    }
    return y;
  }
}

/** A token sampled at a temperature; at temperature 0 the most probable one. */
export function choose(logits, rand, temperature) {
  let best = 0;
  for (let v = 1; v < logits.length; v++) if (logits[v] > logits[best]) best = v;
  if (temperature === 0) return best;
  const weight = (v) => Math.exp((logits[v] - logits[best]) / temperature);
  let sum = 0;
  for (let v = 0; v < logits.length; v++) sum += weight(v);
  let rest = rand.next() * sum;
  for (let v = 0; v < logits.length; v++) {
    rest -= weight(v);
    if (rest < 0) return v;
  }
  return best;
}
