// The options of the policy-gradient losses, on the host and in an update.
import { expected, rangeError } from '../argument-errors.js';
import { missing, refuseUnused } from './options.js';
import { coefficient, divisor, number, oneOf, scaleFactor, signedCoefficient } from './scalars.js';

/** The policy loss of a token, see `policyGradientLoss`. */
export type Objective = 'clip' | 'cispo' | 'sapo' | 'dppo' | 'reinforce';
/** What has one ratio. */
export type RatioLevel = 'token' | 'turn' | 'trajectory';
/** The estimate of a token's KL divergence, see `policyGradientLoss`. */
export type KlType = 'k1' | 'k2' | 'k3';

/** How token losses become one number. */
export type Reduction = 'token-mean' | 'sequence-mean-token-sum' | 'sequence-mean-token-mean' | 'constant';

/** The options of the policy-gradient loss that are no arrays of log-probs. */
export interface PolicyGradientSettings {
  /** 'clip' by default. */
  objective?: Objective | undefined;
  /** What has one ratio: a token (default), a turn, a trajectory. */
  ratioLevel?: RatioLevel | undefined;
  /** In [0, 1], 0.2 by default: the least ratio is 1 - clipLow. */
  clipLow?: number | undefined;
  /** >= 0, `clipLow` by default: the largest ratio is 1 + clipHigh. */
  clipHigh?: number | undefined;
  /** > 1: objective 'clip', the most that a token of negative advantage adds, in units of -A; none by default. */
  dualClip?: number | undefined;
  /** Objective 'sapo': the temperatures for positive (1) and other advantages (1.05). */
  sapoTauPos?: number | undefined;
  sapoTauNeg?: number | undefined;
  /** 'token-mean' by default. */
  reduction?: Reduction | undefined;
  /** For micro-batches: the count of the whole batch, of tokens or of sequences; reduction 'constant' needs it. */
  denominator?: number | undefined;
  /** The weight of the KL term; 0 by default. */
  klCoef?: number | undefined;
  /** 'k3' by default. Needs `refLogps`, as `klMax` does. */
  klType?: KlType | undefined;
  /** The bound of a token's KL term; 10 by default. */
  klMax?: number | undefined;
  /** The weight of the entropy bonus; 0 by default. */
  entropyCoef?: number | undefined;
}

export interface Bounds {
  clipLow: number;
  clipHigh: number;
  /** Infinity: none. */
  dualClip: number;
  sapoTauPos: number;
  sapoTauNeg: number;
}

export const POLICY_SETTINGS = [
  ...(['objective', 'ratioLevel', 'clipLow', 'clipHigh', 'dualClip', 'sapoTauPos', 'sapoTauNeg'] as const),
  ...(['reduction', 'denominator', 'klCoef', 'klType', 'klMax', 'entropyCoef'] as const),
] as const;

const CLIPS = ['clipLow', 'clipHigh'] as const;
const SAPO = ['sapoTauPos', 'sapoTauNeg'] as const;

/** The options that an objective does not use. */
const UNUSED: Readonly<Record<Objective, readonly string[]>> = {
  clip: SAPO,
  cispo: ['dualClip', ...SAPO],
  sapo: [...CLIPS, 'dualClip'],
  dppo: ['dualClip', ...SAPO],
  reinforce: ['oldLogps', 'ratioLevel', ...CLIPS, 'dualClip', ...SAPO],
};

const OBJECTIVE_NAMES = ['clip', 'cispo', 'sapo', 'dppo', 'reinforce'] as const;
const RATIO_LEVELS = ['token', 'turn', 'trajectory'] as const;
const KL_TYPES = ['k1', 'k2', 'k3'] as const;
const REDUCTIONS = ['token-mean', 'sequence-mean-token-sum', 'sequence-mean-token-mean', 'constant'] as const;

type Given = { readonly [name in keyof PolicyGradientSettings]?: unknown };

/** The objective, the level of its ratio, and its bounds. */
export function checkObjective(given: Given) {
  const objective = oneOf('objective', given.objective, 'clip', OBJECTIVE_NAMES);
  refuseUnused(given, UNUSED[objective], `objective '${objective}'`);
  const ratioLevel = oneOf('ratioLevel', given.ratioLevel, 'token', RATIO_LEVELS);
  if (objective === 'dppo' && ratioLevel !== 'token') {
    throw rangeError('ERR_ARG_VALUE', expected("'token', as for objective 'dppo',", 'ratioLevel', ratioLevel));
  }
  const clipLow = number('clipLow', given.clipLow, 0.2, 'a number from 0 to 1', (x) => x >= 0 && x <= 1);
  const bounds: Bounds = {
    clipLow,
    clipHigh: number('clipHigh', given.clipHigh, clipLow, 'a number >= 0', (x) => x >= 0),
    dualClip: number('dualClip', given.dualClip, Infinity, 'a number > 1', (x) => x > 1),
    sapoTauPos: scaleFactor('sapoTauPos', given.sapoTauPos, 1),
    sapoTauNeg: scaleFactor('sapoTauNeg', given.sapoTauNeg, 1.05),
  };
  return { objective, ratioLevel, bounds };
}

/** The reduction, and its denominator where one is given. */
export function checkReduction({ reduction: given, denominator }: Given) {
  const reduction = oneOf('reduction', given, 'token-mean', REDUCTIONS);
  if (reduction === 'constant' && denominator === undefined) {
    throw missing('denominator', 'a number', "reduction 'constant'");
  }
  const checked = denominator === undefined ? undefined : divisor('denominator', denominator, 1);
  return { reduction, denominator: checked, bySequence: reduction.startsWith('sequence') };
}

/** The weights of the KL and entropy terms. */
export const checkCoefs = (given: Given) => ({
  klCoef: coefficient('klCoef', given.klCoef, 0),
  entropyCoef: signedCoefficient('entropyCoef', given.entropyCoef, 0),
});

/** The KL term of a token; `unused`: why there is none. */
export function checkKl(given: Given, unused: string | undefined) {
  if (unused !== undefined) refuseUnused(given, ['klType', 'klMax'], unused);
  const klType = oneOf('klType', given.klType, 'k3', KL_TYPES);
  return { klType, klMax: number('klMax', given.klMax, 10, 'a number > 0', (x) => x > 0) };
}
