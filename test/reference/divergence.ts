/**
 * Divergences of distributions and their gradients at the student's logits, in float64, from their definitions:
 *
 *     P, Q = softmax(y / teacherTemperature), softmax(z / temperature),  M = b P + (1 - b) Q
 *     KL(A || B) = sum A log(A / B), where 0 log 0 = 0
 *     dD/dz by the chain rule through the Jacobian of the softmax:  sum_u dD/dQ_u Q_u (1[u = v] - Q_v)
 */
export interface Pair {
  /** [V] each, before the temperature. */
  student: ArrayLike<number>;
  teacher: ArrayLike<number>;
  temperature?: number | undefined;
  teacherTemperature?: number | undefined;
}

export interface Kind {
  divergence: 'forward_kl' | 'reverse_kl' | 'jsd';
  jsdBeta?: number | undefined;
}

export interface RowResult {
  divergence: number;
  /** [V] at the student's logits. */
  gradient: Float64Array;
}

export function divergenceOf(pair: Pair, kind: Kind): RowResult {
  const { temperature = 1, teacherTemperature = temperature } = pair;
  const logQ = logSoftmax(Float64Array.from(pair.student, (x) => x / temperature));
  const logP = logSoftmax(Float64Array.from(pair.teacher, (x) => x / teacherTemperature));
  return { divergence: distance(logP, logQ, kind), gradient: scaled(throughSoftmax(logP, logQ, kind), temperature) };
}

export interface TopK {
  student: ArrayLike<number>;
  indices: ArrayLike<number>;
  logps: ArrayLike<number>;
  tail?: 'bucket' | 'renormalize' | undefined;
  temperature?: number | undefined;
}

export function topKDivergenceOf({ student, indices, logps, tail, temperature = 1 }: TopK, kind: Kind): RowResult {
  const z = Float64Array.from(student, (x) => x / temperature);
  const K = indices.length;
  const support = Array.from(indices);
  const gradient = new Float64Array(z.length);
  if (tail === 'renormalize') {
    const logQ = logSoftmax(Float64Array.from(support, (v) => z[v]!));
    const logP = logSoftmax(Float64Array.from(logps));
    for (const [k, d] of throughSoftmax(logP, logQ, kind).entries()) gradient[support[k]!] = d / temperature;
    return { divergence: distance(logP, logQ, kind), gradient };
  }
  const others = Array.from(z.keys()).filter((v) => !support.includes(v));
  const all = logSoftmax(z);
  const bucket = K < z.length;
  const mass = Array.from(logps).reduce((sum, logp) => sum + Math.exp(logp), 0);
  const logP = Float64Array.from([...Array.from(logps), ...(bucket ? [Math.log(Math.max(1 - mass, 1e-7))] : [])]);
  const ofOthers = logSumExp(Float64Array.from(others, (v) => all[v]!));
  const logQ = Float64Array.from([...support.map((v) => all[v]!), ...(bucket ? [ofOthers] : [])]);
  // dD/dlogit of the K + 1 entries as if they were logits; an entry of the bucket has its share of the bucket's.
  const d = throughSoftmax(logP, logQ, kind);
  for (const [k, v] of support.entries()) gradient[v] = d[k]! / temperature;
  for (const v of others) {
    const share = all[v]! === -Infinity ? 0 : Math.exp(all[v]! - ofOthers);
    gradient[v] = share === 0 ? 0 : (d[K]! * share) / temperature;
  }
  return { divergence: distance(logP, logQ, kind), gradient };
}

function distance(logP: Float64Array, logQ: Float64Array, { divergence, jsdBeta = 0.5 }: Kind): number {
  if (divergence === 'forward_kl') return kl(logP, logQ);
  if (divergence === 'reverse_kl') return kl(logQ, logP);
  const sum = (of: Float64Array, ofQ: boolean) =>
    of.reduce((total, a, v) => total + term(a, logOverM(logP[v]!, logQ[v]!, jsdBeta, ofQ)), 0);
  return jsdBeta * sum(logP, false) + (1 - jsdBeta) * sum(logQ, true);
}

/** log(Q/M) or log(P/M): M / A = 1 + weight (other / A - 1), exact where P and Q are close. */
function logOverM(logP: number, logQ: number, beta: number, ofQ: boolean): number {
  const [d, weight] = ofQ ? [logP - logQ, beta] : [logQ - logP, 1 - beta];
  return d > 30 ? -d - Math.log(weight + (1 - weight) * Math.exp(-d)) : -Math.log1p(weight * Math.expm1(d));
}

const term = (logA: number, log: number) => (logA === -Infinity ? 0 : Math.exp(logA) * log);

function kl(logA: Float64Array, logB: Float64Array): number {
  return logA.reduce((sum, a, v) => sum + term(a, a - logB[v]!), 0);
}

/** dD/dz of distributions Q = softmax(z); the entries of Q may add up to 1 while those of P do not. */
function throughSoftmax(logP: Float64Array, logQ: Float64Array, { divergence, jsdBeta = 0.5 }: Kind): Float64Array {
  const q = logQ.map(Math.exp);
  // Q_u dD/dQ_u
  const weighted = logQ.map((lq, v) => {
    const lp = logP[v]!;
    if (divergence === 'forward_kl') return -Math.exp(lp);
    if (lq === -Infinity) return 0;
    if (divergence === 'reverse_kl') return q[v]! * (lq - lp + 1);
    return q[v]! * (1 - jsdBeta) * logOverM(lp, lq, jsdBeta, true);
  });
  const sum = weighted.reduce((a, b) => a + b, 0);
  if (sum === Infinity) return q.fill(NaN); // an infinite reverse KL has no gradient
  return weighted.map((w, v) => w - q[v]! * sum);
}

const scaled = (values: Float64Array, by: number) => values.map((x) => x / by);

function logSumExp(z: Float64Array): number {
  const max = z.reduce((a, b) => Math.max(a, b), -Infinity);
  if (max === -Infinity) return -Infinity;
  return max + Math.log(z.reduce((sum, x) => sum + Math.exp(x - max), 0));
}

function logSoftmax(z: Float64Array): Float64Array {
  const lse = logSumExp(z);
  return z.map((x) => (lse === -Infinity ? NaN : x - lse));
}
