/** What the objectives refuse beyond classes and lengths (test/args does those): values, options that are not used or lack an argument. */
import * as objectives from 'sweet-rl/objectives';
import { describe, expect, it } from 'vitest';
import { bytesIn } from '../helpers/arguments.ts';
import {
  type ErrorRow,
  type Options,
  thrownBy,
  unknownOption,
  wrongLength,
  wrongOffsets,
  wrongType,
  wrongValue,
} from '../helpers/errors.ts';
import { OBJECTIVE_SUBJECTS } from '../helpers/objective-calls.ts';

const reals = (...values: number[]) => Float64Array.from(values);
const ints = (...values: number[]) => Int32Array.from(values);

/** The changes of a subject's valid call that must be refused. */
const ROWS: Record<string, ErrorRow[]> = {
  discountedReturns: [
    wrongValue('a reward that the mask drops', { mask: Uint8Array.of(1, 1, 0, 1, 1) }, /rewards\[2\].* -1\b/),
    wrongValue(
      'a NaN that the mask drops',
      { rewards: reals(0, 0, NaN, 0, 0), mask: Uint8Array.of(1, 1, 0, 1, 1) },
      /rewards\[2\].*NaN/,
    ),
    wrongOffsets(
      'offsets of tokens without turns',
      { turnOffsets: undefined },
      /end at 5 for trajectoryOffsets.* 3 at index 2/,
    ),
    wrongValue('a discount above 1', { gamma: 1.01 }, /gamma.*1\.01/),
  ],
  generalizedAdvantages: [
    wrongValue('a reward that the mask drops', { mask: Uint8Array.of(1, 1, 1, 1, 0) }, /rewards\[4\].* 2\b/),
    wrongValue(
      'a value that is missing before an estimated one',
      { fillMissing: true, values: reals(0, NaN, 0.5, NaN, NaN) },
      /values\[1\].*NaN/,
    ),
    wrongValue('turnGamma for elements', { turnGamma: 0.9 }, /turnGamma.*'element'/),
  ],
  'generalizedAdvantages bilevel': [wrongValue('fillMissing', { fillMissing: true }, /fillMissing.*'bilevel'/)],
  whiten: [
    wrongValue('one element', { mask: Uint8Array.of(0, 0, 0, 1) }, /ddof = 1.*advantages.* 1$/),
    wrongValue('no element', { mask: new Uint8Array(4), ddof: 0 }, /ddof = 0.*advantages.* 0$/),
  ],
  broadcastTurns: [
    wrongLength('advantages of turns for trajectories', { advantages: reals(1, 2, 3) }, /2 elements.*advantages/),
    wrongLength('advantages of trajectories for turns', { trajectoryOffsets: undefined }, /3 elements.*advantages/),
  ],
  groupAdvantages: [
    wrongType('both forms of groups', { groupOffsets: ints(0, 5) }, /groupIds and groupOffsets/),
    wrongType('no groups', { groupIds: undefined }, /groupIds, groupOffsets.*none/),
    wrongValue('epsilon where nothing is divided', { scale: 'none', epsilon: 1e-6 }, /epsilon.*'none'/),
    wrongValue('lengths without use', { lengths: ints(1, 1, 1, 1, 1) }, /lengths.*'mean'/),
    wrongType('no lengths', { baseline: 'length-weighted' }, /lengths.*'length-weighted'/),
  ],
  'groupAdvantages length-weighted': [
    wrongValue('lengths that add up to 0', { lengths: ints(1, 1, 1, 0, 0) }, /lengths.*group 1/),
    wrongValue('a negative length', { lengths: ints(1, 1, -1, 1, 1) }, /lengths\[2\].* -1\b/),
    wrongValue('a NaN', { lengths: reals(1, 1, 1, NaN, 1) }, /lengths\[3\].*NaN/),
    wrongOffsets(
      'offsets that do not end at the rewards',
      { groupOffsets: ints(0, 3, 4) },
      /groupOffsets.* 4 .*index 2/,
    ),
  ],
  'stepGroupAdvantages gigpo': [
    wrongValue('an option of hgpo', { historyLength: 1 }, /historyLength.*'gigpo'/),
    wrongValue(
      'singletons without rewards',
      { episodeRewards: undefined, singletons: 'zero' },
      /singletons.*episodeRewards/,
    ),
  ],
  'stepGroupAdvantages hgpo': [
    wrongType('no rewards', { includeEpisode: true, episodeRewards: undefined }, /episodeRewards.*includeEpisode/),
    wrongValue('ddof where nothing is divided', { ddof: 0 }, /ddof.*'none'/),
  ],
  'turnRewardAdvantages aae': [
    wrongValue('a negative split', { splitTurns: ints(1, -1) }, /splitTurns\[1\].* -1\b/),
    wrongValue('an option of cae', { gamma: 1 }, /gamma.*'aae'/),
    wrongLength('offsets of more trajectories', { trajectoryOffsets: ints(0, 1, 2, 3) }, /3 elements.*turnRewards/),
  ],
  treeValues: [
    wrongValue('a node before its parent', { parents: ints(-1, 0, 3, 1, 1) }, /parents\[2\].* 3\b/),
    wrongValue('a node that is its own parent', { parents: ints(-1, 1, 0, 1, 1) }, /parents\[1\].* 1\b/),
    wrongValue('a parent below -1', { parents: ints(-2, 0, 0, 1, 1) }, /parents\[0\].* -2\b/),
  ],
  siblingPairs: [
    wrongValue('a NaN that counts', { values: reals(NaN, NaN, 1, 0) }, /values\[1\].*NaN/),
    wrongValue('a parent that is no node', { parents: ints(-1, 0, 7, 0) }, /parents\[2\].* 7\b/),
  ],
  collaborativeReturns: [
    wrongLength('scores that are no multiple', { agents: 4 }, /multiple of 4.*scores/),
    wrongOffsets('offsets of scores', { trajectoryOffsets: ints(0, 3, 6) }, /trajectoryOffsets.* 6 /),
    wrongValue('a sign of 0', { influenceSign: 0 }, /influenceSign.* 0$/),
    wrongValue('threshold without incentives', { incentives: undefined, threshold: 0.5 }, /threshold.*incentives/),
  ],
  policyGradientLoss: [
    wrongType(
      'no turns',
      { ratioLevel: 'turn', turnOffsets: undefined, trajectoryOffsets: undefined },
      /turnOffsets.*'turn'/,
    ),
    wrongType(
      'no trajectories',
      { ratioLevel: 'trajectory', trajectoryOffsets: undefined },
      /trajectoryOffsets.*'trajectory'/,
    ),
    wrongType(
      'no sequences',
      { reduction: 'sequence-mean-token-sum', trajectoryOffsets: undefined },
      /trajectoryOffsets.*'sequence-mean-token-sum'/,
    ),
    wrongType('no denominator', { reduction: 'constant' }, /denominator.*'constant'/),
    wrongType('no reference', { refLogps: undefined }, /refLogps.*klCoef/),
    wrongType('no entropy', { entropy: undefined }, /entropy.*entropyCoef/),
    wrongValue('klMax without a reference', { refLogps: undefined, klCoef: 0, klMax: 10 }, /klMax.*refLogps/),
    unknownOption('out.gradEntropy without entropy', { entropy: undefined, entropyCoef: 0 }, /out\.gradEntropy/),
    wrongValue('a dual bound of 1', { dualClip: 1 }, /dualClip.* 1$/),
    wrongValue('clipLow above 1', { clipLow: 1.5 }, /clipLow.*1\.5/),
    wrongType('out of another class', { out: { gradLogps: new Float32Array(5) } }, /Float64Array for out\.gradLogps/),
  ],
  'policyGradientLoss dppo': [
    wrongValue('a ratio of turns', { ratioLevel: 'turn' }, /ratioLevel.*"turn"/),
    wrongValue('a dual bound', { dualClip: 3 }, /dualClip.*'dppo'/),
  ],
  'policyGradientLoss reinforce': [
    wrongValue('old log-probs', { oldLogps: reals(0, 0, 0, 0, 0) }, /oldLogps.*'reinforce'/),
    wrongValue('a bound', { clipLow: 0.2 }, /clipLow.*'reinforce'/),
    wrongValue('a level', { ratioLevel: 'token' }, /ratioLevel.*'reinforce'/),
  ],
  'policyGradientLoss sapo': [wrongValue('a bound', { clipHigh: 0.2 }, /clipHigh.*'sapo'/)],
  importanceWeights: [
    wrongType('no trajectories', { level: 'sequence', trajectoryOffsets: undefined }, /trajectoryOffsets.*'sequence'/),
    wrongValue('bounds that cross', { low: 3 }, /low.* 3$/),
  ],
  'clippedValueLoss without old values': [wrongValue('a range', { clipRange: 0.2 }, /clipRange.*oldValues/)],
  ilqlLoss: [wrongType('no log-probs of the second head', { qLogps2: undefined }, /qLogps2.*cqlCoef/)],
  implicitRewardLoss: [
    wrongValue('an outcome above 1', { outcomes: reals(0, 1.5) }, /outcomes\[1\].*1\.5/),
    wrongValue('an outcome that is NaN', { outcomes: reals(NaN, 1) }, /outcomes\[0\].*NaN/),
  ],
  softValue: [
    wrongValue('a state without an action', { actionOffsets: ints(0, 0, 3) }, /logPrior.*state 0/),
    wrongValue('a state that takes none', { logPrior: reals(0, 0, -Infinity) }, /logPrior.*state 1/),
  ],
  selectAgentTokens: [
    wrongLength('kl that is no multiple', { agents: 3 }, /multiple of 3.*kl/),
    wrongLength('q that is no multiple', { q: reals(1, 2, 3) }, /multiple of 2.*q\b/),
    wrongLength('no candidate', { q: reals(), candidates: ints() }, /multiple of 2.*q\b/),
    wrongValue('a NaN', { q: reals(0, 0, NaN, 0) }, /q\[2\].*NaN/),
    wrongValue('a NaN of an agent', { kl: reals(0, NaN) }, /kl\[1\].*NaN/),
    wrongValue('no difference', { q: reals(0, 0, Infinity, 0), kl: reals(0, Infinity) }, /q\[2\].*Infinity/),
  ],
  privilegedAdvantages: [wrongType('no turns', { level: 'turn', turnOffsets: undefined }, /turnOffsets.*'turn'/)],
};

const subjects = Object.entries(ROWS).map(([name, rows]) => ({
  name,
  rows,
  subject: OBJECTIVE_SUBJECTS.find((each) => each.name === name)!,
}));

describe.each(subjects)('$name', ({ rows, subject }) => {
  it.each(rows)('refuses $what', ({ change, class: Class, code, message }) => {
    const options: Options = { ...subject.valid(), ...change };
    const bytes = bytesIn(options);
    const thrown = thrownBy(() => subject.call(options as never));
    expect(thrown.message).toMatch(message);
    expect([thrown.code, thrown.constructor]).toEqual([code, Class]);
    for (const [now, before] of bytes) expect(now).toEqual(before);
  });
});

// Without a device there is no DeviceBuffer: this is what the checks read of one.
const STANDS_FOR = Symbol.for('sweet-rl.standsFor');

it.each(OBJECTIVE_SUBJECTS)('$name runs on the host: no device buffers', ({ call, valid }) => {
  for (const [name, value] of Object.entries(valid())) {
    if (!ArrayBuffer.isView(value)) continue;
    const { length } = value as Float64Array;
    const buffer = { [STANDS_FOR]: value.constructor.name, length, byteLength: value.byteLength, disposed: false };
    const thrown = thrownBy(() => call({ ...valid(), [name]: buffer } as never));
    expect([thrown.code, thrown.constructor]).toEqual(['ERR_DEVICE', TypeError]);
    expect(thrown.message).toContain(`an array in host memory for ${name} `);
  }
});

it('has rows for calls that there are, of every function that has rules of its own', () => {
  expect(subjects.filter(({ subject }) => subject === undefined).map(({ name }) => name)).toEqual([]);
  const functions = new Set(subjects.map(({ subject }) => subject.call.name));
  const without = Object.keys(objectives).filter((name) => !functions.has(name));
  expect(without.sort()).toEqual(['doubleMinAdvantages', 'expectileLoss', 'monteCarloValues', 'tdLoss']);
});
