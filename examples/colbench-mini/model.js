/**
 * A small transformer in jax-js. Stages exchange parameters as plain arrays. The forward pass is compiled once per
 * batch shape and returns logits; losses are elsewhere.
 */
import { jit, nn, numpy as np } from '@jax-js/jax';
import { embeddedIds, vocabulary } from './language.js';
import { random } from './random.js';

/** The sizes that all networks share. */
export const shape = { vocab: vocabulary.length, context: 80, heads: 2, layers: 2 };

/** @typedef {Record<string, { shape: number[], data: Float32Array }>} Params */

/** Hidden size. @param {Params} params */
export const widthOf = (params) => params.tokens.shape[1];

/** Sequences are padded to the next of these lengths. Multiples of 8 make jax-js's matrix products fast. */
const lengths = [32, 48, 64, 80];

/** @returns {number} */
export function paddedLength(rows) {
  const length = lengths.find((candidate) => candidate >= rows);
  if (length === undefined) throw new RangeError(`Expected at most ${shape.context} tokens but received ${rows}`);
  return length;
}

/** @param {number} seed @param {number} width a multiple of 16 @returns {Params} */
export function initialParams(seed, width) {
  const rand = random(seed, 11);
  const { vocab, context, layers } = shape;
  const hidden = 4 * width;
  /** @type {Params} */
  const params = {};
  const add = (name, dims, fill) => {
    params[name] = { shape: dims, data: Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, fill) };
  };
  const normal = (name, dims, deviation) => add(name, dims, () => deviation * rand.normal());
  const norm = (name) => {
    add(`${name}.scale`, [width], () => 1);
    add(`${name}.shift`, [width], () => 0);
  };
  normal('tokens', [vocab, width], 0.08);
  normal('positions', [context, width], 0.05);
  for (let l = 0; l < layers; l++) {
    norm(`${l}.norm1`);
    normal(`${l}.qkv`, [width, 3 * width], 0.1);
    normal(`${l}.out`, [width, width], 0.06);
    norm(`${l}.norm2`);
    normal(`${l}.up`, [width, hidden], 0.1);
    add(`${l}.upBias`, [hidden], () => 0);
    normal(`${l}.down`, [hidden, width], 0.05);
    add(`${l}.downBias`, [width], () => 0);
  }
  norm('final');
  normal('head', [width, vocab], 0.08);
  return params;
}

/** An operation of jax-js consumes its arrays: `share` makes new references to all of them, `dispose` releases them. */
export const toArrays = (params) =>
  Object.fromEntries(Object.entries(params).map(([name, p]) => [name, np.array(p.data).reshape(p.shape)]));
export const share = (arrays) => Object.fromEntries(Object.entries(arrays).map(([name, a]) => [name, a.ref]));
export const dispose = (arrays) => {
  for (const array of Object.values(arrays)) array.dispose();
};

export function layerNorm(x, scale, shift) {
  const centred = x.ref.sub(np.mean(x, -1, { keepdims: true }));
  const variance = np.mean(np.square(centred.ref), -1, { keepdims: true });
  return centred
    .div(np.sqrt(variance.add(1e-5)))
    .mul(scale)
    .add(shift);
}

/** The part of a layer after attention, from the residual stream x and the heads' output y. */
export function afterAttention(x, y, out, normScale, normShift, up, upBias, down, downBias) {
  const residual = x.add(np.matmul(y, out));
  const h = nn.relu(np.matmul(layerNorm(residual.ref, normScale, normShift), up).add(upBias));
  return residual.add(np.matmul(h, down).add(downBias));
}

/** One-hot rows: the embedding is a matrix product, whose gradient is fast. */
export function oneHot(ids) {
  const rows = new Float32Array(ids.length * shape.vocab);
  ids.forEach((code, i) => {
    for (const id of embeddedIds(code)) rows[i * shape.vocab + id] = 1;
  });
  return np.array(rows).reshape([ids.length, shape.vocab]);
}

function compileForward(batch, length) {
  const { context, heads, layers } = shape;
  const future = new Float32Array(length * length);
  for (let i = 0; i < length; i++) future.fill(-1e9, i * length + i + 1, (i + 1) * length);
  const causal = np.array(future).reshape([length, length]);
  const firstRows = new Float32Array(length * context);
  for (let i = 0; i < length; i++) firstRows[i * context + i] = 1;
  const selection = np.array(firstRows).reshape([length, context]);

  return jit(function forward(p, tokens) {
    const width = p.tokens.shape[1];
    const headWidth = width / heads;
    const embedded = np.matmul(tokens, p.tokens).reshape([batch, length, width]);
    let x = embedded.add(np.matmul(selection.ref, p.positions)).reshape([batch * length, width]);
    for (let l = 0; l < layers; l++) {
      const w = (name) => p[`${l}.${name}`];
      const h = layerNorm(x.ref, w('norm1.scale'), w('norm1.shift'));
      const qkv = np.matmul(h, w('qkv')).reshape([batch, length, 3, heads, headWidth]);
      const [query, key, value] = np
        .split(np.transpose(qkv, [2, 0, 3, 1, 4]), 3, 0)
        .map((part) => part.reshape([batch, heads, length, headWidth]));
      const scores = np.matmul(query, np.transpose(key, [0, 1, 3, 2])).mul(1 / Math.sqrt(headWidth));
      const mixed = np.matmul(nn.softmax(scores.add(causal.ref), -1), value);
      const y = np.transpose(mixed, [0, 2, 1, 3]).reshape([batch * length, width]);
      const mlp = ['out', 'norm2.scale', 'norm2.shift', 'up', 'upBias', 'down', 'downBias'].map(w);
      x = afterAttention(x, y, ...mlp);
    }
    return np.matmul(layerNorm(x, p['final.scale'], p['final.shift']), p.head);
  });
}

/** @type {Map<string, ReturnType<typeof compileForward>>} */
const compiled = new Map();

/**
 * The forward pass for `batch` sequences of `length` tokens: (arrays, one-hot tokens) -> logits [batch * length,
 * vocab].
 */
export function forwardPass(batch, length) {
  const key = `${batch}x${length}`;
  let forward = compiled.get(key);
  if (!forward) {
    forward = compileForward(batch, length);
    compiled.set(key, forward);
  }
  return forward;
}
