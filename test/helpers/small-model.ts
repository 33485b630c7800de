/** A model small enough for finite differences: logits = tanh(x * up) * head + bias, in float32 as frameworks have it. */
import type { Random } from './random.ts';

export interface Sizes {
  rows: number;
  inputs: number;
  width: number;
  words: number;
}

export type Model = Record<'up' | 'head' | 'bias', Float32Array>;

export function randomModel(random: Random, { inputs, width, words }: Sizes, scale = 0.7): Model {
  return {
    up: Float32Array.from(random.normals(inputs * width, scale)),
    head: Float32Array.from(random.normals(width * words, scale)),
    bias: Float32Array.from(random.normals(words, 0.3)),
  };
}

function hiddenOf({ up }: Model, x: Float32Array, { rows, inputs, width }: Sizes): Float32Array {
  const hidden = new Float32Array(rows * width);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < width; j++) {
      let sum = 0;
      for (let k = 0; k < inputs; k++) sum = Math.fround(sum + x[i * inputs + k]! * up[k * width + j]!);
      hidden[i * width + j] = Math.tanh(sum);
    }
  }
  return hidden;
}

export function logitsOf(model: Model, x: Float32Array, sizes: Sizes): Float32Array {
  const { rows, width, words } = sizes;
  const hidden = hiddenOf(model, x, sizes);
  const logits = new Float32Array(rows * words);
  for (let i = 0; i < rows; i++) {
    for (let v = 0; v < words; v++) {
      let sum = model.bias[v]!;
      for (let j = 0; j < width; j++) sum = Math.fround(sum + hidden[i * width + j]! * model.head[j * words + v]!);
      logits[i * words + v] = sum;
    }
  }
  return logits;
}

/** The way back from the gradient of the logits to that of the parameters. */
export function gradientOf(model: Model, x: Float32Array, gradLogits: Float32Array, sizes: Sizes): Model {
  const { rows, inputs, width, words } = sizes;
  const hidden = hiddenOf(model, x, sizes);
  const up = new Float32Array(inputs * width);
  const head = new Float32Array(width * words);
  const bias = new Float32Array(words);
  for (let i = 0; i < rows; i++) {
    for (let v = 0; v < words; v++) bias[v]! += gradLogits[i * words + v]!;
    for (let j = 0; j < width; j++) {
      const h = hidden[i * width + j]!;
      let sum = 0;
      for (let v = 0; v < words; v++) {
        head[j * words + v]! += h * gradLogits[i * words + v]!;
        sum += model.head[j * words + v]! * gradLogits[i * words + v]!;
      }
      for (let k = 0; k < inputs; k++) up[k * width + j]! += x[i * inputs + k]! * sum * (1 - h * h);
    }
  }
  return { up, head, bias };
}
