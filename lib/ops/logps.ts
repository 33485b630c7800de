// What tokenLogps and linearLogps share: from a checked head to the call of the native operation.
import type * as native from '../addon/operations.js';
import { float32 } from '../args/arrays.js';
import { headInputs, type TemperatureOption } from '../args/head.js';
import { type CheckedLabels, type LabelOptions, labelInputs } from '../args/labels.js';
import type { Mode } from '../args/options.js';
import { boolean } from '../args/scalars.js';
import type { ShardOptions } from '../args/vocab-shard.js';
import {
  assertFinite,
  backwardMatrices,
  checkDebug,
  type DebugOption,
  headMatrices,
  rowsRead,
} from '../runtime/assert-finite.js';
import type { PreparedCall } from '../runtime/call.js';
import { Results } from '../runtime/results.js';

export interface LogpsOut {
  logps?: Float32Array | undefined;
  lse?: Float32Array | undefined;
  entropy?: Float32Array | undefined;
}

/** Log-probs, what their gradient needs, and the entropy where it was asked for. */
export interface Logps {
  /** [N], log p(label); 0 where the row is masked or ignored. */
  logps: Float32Array<ArrayBuffer>;
  /** [N], log sum exp of the row. */
  lse: Float32Array<ArrayBuffer>;
  /** [N], nats; only when asked for. */
  entropy?: Float32Array<ArrayBuffer>;
}

/** Options of a forward pass besides the head. */
export interface ForwardOptions extends LabelOptions, DebugOption {
  /** Also compute the entropy; false by default. */
  entropy?: boolean | undefined;
  out?: LogpsOut | undefined;
}

/** Options of a backward pass besides the head and `out`. */
export interface BackwardOptions extends TemperatureOption, ShardOptions, LabelOptions, DebugOption {
  /** [N], of the forward pass over the same head. */
  lse: Float32Array;
  /** [N], the gradient of the loss at each log-prob. */
  gradLogps: Float32Array;
}

export const LOGPS_OUT = new Set(['logps', 'lse', 'entropy']);

/** The results of a forward pass over N rows. */
export function logpsOut(results: Results, rows: number, entropy: boolean): native.LogpsOut {
  const logps = results.float32('logps', rows);
  const lse = results.float32('lse', rows);
  if (!entropy) results.refuse('entropy', 'entropy: true asks for it');
  return { logps, lse, entropy: entropy ? results.float32('entropy', rows) : undefined };
}

export function forwardCall(
  head: native.Head,
  labels: CheckedLabels,
  options: ForwardOptions,
  mode: Mode,
): PreparedCall<'logps'> {
  const entropy = boolean('entropy', options.entropy, false);
  const debug = checkDebug(options);
  const results = new Results(options.out, labels.data, mode);
  const out = logpsOut(results, labels.rows, entropy);
  const addon = results.place([...headInputs(head), ...labelInputs(labels)]);
  if (debug) assertFinite(headMatrices(head, rowsRead(labels, true)));
  return { addon, operation: 'logps', args: { head, labels, out }, results, debug };
}

/** `gradientsOf` takes the buffers of the gradients at the head. */
export function backwardCall(
  head: native.Head,
  labels: CheckedLabels,
  options: BackwardOptions & { out?: object | undefined },
  gradientsOf: (results: Results) => native.HeadGradients,
  mode: Mode,
): PreparedCall<'logpsBackward'> {
  const lse = float32('lse', options.lse, labels.rows);
  const gradLogps = float32('gradLogps', options.gradLogps, labels.rows);
  const debug = checkDebug(options);
  const results = new Results(options.out, labels.data, mode);
  const gradients = gradientsOf(results);
  const inputs = [...headInputs(head), ...labelInputs(labels), ['lse', lse], ['gradLogps', gradLogps]] as const;
  const addon = results.place(inputs, { result: 'gradLogits', input: 'logits' });
  if (debug) {
    const read = rowsRead(labels, false);
    assertFinite([...headMatrices(head, read), ...backwardMatrices(lse, gradLogps, read)]);
  }
  const args = { head, labels, lse, gradLogps, gradients };
  return { addon, operation: 'logpsBackward', args, results, debug };
}
