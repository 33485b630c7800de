/** Which loss types there are, what each takes, and what is refused by name. */
import { policyUpdate, trajectoryPreferenceLoss, turnPreferenceLoss } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { lossTypes } from '../../scripts/loss-types.js';
import { expectClose, specified } from '../helpers/compare.ts';

/** TRL's names: loss_type of the DPO trainer and of the CPO trainer, and the losses of trainers of their own. */
const TRL = {
  sigmoid: ['labelSmoothing', 'fDivergence', 'dpopLambda'],
  hinge: ['fDivergence'],
  ipo: ['fDivergence'],
  exo_pair: ['labelSmoothing', 'fDivergence'],
  nca_pair: ['fDivergence'],
  robust: ['labelSmoothing', 'fDivergence'],
  bco_pair: ['fDivergence'],
  sppo_hard: ['fDivergence'],
  aot: ['labelSmoothing'],
  aot_unpaired: ['labelSmoothing'],
  discopop: ['discopopTau', 'fDivergence'],
  apo_zero: [],
  apo_down: ['fDivergence'],
  sigmoid_norm: ['labelSmoothing', 'fDivergence'],
  sft: [],
  cpo: ['labelSmoothing', 'fDivergence'],
  simpo: ['labelSmoothing', 'gamma', 'fDivergence'],
  orpo: [],
} as const;
const WITHOUT_REFERENCE = ['cpo', 'simpo', 'orpo', 'sft'];
const OF_BATCH = ['aot', 'aot_unpaired'];
type Name = keyof typeof TRL;
const NAMES = Object.keys(TRL) as Name[];

const batch = {
  logps: Float32Array.of(-1, -2, -3, -0.5),
  refLogps: Float32Array.of(-2, -2, -3, -1),
  turnOffsets: Int32Array.of(0, 2, 4),
  chosen: Int32Array.of(0),
  rejected: Int32Array.of(1),
};
const ones = Float32Array.of(1);
const needed = (lossType: Name) => ({ lossType, ...(lossType === 'exo_pair' && { labelSmoothing: 0.1 }) });
const VALUES = {
  labelSmoothing: 0.1,
  gamma: 0.5,
  discopopTau: 0.05,
  fDivergence: 'js_divergence',
  dpopLambda: 1,
  ldAlpha: 0.5,
  useWeighting: true,
  pairWeights: ones,
} as const;
const given = (option: keyof typeof VALUES) => ({
  [option]: VALUES[option],
  ...(option === 'useWeighting' && { sumSquaredProbs: batch.logps.map(Math.exp) }),
});

function takes(name: Name, option: keyof typeof VALUES): boolean {
  if (option === 'ldAlpha') return name !== 'sft';
  if (option === 'useWeighting' || option === 'pairWeights') return name !== 'sft' && !OF_BATCH.includes(name);
  return (TRL[name] as readonly string[]).includes(option);
}

it("has the names of TRL's losses", () => {
  expect(lossTypes.map(({ name }) => name)).toEqual(expect.arrayContaining(NAMES));
  for (const name of NAMES) expect(Number.isFinite(turnPreferenceLoss({ ...batch, ...needed(name) }).loss)).toBe(true);
});

describe.each(Object.keys(VALUES) as (keyof typeof VALUES)[])('%s', (option) => {
  it.each(NAMES.filter((name) => takes(name, option)))('is taken by %s', (name) => {
    expect(() => turnPreferenceLoss({ ...batch, ...needed(name), ...given(option) })).not.toThrow();
  });

  it.each(NAMES.filter((name) => !takes(name, option)))('is refused by %s, naming both', (name) => {
    expect(() => turnPreferenceLoss({ ...batch, ...needed(name), ...given(option) })).toThrow(
      expect.objectContaining({
        name: 'TypeError',
        code: 'ERR_UNKNOWN_OPTION',
        message: expect.stringMatching(new RegExp(`${option}.*|.*lossType '${name}'`)),
      }),
    );
  });
});

it.each(NAMES)('%s takes every value that changes nothing', (lossType) => {
  const nothing = { ldAlpha: 1, fDivergence: 'reverse_kl', useWeighting: false, dpopLambda: 0, nllCoef: 0 } as const;
  const labelSmoothing = lossType === 'exo_pair' ? 0.1 : 0;
  expect(() => turnPreferenceLoss({ ...batch, lossType, labelSmoothing, ...nothing })).not.toThrow();
});

describe('the reference', () => {
  const { refLogps: _, ...alone } = batch;
  it.each(NAMES)('%s', (name) => {
    const call = () => turnPreferenceLoss({ ...alone, ...needed(name) });
    if (WITHOUT_REFERENCE.includes(name)) expect(call).not.toThrow();
    else {
      const message = new RegExp(`refLogps.*lossType '${name}'`);
      expect(call).toThrow(expect.objectContaining({ code: 'ERR_ARG_TYPE', message: expect.stringMatching(message) }));
    }
    expect(() => turnPreferenceLoss({ ...alone, ...needed(name), referenceFree: true })).not.toThrow();
    expect(() => turnPreferenceLoss({ ...batch, ...needed(name), referenceFree: true })).toThrow(
      expect.objectContaining({ code: 'ERR_UNKNOWN_OPTION', message: expect.stringContaining('refLogps') }),
    );
  });

  it('is missing in an update', () => {
    const update = { logits: new Float32Array(8), labels: Int32Array.of(0, 1, 0, 1), vocabSize: 2 };
    const { turnOffsets, chosen, rejected } = batch;
    const call = (more: object) => policyUpdate({ ...update, turnOffsets, chosen, rejected, ...more } as never);
    expect(() => call({})).toThrow(expect.objectContaining({ code: 'ERR_ARG_TYPE' }));
    expect(() => call({ referenceFree: true, refLogits: new Float32Array(8) })).toThrow(/refLogits.*referenceFree/);
    expect(() => call({ lossType: 'simpo' })).not.toThrow();
    expect(() => call({ referenceFree: true })).not.toThrow();
  });
});

const wrong: [string, object, string, RegExp][] = [
  ['an unknown name', { lossType: 'dpo' }, 'ERR_ARG_VALUE', /lossType.*dpo/],
  ['a name twice', { lossType: ['sigmoid', 'ipo', 'sigmoid'] }, 'ERR_ARG_VALUE', /lossType\[2\]/],
  ['no name', { lossType: [] }, 'ERR_ARG_VALUE', /lossType/],
  ['too few weights', { lossType: ['sigmoid', 'ipo'], lossWeights: [1] }, 'ERR_ARG_LENGTH', /lossWeights/],
  ['a weight below 0', { lossType: ['sigmoid', 'ipo'], lossWeights: [1, -1] }, 'ERR_ARG_VALUE', /lossWeights\[1\]/],
  ['a weight that is not finite', { lossWeights: [Infinity] }, 'ERR_ARG_VALUE', /lossWeights\[0\]/],
  ['all weights 0', { lossType: ['sigmoid', 'ipo'], lossWeights: [0, 0] }, 'ERR_ARG_VALUE', /lossWeights/],
  ['exo_pair without smoothing', { lossType: 'exo_pair' }, 'ERR_ARG_VALUE', /exo_pair.*labelSmoothing/],
  ['ldAlpha above 1', { ldAlpha: 1.5 }, 'ERR_ARG_VALUE', /ldAlpha/],
  ['tau of 0', { lossType: 'discopop', discopopTau: 0 }, 'ERR_ARG_VALUE', /discopopTau/],
  ['fAlpha without its divergence', { fAlpha: 0.3 }, 'ERR_UNKNOWN_OPTION', /fAlpha/],
  ['DPO-Positive of another f', { dpopLambda: 1, fDivergence: 'forward_kl' }, 'ERR_UNKNOWN_OPTION', /dpopLambda/],
  ['NLL beside sft', { lossType: ['sigmoid', 'sft'], nllCoef: 0.1 }, 'ERR_UNKNOWN_OPTION', /nllCoef/],
  ['pair weights beside aot', { lossType: ['sigmoid', 'aot'], pairWeights: ones }, 'ERR_UNKNOWN_OPTION', /pairWeights/],
  ['weighting without statistic', { useWeighting: true }, 'ERR_ARG_TYPE', /sumSquaredProbs/],
  ['a statistic without weighting', { sumSquaredProbs: new Float32Array(4) }, 'ERR_UNKNOWN_OPTION', /sumSquaredProbs/],
];

it.each(wrong)('refuses %s', (_name, options, code, message) => {
  expect(() => turnPreferenceLoss({ ...batch, ...options } as never)).toThrow(
    expect.objectContaining({ code, message: expect.stringMatching(message) }),
  );
});

it('refuses a list of any length without reading it whole', () => {
  const sparse: Name[] = [];
  sparse.length = 2 ** 32 - 1;
  expect(() => turnPreferenceLoss({ ...batch, lossType: sparse })).toThrow(
    expect.objectContaining({ code: 'ERR_ARG_VALUE', message: expect.stringMatching(/lossType/) }),
  );
  const lossWeights: number[] = [];
  lossWeights.length = 2 ** 32 - 1;
  expect(() => turnPreferenceLoss({ ...batch, lossType: ['hinge', 'ipo'], lossWeights })).toThrow(
    expect.objectContaining({ code: 'ERR_ARG_LENGTH', message: expect.stringMatching(/lossWeights/) }),
  );
});

it('checks the statistic of weighting with debug, before it writes', () => {
  const sumSquaredProbs = Float32Array.of(0.5, NaN, 0.5, 0.5);
  const out = { gradLogps: new Float32Array(4).fill(7) };
  expect(() => turnPreferenceLoss({ ...batch, useWeighting: true, sumSquaredProbs, debug: 'finite', out })).toThrow(
    expect.objectContaining({ code: 'ERR_NOT_FINITE', message: expect.stringMatching(/sumSquaredProbs .*row 1/) }),
  );
  expect([...out.gradLogps]).toEqual([7, 7, 7, 7]);
});

it('refuses values of the statistic that an update computes', () => {
  const rows = { logits: new Float32Array(8), vocabSize: 2, labels: new Int32Array(4), refLogps: batch.refLogps };
  const { turnOffsets, chosen, rejected } = batch;
  const given = { ...rows, turnOffsets, chosen, rejected, useWeighting: true, sumSquaredProbs: new Float32Array(4) };
  expect(() => policyUpdate(given as never)).toThrow(
    expect.objectContaining({ code: 'ERR_UNKNOWN_OPTION', message: expect.stringMatching(/sumSquaredProbs/) }),
  );
});

it('leaves out tokens beyond the shorter length with ldAlpha 0, whatever their log-probs are', () => {
  const { loss, gradLogps } = turnPreferenceLoss({
    ...{ logps: Float32Array.of(-1, -2, -Infinity), turnOffsets: Int32Array.of(0, 1, 3), nllCoef: 0 },
    ...{ chosen: Int32Array.of(0), rejected: Int32Array.of(1), lossType: 'cpo', ldAlpha: 0 },
  });
  expectClose('loss', [loss], [Math.log1p(Math.exp(-0.1))], specified);
  expectClose('gradLogps', gradLogps, [-0.1 / (1 + Math.exp(0.1)), 0.1 / (1 + Math.exp(0.1)), 0], specified);
});

it('takes an option in a list of which one type takes it', () => {
  expect(() => turnPreferenceLoss({ ...batch, lossType: ['hinge', 'simpo'], gamma: 1 })).not.toThrow();
});

it('names an empty item of which a type takes the mean', () => {
  const mask = Uint8Array.of(1, 1, 0, 0);
  const call = (more: object) => turnPreferenceLoss({ ...batch, mask, lossType: 'simpo', nllCoef: 0, ...more });
  expect(() => call({})).toThrow(
    expect.objectContaining({ code: 'ERR_EMPTY_TURN', message: expect.stringMatching(/turn 1/) }),
  );
  const { rejectedRewards, gradLogps, margins } = call({ allowEmptyTurns: true });
  expect([rejectedRewards[0], gradLogps[2], gradLogps[3]]).toEqual([0, 0, 0]);
  expect(margins[0]).toBeCloseTo(-0.15, 6);
  const trajectoryOffsets = Int32Array.of(0, 1, 2);
  expect(() =>
    trajectoryPreferenceLoss({ ...batch, trajectoryOffsets, mask, lossType: 'orpo', normalization: 'sum' }),
  ).toThrow(expect.objectContaining({ code: 'ERR_EMPTY_TURN', message: expect.stringMatching(/trajectory 1/) }));
});

/** At x+ = 0.4, x- = -0.3, or the mean log-probs -0.4 and -0.9: loss, dl/dx+, dl/dx-. */
const VALUES_AT: [Name, object, [number, number, number]][] = [
  ['sigmoid', {}, [0.658759556, -0.0482507142, 0.0482507142]],
  ['hinge', {}, [0.93, -0.1, 0.1]],
  ['ipo', {}, [18.49, -8.6, 8.6]],
  ['robust', { labelSmoothing: 0.1 }, [0.650009556, -0.0607507142, 0.0607507142]],
  ['exo_pair', { labelSmoothing: 0.001 }, [2.64102396, -0.170709665, 0.170709665]],
  ['discopop', {}, [0.878264554, 0.00250335171, -0.00250335171]],
  ['nca_pair', {}, [1.36915059, -0.0235002, 0.0246250281]],
  ['bco_pair', {}, [1.35160684, -0.0490001333, 0.0492500562]],
  ['sppo_hard', {}, [43.25, -9.2, 9.4]],
  ['apo_zero', {}, [0.982501896, -0.0249900027, 0.0249943758]],
  ['apo_down', {}, [0.992505809, 2.0602673e-5, 0.0249694]],
  ['cpo', {}, [0.668459648, -0.0487502604, 0.0487502604]],
  ['simpo', {}, [0.943248946, -0.0610639234, 0.0610639234]],
  ['orpo', {}, [0.0290396757, -0.0764478548, 0.0424705707]],
];

it.each(VALUES_AT)('%s has the value and the slopes computed by hand', (lossType, options, expected) => {
  const [x, y] = WITHOUT_REFERENCE.includes(lossType) ? [-0.4, -0.9] : [0.4, -0.3];
  const { loss, gradLogps } = turnPreferenceLoss({
    logps: Float32Array.of(x, y),
    refLogps: new Float32Array(2),
    turnOffsets: Int32Array.of(0, 1, 2),
    chosen: Int32Array.of(0),
    rejected: Int32Array.of(1),
    nllCoef: 0,
    lossType,
    ...options,
  });
  expectClose('loss and slopes', [loss, ...gradLogps], expected, specified);
});
