/**
 * TensorFlow.js from where examples/adapters installs it (npm ci --prefix examples/adapters): 300 MB that only two checks need.
 * CI always has it; elsewhere what needs it is skipped where it is not installed.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { TensorFlow } from 'sweet-rl/tfjs';
import { ROOT } from './processes.ts';

export const ADAPTERS = join(ROOT, 'examples', 'adapters');

export interface Tensor {
  shape: number[];
  dtype: string;
  dataSync(): Float32Array;
}

/** The operations that the tests use, on float32 tensors. */
export interface Tf extends TensorFlow<Tensor> {
  setBackend(name: string): Promise<boolean>;
  tensor(values: Float32Array, shape: number[]): Tensor;
  matMul(a: Tensor, b: Tensor): Tensor;
  add(a: Tensor, b: Tensor | number): Tensor;
  sub(a: Tensor, b: Tensor): Tensor;
  mul(a: Tensor, b: Tensor | number): Tensor;
  sum(x: Tensor, axis?: number): Tensor;
  neg(x: Tensor): Tensor;
  tanh(x: Tensor): Tensor;
  softplus(x: Tensor): Tensor;
  logSoftmax(x: Tensor): Tensor;
  reshape(x: Tensor, shape: number[]): Tensor;
  cast(x: Tensor, dtype: string): Tensor;
  tidy<T>(action: () => T): T;
  memory(): { numTensors: number };
  valueAndGrads(f: (...xs: Tensor[]) => Tensor): (xs: Tensor[]) => { value: Tensor; grads: Tensor[] };
  grad(f: (x: Tensor) => Tensor): (x: Tensor) => Tensor;
}

export async function loadTensorflow(): Promise<Tf | undefined> {
  const require = createRequire(join(ADAPTERS, 'package.json'));
  try {
    // All of it: the core alone has no gradients in Node.
    const tf = require('@tensorflow/tfjs') as Tf;
    await tf.setBackend('cpu');
    return tf;
  } catch (cause) {
    const missing = (cause as { code?: string }).code === 'MODULE_NOT_FOUND';
    if (missing && !process.env.CI) return undefined;
    throw new Error('TensorFlow.js is needed: npm ci --prefix examples/adapters', { cause });
  }
}
