/** The losses of one pair in float64, with their derivatives at the two scores. */

export interface LossParameters {
  beta: number;
  labelSmoothing: number;
  gamma: number;
  discopopTau: number;
  fDivergence: 'reverse_kl' | 'forward_kl' | 'js_divergence' | 'alpha_divergence';
  fAlpha: number;
  dpopLambda: number;
}

/** Sums of an item: log-ratios, log-probs, and reference log-probs; `length` divides them where a type has means. */
export interface Sums {
  ratio: number;
  policy: number;
  ref: number;
  length: number;
}

/** A loss, and its derivatives at the sums of the chosen and the rejected item. */
export type Term = [loss: number, chosen: number, rejected: number];

type Slopes = (s: number, x: number) => [value: number, slope: number];
const sigma = (u: number): number => (u >= 0 ? 1 / (1 + Math.exp(-u)) : Math.exp(u) / (1 + Math.exp(u)));
export const logSigmoid = (u: number): number => Math.min(u, 0) - Math.log1p(Math.exp(-Math.abs(u)));
const bell = (u: number): number => sigma(u) * sigma(-u);
/** 0 * infinity = 0. */
const times = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : a * b);

export function mapped({ fDivergence, fAlpha }: LossParameters, x: number): [s: number, slope: number] {
  switch (fDivergence) {
    case 'forward_kl':
      return [-Math.exp(Math.min(-x, 80)), -x > 80 ? 0 : Math.exp(-x)];
    case 'js_divergence':
      return [logSigmoid(x), sigma(-x)];
    case 'alpha_divergence': {
      const t = (fAlpha - 1) * x;
      if (Math.abs(fAlpha - 1) < 1e-6) return [x, 1];
      return [Math.exp(Math.min(t, 80)) / (fAlpha - 1), t > 80 ? 0 : Math.exp(t)];
    }
    default:
      return [x, 1];
  }
}

/** l(u) and l'(u) of a type that is a function of u alone. */
type OfMargin = (u: number, p: LossParameters) => [value: number, slope: number];

const smoothed: OfMargin = (u, { labelSmoothing: e }) => [
  -(1 - e) * logSigmoid(u) - times(e, logSigmoid(-u)),
  -(1 - e) * sigma(-u) + e * sigma(u),
];

const MARGIN: Record<string, OfMargin> = {
  sigmoid: smoothed,
  sigmoid_norm: smoothed,
  cpo: smoothed,
  simpo: (u, p) => smoothed(u - p.gamma, p),
  hinge: (u) => [Math.max(0, 1 - u), u < 1 ? -1 : 0],
  ipo: (u, { beta }) => [((u - 0.5) / beta) ** 2, (2 * (u - 0.5)) / beta ** 2],
  robust: (u, { labelSmoothing: e }) => [
    (-(1 - e) * logSigmoid(u) + times(e, logSigmoid(-u))) / (1 - 2 * e),
    -((1 - e) * sigma(-u) + e * sigma(u)) / (1 - 2 * e),
  ],
  exo_pair: (u, { labelSmoothing: e }) => [
    times(sigma(u), logSigmoid(u) - Math.log(1 - e)) + times(sigma(-u), logSigmoid(-u) - Math.log(e)),
    times(bell(u), u - Math.log((1 - e) / e)),
  ],
  discopop: (u, { discopopTau: tau }) => {
    const v = u / tau;
    // log sigma(v) - u, which cancels where u << 0.
    const e = Math.exp(v < 0 ? v - u - Math.log1p(Math.exp(v)) : -Math.log1p(Math.exp(-v)) - u);
    return [
      times(-logSigmoid(u), sigma(-v)) + e,
      -sigma(-u) * sigma(-v) + times(logSigmoid(u), bell(v)) / tau + e * (sigma(-v) / tau - 1),
    ];
  },
};

/** Of s+ and of s-. */
const SEPARATE: Record<string, [chosen: (p: LossParameters) => Slopes, rejected: (p: LossParameters) => Slopes]> = {
  nca_pair: [
    ({ beta }) =>
      (s) => [-logSigmoid(beta * s) - 0.5 * logSigmoid(-beta * s), beta * (0.5 * sigma(beta * s) - sigma(-beta * s))],
    ({ beta }) =>
      (s) => [-0.5 * logSigmoid(-beta * s), 0.5 * beta * sigma(beta * s)],
  ],
  bco_pair: [
    ({ beta }) =>
      (s) => [-logSigmoid(beta * s), -beta * sigma(-beta * s)],
    ({ beta }) =>
      (s) => [-logSigmoid(-beta * s), beta * sigma(beta * s)],
  ],
  sppo_hard: [
    ({ beta }) =>
      (s) => [(s - 0.5 / beta) ** 2, 2 * (s - 0.5 / beta)],
    ({ beta }) =>
      (s) => [(s + 0.5 / beta) ** 2, 2 * (s + 0.5 / beta)],
  ],
};

/** log(1 - e^x), x < 0. */
const log1mexp = (x: number) => (x > -Math.LN2 ? Math.log(-Math.expm1(x)) : Math.log1p(-Math.exp(x)));

/** Whether the sums are of log-probs alone. */
export const isReferenceFree = (type: string): boolean => ['cpo', 'simpo', 'orpo'].includes(type);
export const isPerToken = (type: string): boolean => ['sigmoid_norm', 'simpo', 'orpo'].includes(type);
export const isOfBatch = (type: string): boolean => ['aot', 'aot_unpaired'].includes(type);

/** The score before f: that of rewards and margins. */
export function scoreOf(type: string, sums: Sums): number {
  const sum = isReferenceFree(type) ? sums.policy : sums.ratio;
  if (!isPerToken(type)) return sum;
  return sums.length === 0 ? 0 : sum / sums.length;
}

/** s and ds/dsum. */
function mappedScore(type: string, sums: Sums, p: LossParameters): [s: number, slope: number] {
  const length = isPerToken(type) ? sums.length : 1;
  if (length === 0) return [mapped(p, 0)[0], 0];
  if (type === 'sigmoid_norm') {
    const [s, slope] = mapped(p, sums.ratio);
    return [s / length, slope / length];
  }
  const [s, slope] = mapped(p, scoreOf(type, sums));
  return [s, slope / length];
}

/** The loss of a type that is not of the batch. */
export function termOf(type: string, chosen: Sums, rejected: Sums, p: LossParameters): Term {
  const { beta } = p;
  const [x, y] = [scoreOf(type, chosen), scoreOf(type, rejected)];
  const [[s, ds], [t, dt]] = [mappedScore(type, chosen, p), mappedScore(type, rejected, p)];
  const margin = MARGIN[type];
  if (margin) {
    const penalty = type === 'sigmoid' && x < 0 ? p.dpopLambda : 0;
    const [loss, slope] = margin(beta * (s - t + penalty * x), p);
    return [loss, beta * slope * ds * (1 + penalty), -beta * slope * dt];
  }
  const separate = SEPARATE[type];
  if (separate) {
    const [[a, da], [b, db]] = [separate[0](p)(s, x), separate[1](p)(t, y)];
    return [a + b, da * ds, db * dt];
  }
  switch (type) {
    case 'apo_zero':
      return [sigma(-beta * x) + sigma(beta * y), -beta * bell(beta * x), beta * bell(beta * y)];
    case 'apo_down': {
      const u = beta * (s - t);
      return [sigma(beta * x) + sigma(-u), beta * bell(beta * x) - beta * bell(u) * ds, beta * bell(u) * dt];
    }
    case 'orpo': {
      const [a, b] = [Math.min(x, -(2 ** -24)), Math.min(y, -(2 ** -24))];
      const odds = a - b - log1mexp(a) + log1mexp(b);
      const slope = beta * sigma(-odds);
      const per = (sums: Sums) => (sums.length === 0 ? 0 : 1 / sums.length);
      return [
        -beta * logSigmoid(odds),
        (slope / Math.expm1(a)) * per(chosen),
        (-slope / Math.expm1(b)) * per(rejected),
      ];
    }
    case 'sft':
      return [0, 0, 0];
    default:
      throw new Error(`the oracle has no ${type}`);
  }
}

/** Ranks, ascending and stable, and the sorted values. */
function sorted(values: number[]): { ranks: number[]; values: number[] } {
  const order = values.map((_, p) => p).sort((a, b) => values[a]! - values[b]! || a - b);
  const ranks: number[] = [];
  order.forEach((p, rank) => {
    ranks[p] = rank;
  });
  return { ranks, values: order.map((p) => values[p]!) };
}

/** The losses of all pairs under a type of the batch. */
export function termsOfBatch(type: string, pairs: [chosen: Sums, rejected: Sums][], p: LossParameters): Term[] {
  const isAot = type === 'aot';
  const left = sorted(pairs.map(([a, b]) => (isAot ? a.policy - b.policy : a.ratio)));
  const right = sorted(pairs.map(([a, b]) => (isAot ? a.ref - b.ref : b.ratio)));
  const ofRank = left.values.map((value, j) => smoothed(p.beta * (value - right.values[j]!), p));
  return pairs.map((_, pair) => {
    const [loss, slope] = ofRank[left.ranks[pair]!]!;
    const rejected = isAot ? slope : ofRank[right.ranks[pair]!]![1];
    return [loss, p.beta * slope, -p.beta * rejected];
  });
}
