// What tokenLogps and linearLogps share: from a checked head to the call of the native operation.
import type * as native from '../addon/operations.js';
import { float32 } from '../args/arrays.js';
import { headInputs, type ScaleOptions } from '../args/head.js';
import { type CheckedLabels, type LabelOptions, labelInputs } from '../args/labels.js';
import { boolean } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import type { ShardOptions } from '../args/vocab-shard.js';
import { typeError } from '../errors.js';
import {
  assertFinite,
  checkDebug,
  type DebugOption,
  headMatrices,
  rowMatrices,
  rowsRead,
} from '../runtime/assert-finite.js';
import type { PreparedCall } from '../runtime/call.js';
import { Results } from '../runtime/results.js';

/** Which statistics of its rows a call computes besides log-probs. */
export interface StatisticsOptions {
  /** Also compute the entropy; false by default. */
  entropy?: boolean | undefined;
  /** Also find the largest logit; false by default. */
  argmax?: boolean | undefined;
  /** Also compute the sum of the squares of all probabilities; false by default. */
  sumSquaredProbs?: boolean | undefined;
}

/** The statistics that were asked for. Where lse is NaN: NaN, -1 and NaN. */
export interface RowStatistics {
  /** [N], nats; 0 in rows that are not read. */
  entropy?: Float32Array<ArrayBuffer>;
  /** [N], the token id of the largest logit, the lowest of equal ones; -1 in rows that are not read. */
  argmax?: Int32Array<ArrayBuffer>;
  /** [N], sum_v p_v^2; 0 in rows that are not read. */
  sumSquaredProbs?: Float32Array<ArrayBuffer>;
}

/** Buffers for them. */
export interface StatisticsOut {
  entropy?: Float32Array | undefined;
  argmax?: Int32Array | undefined;
  sumSquaredProbs?: Float32Array | undefined;
}

export interface LogpsOut extends StatisticsOut {
  logps?: Float32Array | undefined;
  lse?: Float32Array | undefined;
}

/** Log-probs, what their gradient needs, and the statistics that were asked for. */
export interface Logps extends RowStatistics {
  /** [N], log p(label); 0 where the row is masked or ignored. */
  logps: Float32Array<ArrayBuffer>;
  /** [N], log sum exp of the row. */
  lse: Float32Array<ArrayBuffer>;
}

/** Options of a forward pass besides the head. */
export interface ForwardOptions extends StatisticsOptions, LabelOptions, DebugOption {
  out?: LogpsOut | undefined;
}

/** Options of a backward pass besides the head and `out`. */
export interface BackwardOptions extends ScaleOptions, ShardOptions, LabelOptions, DebugOption {
  /** [N], of the forward pass over the same head. */
  lse: ArrayOrTensor<Float32Array>;
  /** [N], the gradient of the loss at each log-prob. One of the three gradients must be given. */
  gradLogps?: ArrayOrTensor<Float32Array> | undefined;
  /** [N], the gradient of the loss at each entropy; with `entropy`. */
  gradEntropy?: ArrayOrTensor<Float32Array> | undefined;
  /** [N], of the forward pass over the same head; with `gradEntropy`. */
  entropy?: ArrayOrTensor<Float32Array> | undefined;
  /** [N], the gradient of the loss at each lse. */
  gradLse?: ArrayOrTensor<Float32Array> | undefined;
}

/** Options of a backward pass that are arrays over the rows. */
export const UPSTREAM_OPTIONS = ['lse', 'gradLogps', 'gradEntropy', 'entropy', 'gradLse'] as const;

/** The options of statistics, and the names of their results. */
export const STATISTICS = ['entropy', 'argmax', 'sumSquaredProbs'] as const;

export const LOGPS_OUT = new Set<string>(['logps', 'lse', ...STATISTICS]);

export function checkStatistics({ entropy, argmax, sumSquaredProbs }: StatisticsOptions) {
  return {
    entropy: boolean('entropy', entropy, false),
    argmax: boolean('argmax', argmax, false),
    sumSquaredProbs: boolean('sumSquaredProbs', sumSquaredProbs, false),
  };
}

/** The results of the statistics of N rows. */
export function statisticsOut(results: Results, rows: number, options: StatisticsOptions) {
  const asked = checkStatistics(options);
  for (const name of STATISTICS) {
    if (!asked[name] && results.has(name)) results.refuse(name, `${name}: true asks for it`);
  }
  return {
    entropy: asked.entropy ? results.float32('entropy', rows) : undefined,
    argmax: asked.argmax ? results.int32('argmax', rows) : undefined,
    sumSquaredProbs: asked.sumSquaredProbs ? results.float32('sumSquaredProbs', rows) : undefined,
  };
}

/** The results of a forward pass over N rows. */
export function logpsOut(results: Results, rows: number, options: StatisticsOptions): native.LogpsOut {
  const logps = results.float32('logps', rows);
  const lse = results.float32('lse', rows);
  const { entropy, argmax, sumSquaredProbs } = statisticsOut(results, rows, options);
  return { logps, lse, entropy, argmax, sumSquaredProbs };
}

export function forwardCall(head: native.Head, labels: CheckedLabels, options: ForwardOptions): PreparedCall<'logps'> {
  const debug = checkDebug(options);
  const results = new Results(options.out, labels.data);
  const out = logpsOut(results, labels.rows, options);
  const addon = results.place([...headInputs(head), ...labelInputs(labels)]);
  if (debug) assertFinite(headMatrices(head, rowsRead(labels, true)));
  return { addon, operation: 'logps', args: { head, labels, out }, results, debug };
}

/** The arrays of a backward pass over N rows. */
function checkUpstream(options: BackwardOptions, rows: number) {
  const optional = (name: string, value: unknown) => (value === undefined ? undefined : float32(name, value, rows));
  const lse = float32('lse', options.lse, rows);
  const gradLogps = optional('gradLogps', options.gradLogps);
  const gradEntropy = optional('gradEntropy', options.gradEntropy);
  const gradLse = optional('gradLse', options.gradLse);
  if (gradLogps === undefined && gradEntropy === undefined && gradLse === undefined) {
    const rule = `Expected gradLogps, gradEntropy or gradLse, Float32Arrays of length ${rows}, but received none of them`;
    throw typeError('ERR_ARG_TYPE', rule);
  }
  if (gradEntropy === undefined && options.entropy !== undefined) {
    throw typeError('ERR_UNKNOWN_OPTION', 'Expected no entropy but received one: it belongs to gradEntropy');
  }
  const entropy = gradEntropy === undefined ? undefined : float32('entropy', options.entropy, rows);
  return { lse, gradLogps, gradEntropy, entropy, gradLse };
}

/** `gradientsOf` takes the buffers of the gradients at the head. */
export function backwardCall(
  head: native.Head,
  labels: CheckedLabels,
  options: BackwardOptions & { out?: object | undefined },
  gradientsOf: (results: Results) => native.HeadGradients,
): PreparedCall<'logpsBackward'> {
  const { lse, gradLogps, gradEntropy, entropy, gradLse } = checkUpstream(options, labels.rows);
  const debug = checkDebug(options);
  const results = new Results(options.out, labels.data);
  const gradients = gradientsOf(results);
  const given: (readonly [string, Float32Array])[] = [['lse', lse]];
  if (gradLogps !== undefined) given.push(['gradLogps', gradLogps]);
  if (gradEntropy !== undefined) given.push(['gradEntropy', gradEntropy], ['entropy', entropy as Float32Array]);
  if (gradLse !== undefined) given.push(['gradLse', gradLse]);
  const inputs = [...headInputs(head), ...labelInputs(labels), ...given];
  const addon = results.place(inputs, { result: 'gradLogits', input: 'logits' });
  if (debug) {
    const read = rowsRead(labels, false);
    assertFinite([...headMatrices(head, read), ...rowMatrices(given, read)]);
  }
  const args = { head, labels, lse, gradLogps, gradEntropy, entropy, gradLse, gradients };
  return { addon, operation: 'logpsBackward', args, results, debug };
}
