/**
 * Every error of every public function: its class, its code, a message that names the argument or the index, and that
 * nothing was written into the result buffers.
 */
import * as sweetRl from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import {
  arrayRows,
  booleanRows,
  choiceRows,
  type ErrorRow,
  emptyTurn,
  lengthRows,
  notOnHost,
  numberRows,
  type Options,
  optionalArrayRows,
  outRows,
  overlapRow,
  thrownBy,
  unknownOption,
  wrongLabel,
  wrongLength,
  wrongOffsets,
  wrongPair,
  wrongType,
  wrongValue,
  wrongWeight,
} from './helpers/errors.ts';
import { forEachBackend } from './helpers/machine.ts';

const ints = (...values: number[]) => Int32Array.from(values);
const floats = (...values: number[]) => Float32Array.from(values);
const filled = (length: number) => new Float32Array(length).fill(7);
const NOT_POSITIVE = [0, -0, -1, NaN, Infinity];
const NEGATIVE = [-1, NaN, Infinity];

interface Subject {
  name: string;
  call: (options: never) => unknown;
  valid: () => Options;
  rows: ErrorRow[];
}

function subject(
  call: (options: never) => unknown,
  valid: () => Options,
  rows: (valid: Options) => ErrorRow[],
): Subject {
  const common = [unknownOption('an unknown option', { colour: 1 }, /"colour"/)];
  return { name: call.name, call, valid, rows: [...common, ...rows(valid())] };
}

// ── rows over the vocabulary: 3 rows of 4 words

const labelRows: ErrorRow[] = [
  wrongLabel('a label that is no word', { labels: ints(0, 4, 2) }, /\[1\].* 4\b/),
  wrongLabel('a negative label', { labels: ints(0, 1, -1) }, /\[2\].* -1\b/),
  wrongLabel('−100 where another index is ignored', { labels: ints(-100, 1, 2), ignoreIndex: -1 }, /\[0\].* -100\b/),
  wrongLabel('a label beyond 32 bits', { labels: BigInt64Array.of(0n, 2n ** 40n, 0n) }, /\[1\].* 1099511627776\b/),
  wrongLabel(
    'a label that 32 bits would take for 0',
    { labels: BigInt64Array.of(0n, 0n, -(2n ** 32n)) },
    /\[2\].* -4294967296\b/,
  ),
  ...optionalArrayRows('mask', 3),
  wrongLength('mask too short', { mask: new Uint8Array(2) }, /mask.*\(2\)/),
  ...numberRows('temperature', ...NOT_POSITIVE, 9e-31),
  ...numberRows('ignoreIndex', 1.5, NaN, 2 ** 31),
];

const logitsRows: ErrorRow[] = [
  wrongLength('logits that are no whole rows', { logits: new Float32Array(13) }, /logits.*\(13\)/),
  wrongLength('logits too short for vocabSize', { vocabSize: 5 }, /logits.*\(12\)/),
  wrongLength('logits too short for rowStride', { rowStride: 6 }, /logits.*\(12\)/),
  wrongValue('rowStride below V', { vocabSize: 4, rowStride: 3 }, /rowStride.* 3\b/),
  ...numberRows('rowStride', 0, -4, 4.5, NaN),
  ...numberRows('vocabSize', 0, -4, 1.5, NaN),
  ...dtypeRows('logits', 'dtype', new Uint16Array(12)),
];

function dtypeRows(array: string, dtype: string, halves: Uint16Array): ErrorRow[] {
  return [
    wrongType(`${array}: Float32Array with float16`, { [dtype]: 'float16' }, new RegExp(`${dtype}.*"float16"`)),
    wrongType(
      `${array}: Uint16Array without dtype`,
      { [array]: halves, [dtype]: undefined },
      new RegExp(`${dtype}.*undefined`),
    ),
    wrongType(
      `${array}: Uint16Array with float32`,
      { [array]: halves, [dtype]: 'float32' },
      new RegExp(`${dtype}.*"float32"`),
    ),
    wrongValue(`${array}: unknown dtype`, { [dtype]: 'int8' }, new RegExp(`${dtype}.*"int8"`)),
  ];
}

const logitsHead = () => ({ logits: floats(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), labels: ints(0, 1, 2) });
const linearHead = () => ({
  hidden: floats(1, 2, 3, 4, 5, 6),
  weight: floats(1, 2, 3, 4, 5, 6, 7, 8),
  bias: floats(1, 2, 3, 4),
  labels: ints(0, 1, 2),
});
const backward = () => ({ lse: floats(1, 1, 1), gradLogps: floats(1, 1, 1) });

const linearRows: ErrorRow[] = [
  wrongLength('hidden that is no whole rows', { hidden: new Float32Array(7) }, /hidden.*\(7\)/),
  wrongLength('weight that is no whole rows', { weight: new Float32Array(7) }, /weight.*\(7\)/),
  wrongLength('bias of another length', { bias: new Float32Array(5) }, /bias.*\(5\)/),
  wrongType('weight of another class', { weight: new Uint16Array(8) }, /weight.*Uint16Array/),
  wrongType('bias of another class', { bias: new Uint16Array(4) }, /bias.*Uint16Array/),
  ...dtypeRows('hidden', 'dtype', new Uint16Array(6)),
];

// ── turns: 5 tokens in 3 turns in 2 trajectories

const turns = () => ({ turnOffsets: ints(0, 2, 3, 5) });
const batch = () => ({ logps: floats(1, 2, 3, 4, 5), refLogps: new Float32Array(5), ...turns() });

function offsetsRows(name: string, total: number): ErrorRow[] {
  const at = (index: string) => new RegExp(`${name}.* index ${index}\\b`);
  return [
    wrongOffsets(`${name} that fall`, { [name]: ints(0, 2, 1, total) }, at('2')),
    wrongOffsets(`${name} that start late`, { [name]: ints(1, 2, 2, total) }, at('0')),
    wrongOffsets(`${name} that start below 0`, { [name]: ints(-1, 1, 2, total) }, at('0')),
    wrongOffsets(`${name} that end early`, { [name]: ints(0, 1, 2, total - 1) }, at('3')),
    wrongOffsets(`${name} that end late`, { [name]: ints(0, 1, 2, total + 1) }, at('3')),
    // Where they leave the range or where they come back, either is named.
    wrongOffsets(`${name} that go beyond and come back`, { [name]: ints(0, total + 3, total, total) }, at('[12]')),
    wrongLength(`${name} without an element`, { [name]: ints() }, new RegExp(`${name}.*\\(0\\)`)),
  ];
}

const maskRows: ErrorRow[] = [
  ...optionalArrayRows('mask', 5),
  wrongLength('mask too long', { mask: new Uint8Array(6) }, /mask.*\(6\)/),
];

const emptyTurnRows: ErrorRow[] = [
  emptyTurn('a turn without tokens', { turnOffsets: ints(0, 2, 2, 5) }, /turn 1\b/),
  emptyTurn('a turn whose tokens are masked', { mask: Uint8Array.of(1, 1, 1, 0, 0) }, /turn 2\b/),
];

const pairRows: ErrorRow[] = [
  wrongPair('no pair', { chosen: ints(), rejected: ints() }, /pair/),
  wrongPair('chosen = rejected', { chosen: ints(0, 1), rejected: ints(1, 1) }, /pair 1\b/),
  wrongPair('chosen out of range', { chosen: ints(0, 3), rejected: ints(1, 0) }, /chosen.* 3\b.*pair 1\b/),
  wrongPair('rejected out of range', { chosen: ints(0, 1), rejected: ints(-1, 0) }, /rejected.* -1\b.*pair 0\b/),
  wrongLength('as many rejected as chosen', { chosen: ints(0, 1), rejected: ints(1) }, /rejected.*\(1\)/),
  wrongWeight('a negative weight', { pairWeights: floats(1, -1) }, /pair 1\b/),
  wrongWeight('a weight of NaN', { pairWeights: floats(NaN, 1) }, /pair 0\b/),
  wrongWeight('an infinite weight', { pairWeights: floats(1, Infinity) }, /pair 1\b/),
  wrongWeight('weights that are all 0', { pairWeights: floats(0, 0) }, /pair 0\b/),
  wrongWeight(
    'weights that are all 0, with a denominator',
    { pairWeights: floats(0, 0), pairDenominator: 2 },
    /pair 0\b/,
  ),
  ...optionalArrayRows('pairWeights', 2),
  wrongLength('pairWeights too long', { pairWeights: floats(1, 1, 1) }, /pairWeights.*\(3\)/),
  ...numberRows('beta', ...NOT_POSITIVE),
  ...numberRows('labelSmoothing', -0.1, 0.5, 1, NaN, Infinity),
  ...numberRows('nllCoef', ...NEGATIVE),
  ...numberRows('pairDenominator', ...NOT_POSITIVE),
  ...numberRows('nllDenominator', ...NOT_POSITIVE),
  ...choiceRows('lossType'),
  ...booleanRows('allowEmptyTurns'),
];

const pairs = () => ({ chosen: ints(0, 1), rejected: ints(1, 0) });
const trajectories = () => ({ ...turns(), trajectoryOffsets: ints(0, 2, 3), ...pairs() });
const preferenceOut = () => ({
  pairLosses: filled(2),
  margins: filled(2),
  chosenRewards: filled(2),
  rejectedRewards: filled(2),
  turnAdvantages: filled(3),
  gradLogps: filled(5),
});

const trajectoryRows: ErrorRow[] = [
  ...offsetsRows('turnOffsets', 5),
  ...offsetsRows('trajectoryOffsets', 3),
  ...maskRows,
  ...emptyTurnRows,
  emptyTurn(
    'a trajectory without tokens under token-mean',
    { mask: Uint8Array.of(1, 1, 1, 0, 0), normalization: 'token-mean' },
    /trajectory 1\b/,
  ),
  emptyTurn(
    'a trajectory without turns under token-mean',
    { trajectoryOffsets: ints(0, 0, 3), normalization: 'token-mean' },
    /trajectory 0\b/,
  ),
  wrongPair('a trajectory that is not there', { chosen: ints(2, 0), rejected: ints(0, 1) }, /chosen.* 2\b.*pair 0\b/),
  ...pairRows,
  ...choiceRows('normalization'),
  unknownOption('the reduction of turns', { reduction: 'mean' }, /"reduction"/),
];

const turnRows: ErrorRow[] = [
  ...offsetsRows('turnOffsets', 5),
  ...maskRows,
  ...emptyTurnRows.map((row) => ({ ...row, change: { ...row.change, reduction: 'mean' } })),
  ...pairRows,
  ...choiceRows('reduction'),
  unknownOption('the normalization of trajectories', { normalization: 'sum' }, /"normalization"/),
  unknownOption('trajectoryOffsets', { trajectoryOffsets: ints(0, 3) }, /"trajectoryOffsets"/),
];

// ── updates: 5 rows of 2 words

const updateLogits = () => ({
  logits: new Float32Array(10).fill(1),
  labels: ints(0, 1, 0, 1, 0),
  refLogps: new Float32Array(5),
});
const updateHidden = () => ({
  hidden: new Float32Array(15).fill(1),
  weight: new Float32Array(6).fill(1),
  bias: new Float32Array(2).fill(1),
  labels: ints(0, 1, 0, 1, 0),
  refLogps: new Float32Array(5),
});
const logitsOut = () => ({ ...preferenceOut(), logps: filled(5), gradLogits: filled(10) });
const hiddenOut = () => ({
  ...preferenceOut(),
  logps: filled(5),
  gradHidden: filled(15),
  gradWeight: filled(6),
  gradBias: filled(2),
});

function updateRows(valid: Options): ErrorRow[] {
  return [
    ...arrayRows(valid, 'labels'),
    ...outRows(valid),
    overlapRow(valid, 'gradLogps', 'refLogps'),
    ...numberRows('temperature', ...NOT_POSITIVE, 9e-31),
    ...numberRows('ignoreIndex', 1.5, NaN, 2 ** 31),
    wrongLabel('a label that is no word', { labels: ints(0, 1, 0, 2, 0) }, /\[3\].* 2\b/),
    wrongType('no reference', { refLogps: undefined }, /refLogps/),
    wrongType('two references', { refLogits: new Float32Array(10) }, /refLogps.*refLogits/),
    unknownOption('refDtype beside refLogps', { refDtype: 'float32' }, /refDtype/),
    wrongLength('refLogps too short', { refLogps: new Float32Array(4) }, /refLogps.*\(4\)/),
    wrongLength('refLogits too short', { refLogps: undefined, refLogits: new Float32Array(9) }, /refLogits.*\(9\)/),
    wrongType(
      'refHidden without refWeight',
      { refLogps: undefined, refHidden: new Float32Array(15) },
      /refWeight.*undefined/,
    ),
    wrongLength(
      'a reference of another vocabulary',
      { refLogps: undefined, refHidden: new Float32Array(15), refWeight: new Float32Array(9) },
      /refWeight.*\(9\)/,
    ),
    wrongType('two heads', { logits: new Float32Array(10), hidden: new Float32Array(15) }, /logits.*hidden/),
    wrongType('no head', { logits: undefined, hidden: undefined }, /logits.*hidden/),
  ];
}

function logitsUpdateRows(valid: Options): ErrorRow[] {
  return [
    ...updateRows(valid),
    wrongLength('logits that are no whole rows', { logits: new Float32Array(11) }, /logits.*\(11\)/),
    ...dtypeRows('logits', 'dtype', new Uint16Array(10)),
    overlapRow(valid, 'gradLogits', 'logits'),
    unknownOption('accumulate', { accumulate: true }, /accumulate/),
    unknownOption('a weight beside logits', { weight: new Float32Array(6) }, /weight/),
  ];
}

function hiddenUpdateRows(valid: Options): ErrorRow[] {
  const { gradWeight: _, ...withoutWeight } = hiddenOut();
  return [
    ...updateRows(valid),
    ...arrayRows(valid, 'weight'),
    ...booleanRows('accumulate'),
    wrongType('accumulate without a buffer', { accumulate: true, out: withoutWeight }, /out\.gradWeight/),
    overlapRow(valid, 'gradWeight', 'weight'),
    unknownOption('rowStride beside hidden', { rowStride: 3 }, /rowStride/),
    unknownOption('out.gradLogits of hidden', { out: { gradLogits: new Float32Array(10) } }, /gradLogits/),
  ];
}

// ── baselines: 5 tokens in 3 turns in 2 trajectories

/** What a device buffer looks like to the checks. */
const onDevice = (standsFor: string, length: number) => ({
  [Symbol.for('sweet-rl.standsFor')]: standsFor,
  device: 0,
  length,
  disposed: false,
});
const hostRows = (standsFor: string, length: number, ...names: string[]): ErrorRow[] =>
  names.map((name) => notOnHost(`${name} on a device`, { [name]: onDevice(standsFor, length) }, new RegExp(name)));

const outcomeRows: ErrorRow[] = [
  ...offsetsRows('trajectoryOffsets', 3),
  wrongLength('outcomes too short', { outcomes: floats(1, 0) }, /outcomes.*\(2\)/),
  wrongValue('an outcome of NaN', { outcomes: floats(1, NaN, 0) }, /outcomes\[1\].*NaN/),
  wrongValue('an outcome above 1', { outcomes: floats(1, 0, 1.5) }, /outcomes\[2\].*1\.5/),
  wrongValue('an outcome below 0', { outcomes: floats(-1, 0, 1) }, /outcomes\[0\].*-1/),
  ...hostRows('Float32Array', 3, 'outcomes'),
];
const outcomes = () => ({ trajectoryOffsets: ints(0, 1, 2, 3), outcomes: floats(1, 0, 0.5) });

// ── candidates and rewards

const states = () => ({ scores: floats(1, 3, 2, 5, 4), candidateOffsets: ints(0, 3, 5) });
const stateRows: ErrorRow[] = [
  ...offsetsRows('candidateOffsets', 5),
  wrongValue('a score of NaN', { scores: floats(1, 2, NaN, 4, 5) }, /scores\[2\].*NaN/),
];

const subjects: Subject[] = [
  subject(
    sweetRl.tokenLogps,
    () => ({ ...logitsHead(), entropy: true, out: { logps: filled(3), lse: filled(3), entropy: filled(3) } }),
    (valid) => [
      ...arrayRows(valid, 'logits', 'labels'),
      ...labelRows,
      ...logitsRows,
      ...booleanRows('entropy'),
      unknownOption('out.entropy without entropy', { entropy: false }, /entropy/),
      ...outRows(valid),
      overlapRow(valid, 'lse', 'logits'),
    ],
  ),
  subject(
    sweetRl.tokenLogpsBackward as (options: never) => unknown,
    () => ({ ...logitsHead(), ...backward(), out: { gradLogits: filled(12) } }),
    (valid) => [
      ...arrayRows(valid, 'logits', 'labels', 'lse', 'gradLogps'),
      ...lengthRows(valid, 'lse', 'gradLogps'),
      ...labelRows,
      ...logitsRows,
      ...outRows(valid),
      overlapRow(valid, 'gradLogits', 'logits'),
      overlapRow(valid, 'gradLogits', 'lse'),
      unknownOption('entropy', { entropy: true }, /"entropy"/),
    ],
  ),
  subject(
    sweetRl.linearLogps,
    () => ({ ...linearHead(), entropy: true, out: { logps: filled(3), lse: filled(3), entropy: filled(3) } }),
    (valid) => [
      ...arrayRows(valid, 'hidden', 'weight', 'labels'),
      ...optionalArrayRows('bias', 4),
      ...labelRows,
      ...linearRows,
      ...booleanRows('entropy'),
      ...outRows(valid),
      overlapRow(valid, 'logps', 'hidden'),
      unknownOption('rowStride', { rowStride: 4 }, /"rowStride"/),
    ],
  ),
  subject(
    sweetRl.linearLogpsBackward,
    () => ({
      ...linearHead(),
      ...backward(),
      out: { gradHidden: filled(6), gradWeight: filled(8), gradBias: filled(4) },
    }),
    (valid) => [
      ...arrayRows(valid, 'hidden', 'weight', 'labels', 'lse', 'gradLogps'),
      ...lengthRows(valid, 'lse', 'gradLogps'),
      ...labelRows,
      ...linearRows,
      ...booleanRows('accumulate'),
      ...outRows(valid),
      overlapRow(valid, 'gradWeight', 'weight'),
      overlapRow(valid, 'gradHidden', 'hidden'),
      wrongType('accumulate without buffers', { accumulate: true, out: undefined }, /out\.gradHidden/),
      unknownOption('out.gradBias without a bias', { bias: undefined }, /gradBias/),
    ],
  ),
  subject(
    sweetRl.turnAdvantages,
    () => ({ ...batch(), reduction: 'mean' }),
    (valid) => [
      ...arrayRows(valid, 'logps', 'refLogps', 'turnOffsets'),
      ...lengthRows(valid, 'refLogps'),
      ...offsetsRows('turnOffsets', 5),
      ...maskRows,
      ...emptyTurnRows,
      ...choiceRows('reduction'),
      ...booleanRows('allowEmptyTurns'),
    ],
  ),
  subject(
    sweetRl.turnAdvantagesBackward,
    () => ({ ...turns(), gradAdvantages: floats(1, 2, 3), mask: new Uint8Array(5).fill(1) }),
    (valid) => [
      ...arrayRows(valid, 'gradAdvantages', 'turnOffsets'),
      ...lengthRows(valid, 'gradAdvantages', 'mask'),
      wrongOffsets('turnOffsets that fall', { turnOffsets: ints(0, 3, 2, 5) }, /turnOffsets.*\b2\b/),
      wrongOffsets('turnOffsets that start late', { turnOffsets: ints(1, 2, 3, 5) }, /turnOffsets.*\b0\b/),
      ...emptyTurnRows,
      ...choiceRows('reduction'),
      ...booleanRows('allowEmptyTurns'),
    ],
  ),
  subject(
    sweetRl.trajectoryPreferenceLoss,
    () => ({ ...batch(), ...trajectories(), out: preferenceOut() }),
    (valid) => [
      ...arrayRows(valid, 'logps', 'refLogps', 'turnOffsets', 'trajectoryOffsets', 'chosen', 'rejected'),
      ...lengthRows(valid, 'refLogps'),
      ...trajectoryRows,
      ...outRows(valid),
      overlapRow(valid, 'gradLogps', 'logps'),
    ],
  ),
  subject(
    sweetRl.turnPreferenceLoss,
    () => ({ ...batch(), ...pairs(), out: preferenceOut() }),
    (valid) => [
      ...arrayRows(valid, 'logps', 'refLogps', 'turnOffsets', 'chosen', 'rejected'),
      ...lengthRows(valid, 'refLogps'),
      ...turnRows,
      ...outRows(valid),
      overlapRow(valid, 'turnAdvantages', 'refLogps'),
    ],
  ),
  {
    ...subject(
      sweetRl.criticUpdate as (options: never) => unknown,
      () => ({ ...updateLogits(), ...trajectories(), out: logitsOut() }),
      (valid) => [...trajectoryRows, ...logitsUpdateRows(valid)],
    ),
    name: 'criticUpdate from logits',
  },
  {
    ...subject(
      sweetRl.criticUpdate as (options: never) => unknown,
      () => ({ ...updateHidden(), ...trajectories(), out: hiddenOut() }),
      (valid) => [...trajectoryRows, ...hiddenUpdateRows(valid)],
    ),
    name: 'criticUpdate from hidden states',
  },
  {
    ...subject(
      sweetRl.policyUpdate as (options: never) => unknown,
      () => ({ ...updateLogits(), ...turns(), ...pairs(), out: logitsOut() }),
      (valid) => [...turnRows, ...logitsUpdateRows(valid)],
    ),
    name: 'policyUpdate from logits',
  },
  {
    ...subject(
      sweetRl.policyUpdate as (options: never) => unknown,
      () => ({ ...updateHidden(), ...turns(), ...pairs(), out: hiddenOut() }),
      (valid) => [...turnRows, ...hiddenUpdateRows(valid)],
    ),
    name: 'policyUpdate from hidden states',
  },
  subject(
    sweetRl.filteredNll,
    () => ({
      logps: floats(1, 2, 3, 4, 5),
      ...turns(),
      trajectoryOffsets: ints(0, 1, 2, 3),
      rewards: floats(1, 0, 1),
      out: { gradLogps: filled(5) },
    }),
    (valid) => [
      ...arrayRows(valid, 'logps', 'turnOffsets', 'trajectoryOffsets', 'rewards'),
      ...lengthRows(valid, 'rewards'),
      ...offsetsRows('turnOffsets', 5),
      ...offsetsRows('trajectoryOffsets', 3),
      ...maskRows,
      wrongValue('a reward of NaN', { rewards: floats(1, NaN, 1) }, /rewards\[1\].*NaN/),
      ...numberRows('threshold', NaN),
      ...numberRows('nllDenominator', ...NOT_POSITIVE),
      ...outRows(valid),
      overlapRow(valid, 'gradLogps', 'logps'),
      overlapRow(valid, 'gradLogps', 'rewards'),
      ...hostRows('Float32Array', 5, 'logps'),
      ...hostRows('Uint8Array', 5, 'mask'),
      ...hostRows('Int32Array', 4, 'turnOffsets', 'trajectoryOffsets'),
      ...hostRows('Float32Array', 3, 'rewards'),
    ],
  ),
  subject(
    sweetRl.binaryValueLoss,
    () => ({
      valueLogits: floats(1, 2, 3),
      ...outcomes(),
      out: { valueLosses: filled(3), values: filled(3), gradValueLogits: filled(3) },
    }),
    (valid) => [
      ...arrayRows(valid, 'valueLogits', 'trajectoryOffsets', 'outcomes'),
      ...outcomeRows,
      ...optionalArrayRows('mask', 3),
      wrongLength('mask too long', { mask: new Uint8Array(4) }, /mask.*\(4\)/),
      ...numberRows('valueDenominator', ...NOT_POSITIVE),
      ...outRows(valid),
      overlapRow(valid, 'values', 'valueLogits'),
      ...hostRows('Float32Array', 3, 'valueLogits'),
      ...hostRows('Uint8Array', 3, 'mask'),
    ],
  ),
  subject(
    sweetRl.valueAdvantages,
    () => ({ values: floats(1, 2, 3), ...outcomes(), out: { advantages: filled(3) } }),
    (valid) => [
      ...arrayRows(valid, 'values', 'trajectoryOffsets', 'outcomes'),
      ...outcomeRows,
      ...outRows(valid),
      overlapRow(valid, 'advantages', 'values'),
      ...hostRows('Float32Array', 3, 'values'),
    ],
  ),
  subject(
    sweetRl.bradleyTerryLoss,
    () => {
      const { turnAdvantages: _, gradLogps: __, ...out } = preferenceOut();
      return { scores: floats(3, 1, 2), ...pairs(), out: { ...out, gradScores: filled(3) } };
    },
    (valid) => [
      ...arrayRows(valid, 'scores', 'chosen', 'rejected'),
      ...pairRows.filter(({ change }) => !Object.keys(change).some((name) => /^nll|^allow/.test(name))),
      ...outRows(valid),
      overlapRow(valid, 'gradScores', 'scores'),
      unknownOption('the NLL of log-probs', { nllCoef: 0.01 }, /"nllCoef"/),
      unknownOption('turnOffsets', { turnOffsets: ints(0, 1, 2, 3) }, /"turnOffsets"/),
      ...hostRows('Float32Array', 3, 'scores'),
      notOnHost('chosen on a device', { chosen: onDevice('Int32Array', 2) }, /chosen/),
    ],
  ),
  subject(sweetRl.rankCandidates, states, (valid) => [
    ...arrayRows(valid, 'scores', 'candidateOffsets'),
    ...stateRows,
    ...hostRows('Float32Array', 5, 'scores'),
    ...hostRows('Int32Array', 3, 'candidateOffsets'),
  ]),
  subject(
    sweetRl.samplePairs,
    () => ({ ...states(), seed: 1 }),
    (valid) => [
      ...arrayRows(valid, 'scores', 'candidateOffsets'),
      ...stateRows,
      wrongType('no seed', { seed: undefined }, /seed.*undefined/),
      ...numberRows('seed', -1, 2 ** 32, 1.5, NaN),
      ...numberRows('numPairs', 0, -1, 1.5, NaN),
      ...choiceRows('rule'),
      wrongValue('several pairs by best-worst', { rule: 'best-worst', numPairs: 2 }, /numPairs.* 2\b/),
    ],
  ),
  subject(
    sweetRl.trajectoryPairs,
    () => ({ rewards: floats(1, 0, 0.5, 1, 0), taskOffsets: ints(0, 3, 5) }),
    (valid) => [
      ...arrayRows(valid, 'rewards', 'taskOffsets'),
      ...offsetsRows('taskOffsets', 5),
      wrongValue('a reward of NaN', { rewards: floats(1, 0, 0, NaN, 1) }, /rewards\[3\].*NaN/),
      ...choiceRows('rule'),
      ...numberRows('minDifference', ...NEGATIVE).map((row) => ({
        ...row,
        change: { ...row.change, rule: 'threshold' },
      })),
      unknownOption('minDifference without threshold', { minDifference: 0.1 }, /minDifference/),
    ],
  ),
];

function expectError(
  thrown: Error & { code?: unknown },
  { class: Class, code, message }: Omit<ErrorRow, 'what' | 'change'>,
) {
  expect(thrown.message).toMatch(message);
  expect(thrown.code).toBe(code);
  expect(thrown).toBeInstanceOf(Class);
}

/** Copies of the result buffers, to compare with after a call that must not write. */
function copiesOf(out: unknown): [string, Float32Array, Float32Array][] {
  const buffers = Object.entries((out ?? {}) as Record<string, Float32Array>);
  return buffers.map(([name, buffer]) => [name, buffer, buffer.slice()]);
}

forEachBackend(() => {
  describe.each(subjects)('$name', ({ call, valid, rows }) => {
    it('takes the call that the rows change', () => {
      expect(() => call(valid() as never)).not.toThrow();
    });

    it.each(rows)('$what', ({ change, ...expected }) => {
      const options: Options = { ...valid(), ...change };
      const copies = copiesOf(options.out);
      expectError(
        thrownBy(() => call(options as never)),
        expected,
      );
      for (const [name, buffer, copy] of copies) expect(buffer, `out.${name}`).toEqual(copy);
    });

    it.each([undefined, null, [], 3, 'text', new Float32Array(1)])('refuses %o as its options', (options) => {
      const expected = { class: TypeError, code: 'ERR_ARG_TYPE', message: /options/ };
      expectError(
        thrownBy(() => call(options as never)),
        expected,
      );
    });
  });
});

describe('packTurns', () => {
  const agent = { tokens: [3, 4], agent: true };
  const human = { tokens: [1, 2], agent: false };
  const fine = { turns: [human, agent] };

  it.each<[string, unknown[], Omit<ErrorRow, 'what' | 'change'>]>([
    ['nothing', [], wrongType('', {}, /trajectories.*undefined/)],
    ['an object', [fine], wrongType('', {}, /trajectories/)],
    ['a trajectory without turns', [[fine, {}]], wrongType('', {}, /trajectories\[1\]\.turns/)],
    ['no trajectory', [[fine, null]], wrongType('', {}, /trajectories\[1\]/)],
    ['a turn without tokens', [[{ turns: [human, { agent: true }] }]], wrongType('', {}, /\[0\]\.turns\[1\]\.tokens/)],
    [
      'tokens of a wrong class',
      [[{ turns: [{ tokens: new Float32Array(2), agent: true }] }]],
      wrongType('', {}, /tokens.*Float32Array/),
    ],
    ['a turn that is nobody’s', [[{ turns: [human, { tokens: [1] }] }]], wrongType('', {}, /\[0\]\.turns\[1\]\.agent/)],
    ['no agent', [[fine, { turns: [human] }]], emptyTurn('', {}, /trajector.*\b1\b/)],
    ['no turns', [[{ turns: [] }]], emptyTurn('', {}, /trajector.*\b0\b/)],
    ['an empty message', [[{ turns: [human, { tokens: [], agent: true }, agent] }]], emptyTurn('', {}, /turns\[1\]/)],
    [
      'only the first token',
      [[{ turns: [{ tokens: [5], agent: true }, human, agent] }]],
      emptyTurn('', {}, /turns\[0\]/),
    ],
    [
      'a negative token',
      [[{ turns: [human, { tokens: [1, -1], agent: true }] }]],
      wrongValue('', {}, /tokens\[1\].*-1/),
    ],
    ['half a token', [[{ turns: [human, { tokens: [1.5], agent: true }] }]], wrongValue('', {}, /tokens\[0\].*1\.5/)],
    ['an unknown option', [[fine], { colour: 1 }], unknownOption('', {}, /"colour"/)],
    ['half an ignoreIndex', [[fine], { ignoreIndex: 0.5 }], wrongValue('', {}, /ignoreIndex.*0\.5/)],
  ])('refuses %s', (_what, args, expected) => {
    const call = sweetRl.packTurns as (...args: unknown[]) => unknown;
    expectError(
      thrownBy(() => call(...args)),
      expected,
    );
  });
});

describe('trlMetrics', () => {
  it.each([undefined, null, {}, { loss: 1 }])('refuses %o', (result) => {
    expectError(
      thrownBy(() => sweetRl.trlMetrics(result as never)),
      wrongType('', {}, /result|Rewards/),
    );
  });
});

describe('SweetError', () => {
  it('is an Error with a code', () => {
    const error = new sweetRl.SweetError('ERR_MEMORY', 'why');
    expect(error).toBeInstanceOf(Error);
    expect([error.name, error.code, error.message]).toEqual(['SweetError', 'ERR_MEMORY', 'why']);
  });
});
