/**
 * What may be wrong inside arrays and between arguments: the class of error, its code, a message that names the argument or
 * the index, and that nothing was written. What a single argument may be is in arguments.test.ts.
 */
import * as sweetRl from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { bytesIn } from '../helpers/arguments.ts';
import { floats, hiddenOut, ints, SUBJECTS, type Subject } from '../helpers/calls.ts';
import {
  type ErrorRow,
  emptyTurn,
  notOnHost,
  type Options,
  thrownBy,
  unknownOption,
  wrongLabel,
  wrongLength,
  wrongOffsets,
  wrongPair,
  wrongTokenWeight,
  wrongType,
  wrongUnitWeight,
  wrongValue,
  wrongWeight,
} from '../helpers/errors.ts';
import { exportsOf } from '../helpers/exports.ts';
import { forEachBackend } from '../helpers/machine.ts';

// -- rows over the vocabulary: 3 rows of 4 words

const labelRows: ErrorRow[] = [
  wrongLabel('a label that is no word', { labels: ints(0, 4, 2) }, /\[1\].* 4\b/),
  wrongLabel('a negative label', { labels: ints(0, 1, -1) }, /\[2\].* -1\b/),
  wrongLabel('-100 where another index is ignored', { labels: ints(-100, 1, 2), ignoreIndex: -1 }, /\[0\].* -100\b/),
  wrongLabel('a label beyond 32 bits', { labels: BigInt64Array.of(0n, 2n ** 40n, 0n) }, /\[1\].* 1099511627776\b/),
  wrongLabel(
    'a label that 32 bits would take for 0',
    { labels: BigInt64Array.of(0n, 0n, -(2n ** 32n)) },
    /\[2\].* -4294967296\b/,
  ),
  wrongLength('mask too short', { mask: new Uint8Array(2) }, /mask.*\(2\)/),
];

const logitsRows: ErrorRow[] = [
  wrongLength('logits that are no whole rows', { logits: new Float32Array(13) }, /logits.*\(13\)/),
  wrongLength('logits too short for vocabSize', { vocabSize: 5 }, /logits.*\(12\)/),
  wrongLength('logits too short for rowStride', { rowStride: 6 }, /logits.*\(12\)/),
  wrongValue('rowStride below V', { vocabSize: 4, rowStride: 3 }, /rowStride.* 3\b/),
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

const linearRows: ErrorRow[] = [
  wrongLength('hidden that is no whole rows', { hidden: new Float32Array(7) }, /hidden.*\(7\)/),
  wrongLength('weight that is no whole rows', { weight: new Float32Array(7) }, /weight.*\(7\)/),
  wrongLength('bias of another length', { bias: new Float32Array(5) }, /bias.*\(5\)/),
  wrongType('weight of another class', { weight: new Uint16Array(8) }, /weight.*Uint16Array/),
  wrongType('bias of another class', { bias: new Uint16Array(4) }, /bias.*Uint16Array/),
  ...dtypeRows('hidden', 'dtype', new Uint16Array(6)),
];

// -- turns: 5 tokens in 3 turns in 2 trajectories

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

const emptyTurnRows: ErrorRow[] = [
  emptyTurn('a turn without tokens', { turnOffsets: ints(0, 2, 2, 5) }, /turn 1\b/),
  emptyTurn('a turn whose tokens are masked', { mask: Uint8Array.of(1, 1, 1, 0, 0) }, /turn 2\b/),
];

const tokenWeightRows: ErrorRow[] = [
  wrongTokenWeight(
    'a negative weight of a token',
    { tokenWeights: floats(1, 1, -2, 1, NaN) },
    /tokenWeights\[2\].* -2$/,
  ),
  wrongTokenWeight('a weight of NaN', { tokenWeights: floats(NaN, 1, 1, 1, 1) }, /tokenWeights\[0\].*NaN$/),
  wrongTokenWeight(
    'an infinite weight',
    { tokenWeights: floats(1, 1, 1, 1, Infinity) },
    /tokenWeights\[4\].*Infinity$/,
  ),
  wrongTokenWeight(
    'the least weight below 0',
    { tokenWeights: floats(1, -(2 ** -149), 1, 1, 1) },
    /tokenWeights\[1\].*e-45$/,
  ),
  wrongTokenWeight(
    'a wrong weight after those of dropped tokens',
    { tokenWeights: floats(1, -1, 1, -3, NaN), mask: Uint8Array.of(1, 0, 1, 0, 1) },
    /tokenWeights\[4\].*NaN$/,
  ),
  wrongLength('tokenWeights too short', { tokenWeights: new Float32Array(4) }, /tokenWeights.*\(4\)/),
];
const weightlessTurn = emptyTurn(
  'a turn of weight 0',
  { tokenWeights: floats(1, 0, 0, 0, 1) },
  /weight above 0 in turn 1\b/,
);

const pairRows: ErrorRow[] = [
  wrongPair('no pair', { chosen: ints(), rejected: ints() }, /pair/),
  wrongPair('chosen = rejected', { chosen: ints(0, 1), rejected: ints(1, 1) }, /pair 1\b/),
  wrongPair('chosen out of range', { chosen: ints(0, 3), rejected: ints(1, 0) }, /chosen.* 3\b.*pair 1\b/),
  wrongPair('rejected out of range', { chosen: ints(0, 1), rejected: ints(-1, 0) }, /rejected.* -1\b.*pair 0\b/),
  wrongPair('rejected just out of range', { chosen: ints(0, 1), rejected: ints(1, 3) }, /rejected.* 3\b.*pair 1\b/),
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
  wrongLength('pairWeights too long', { pairWeights: floats(1, 1, 1) }, /pairWeights.*\(3\)/),
];

const trajectoryRows: ErrorRow[] = [
  emptyTurn(
    'a trajectory without tokens under token-mean',
    { mask: Uint8Array.of(1, 1, 1, 0, 0), normalization: 'token-mean' },
    /trajectory 1\b/,
  ),
  emptyTurn(
    'a trajectory of weight 0 under token-mean',
    { tokenWeights: floats(1, 0, 0, 0, 0), normalization: 'token-mean' },
    /weight above 0 in trajectory 1\b/,
  ),
  emptyTurn(
    'a trajectory without turns under token-mean',
    { trajectoryOffsets: ints(0, 0, 3), normalization: 'token-mean' },
    /trajectory 0\b/,
  ),
  wrongPair('a trajectory that is not there', { chosen: ints(2, 0), rejected: ints(0, 1) }, /chosen.* 2\b.*pair 0\b/),
  unknownOption('the reduction of turns', { reduction: 'mean' }, /"reduction"/),
];

const turnRows: ErrorRow[] = [
  unknownOption('the normalization of trajectories', { normalization: 'sum' }, /"normalization"/),
  unknownOption('trajectoryOffsets', { trajectoryOffsets: ints(0, 3) }, /"trajectoryOffsets"/),
];

const unpairedRows: ErrorRow[] = [
  wrongUnitWeight('a negative weight of an item', { unitWeights: floats(1, -1, NaN) }, /unitWeights\[1\].* -1$/),
  wrongUnitWeight('a weight of NaN', { unitWeights: floats(NaN, 1, 1) }, /unitWeights\[0\].*NaN$/),
  wrongUnitWeight('an infinite weight', { unitWeights: floats(0, 0, Infinity) }, /unitWeights\[2\].*Infinity$/),
  wrongUnitWeight(
    'a weight of an item before one of a token',
    { unitWeights: floats(0, 0, -2), tokenWeights: floats(-1, 1, 1, 1, 1) },
    /unitWeights\[2\].* -2$/,
  ),
  wrongLength('unitWeights too short', { unitWeights: floats(1, 1) }, /unitWeights.*\(2\)/),
  wrongLength('desirable too long', { desirable: new Uint8Array(4) }, /desirable.*\(4\)/),
  wrongType('desirable missing', { desirable: undefined }, /desirable.*undefined/),
  wrongLength('another number of klRefLogps', { klRefLogps: floats(1, 2, 3) }, /klRefLogps.*\(3\)/),
  wrongLength('no sequence', { klLogps: floats(), klRefLogps: floats() }, /klLogps.*\(0\)/),
  wrongType('no klRefLogps', { klRefLogps: undefined }, /klRefLogps.*referencePoint.*lossType 'kto'/),
  wrongType('no reference point', { klLogps: undefined, klRefLogps: undefined }, /klLogps.*lossType 'kto'/),
  wrongType('no reference', { refLogps: undefined }, /refLogps.*lossType 'kto'/),
  unknownOption(
    'a reference with referenceFree',
    { referenceFree: true, klRefLogps: undefined },
    /refLogps.*referenceFree/,
  ),
  unknownOption(
    'klRefLogps with referenceFree',
    { referenceFree: true, refLogps: undefined },
    /klRefLogps.*referenceFree/,
  ),
  unknownOption('klLogps beside referencePoint', { referencePoint: 1 }, /klLogps for referencePoint/),
  unknownOption('running of kto', { running: { mean: 0, count: 1 } }, /lossType 'kto' for running/),
  unknownOption('klLogps of bco', { lossType: 'bco' }, /lossType 'bco' for klLogps/),
  unknownOption(
    'klLogps of apo_zero_unpaired',
    { lossType: 'apo_zero_unpaired' },
    /lossType 'apo_zero_unpaired' for klL/,
  ),
  ...[0, 1].map((referencePoint) =>
    unknownOption(
      `a referencePoint ${referencePoint} of apo_zero_unpaired`,
      { lossType: 'apo_zero_unpaired', klLogps: undefined, klRefLogps: undefined, referencePoint },
      /lossType 'apo_zero_unpaired' for referencePoint/,
    ),
  ),
  unknownOption(
    'running beside referencePoint',
    { lossType: 'bco', klLogps: undefined, klRefLogps: undefined, referencePoint: 1, running: { mean: 0, count: 1 } },
    /running for referencePoint/,
  ),
  wrongValue('a loss of pairs', { lossType: 'sigmoid' }, /lossType.*"sigmoid"/),
  wrongType('several types', { lossType: ['kto'] }, /lossType.*Array/),
  unknownOption('normalization of turns', { normalization: 'sum' }, /trajectoryOffsets for normalization/),
  unknownOption('reduction of trajectories', { trajectoryOffsets: ints(0, 2, 3), reduction: 'sum' }, /for reduction/),
  unknownOption('the weights of pairs', { pairWeights: floats(1, 1, 1) }, /pairWeights/),
  unknownOption('a buffer for the rewards of a kind', { out: { chosenRewards: floats(1) } }, /chosenRewards/),
];
const noItemRow = wrongLength(
  'no item',
  {
    turnOffsets: ints(0),
    logps: floats(),
    refLogps: floats(),
    desirable: new Uint8Array(),
    mask: undefined,
    labels: undefined,
    tokenWeights: undefined,
    unitWeights: undefined,
    out: undefined,
  },
  /desirable.*\(0\)/,
);
const runningRows: ErrorRow[] = [
  wrongType('no mean', { running: { count: 1 } }, /running\.mean.*undefined/),
  wrongType('no count', { running: { mean: 1 } }, /running\.count.*undefined/),
  wrongValue('a mean of NaN', { running: { mean: NaN, count: 1 } }, /running\.mean.*NaN/),
  wrongValue('a negative count', { running: { mean: 0, count: -1 } }, /running\.count.* -1/),
  unknownOption('an unknown name in running', { running: { mean: 0, count: 1, sum: 2 } }, /"sum"/),
];

// -- updates: 5 rows of 2 words

const updateRows: ErrorRow[] = [
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

/** Of a reference head, beside a head of 5 rows of 2 words. */
const logitsReference = { refLogps: undefined, refLogits: new Float32Array(10) };
const linearReference = { refLogps: undefined, refHidden: new Float32Array(15), refWeight: new Float32Array(6) };
const referenceRows: ErrorRow[] = [
  ...['refTemperature', 'refVocabSize', 'refRowStride', 'refHiddenSize'].map((name) =>
    unknownOption(`${name} beside refLogps`, { [name]: 2 }, new RegExp(`${name} beside refLogps`)),
  ),
  unknownOption('refWeightDtype beside refLogps', { refWeightDtype: 'float32' }, /refWeightDtype/),
  unknownOption('refWeightLayout beside refLogps', { refWeightLayout: 'HV' }, /refWeightLayout/),
  unknownOption('refRowStride beside refHidden', { ...linearReference, refRowStride: 2 }, /refRowStride beside refHid/),
  unknownOption('refHiddenSize beside refLogits', { ...logitsReference, refHiddenSize: 3 }, /refHiddenSize/),
  unknownOption('refWeightLayout beside refLogits', { ...logitsReference, refWeightLayout: 'VH' }, /refWeightLayout/),
  wrongValue('a refTemperature of 0', { ...logitsReference, refTemperature: 0 }, /refTemperature but received 0/),
  wrongType('a refTemperature of null', { ...linearReference, refTemperature: null }, /refTemperature.*null/),
  wrongLength('another refVocabSize', { ...linearReference, refVocabSize: 3 }, /V = 2.*refVocabSize.* 3/),
  wrongLength('another refVocabSize of logits', { ...logitsReference, refVocabSize: 1 }, /V = 2.*refVocabSize.* 1/),
  wrongLength('another refHiddenSize', { ...linearReference, refHiddenSize: 4 }, /H = 4.*refHiddenSize.*refHidden/),
  wrongValue('a refRowStride below V', { ...logitsReference, refRowStride: 1 }, /at least V = 2 for refRowStride/),
  wrongLength('another refRowStride', { ...logitsReference, refRowStride: 3 }, /refRowStride = 3.*refLogits/),
  wrongValue('another layout', { ...linearReference, refWeightLayout: 'hv' }, /refWeightLayout/),
  wrongLength(
    'the shape of another layout',
    { ...linearReference, refWeight: { data: new Float32Array(6), dims: [3, 2] } },
    /\[V, 3\], as refWeightLayout is 'VH', for refWeight .*\[3, 2\]/,
  ),
  wrongType('a dtype of another class', { ...linearReference, refWeightDtype: 'float16' }, /refWeightDtype/),
  wrongType('a bias of another type', { ...linearReference, refBias: new Uint16Array(2) }, /refBias.*Uint16Array/),
];

const logitsUpdateRows: ErrorRow[] = [
  ...updateRows,
  ...referenceRows,
  unknownOption('a layout of the weight beside logits', { weightLayout: 'VH' }, /weightLayout beside logits/),
  unknownOption('a type of the weight beside logits', { weightDtype: 'float32' }, /weightDtype beside logits/),
  wrongLength('logits that are no whole rows', { logits: new Float32Array(11) }, /logits.*\(11\)/),
  ...dtypeRows('logits', 'dtype', new Uint16Array(10)),
  unknownOption('accumulate', { accumulate: true }, /accumulate/),
  unknownOption('a frozen weight beside logits', { frozenWeight: true }, /frozenWeight/),
  unknownOption('frozen hidden states beside logits', { frozenHidden: true }, /frozenHidden/),
  unknownOption('a weight beside logits', { weight: new Float32Array(6) }, /weight/),
];

/** Of a call with buffers for all three gradients. */
const frozenRows: ErrorRow[] = [
  wrongValue('everything frozen', { frozenWeight: true, frozenHidden: true, out: undefined }, /frozenHidden/),
  unknownOption('out.gradWeight of a frozen weight', { frozenWeight: true }, /gradWeight.*frozenWeight/),
  unknownOption(
    'out.gradBias of a frozen weight',
    { frozenWeight: true, out: { gradBias: new Float32Array(4) } },
    /gradBias.*frozenWeight/,
  ),
  unknownOption('out.gradHidden of frozen hidden states', { frozenHidden: true }, /gradHidden.*frozenHidden/),
];

/** Of 5 hidden states of 3 elements. */
const strideRows: ErrorRow[] = [
  wrongValue('hidden states that overlap', { hiddenStride: 2, hiddenSize: 3 }, /at least H = 3 for hiddenStride.* 2/),
  wrongLength('one element too few between them', { hiddenStride: 4 }, /hiddenStride = 4 .*hidden.*\(15\)/),
  wrongLength(
    'one element more than the last',
    { hiddenStride: 4, hiddenSize: 3, hidden: new Float32Array(21) },
    /hidden.*\(21\)/,
  ),
  unknownOption('refHiddenStride beside refLogps', { refHiddenStride: 4 }, /refHiddenStride/),
];

const { gradHidden, gradBias } = hiddenOut();
const hiddenUpdateRows: ErrorRow[] = [
  ...updateRows,
  ...referenceRows,
  wrongType('accumulate without a buffer', { accumulate: true, out: { gradHidden, gradBias } }, /out\.gradWeight/),
  unknownOption('rowStride beside hidden', { rowStride: 3 }, /rowStride/),
  ...frozenRows,
  ...strideRows,
  unknownOption('out.gradLogits of hidden', { out: { gradLogits: new Float32Array(10) } }, /gradLogits/),
];

// -- the policy-gradient update: 5 tokens in 3 turns in 2 trajectories, with KL and entropy

const noOffsets = { turnOffsets: undefined, trajectoryOffsets: undefined };
const policyGradientRows: ErrorRow[] = [
  wrongValue('sapoTauPos beside clip', { sapoTauPos: 2 }, /sapoTauPos .*'clip'/),
  wrongValue('a clip of sapo', { objective: 'sapo', clipLow: 0.1 }, /clipLow .*'sapo'/),
  wrongValue('a dual clip of cispo', { objective: 'cispo', dualClip: 3 }, /dualClip .*'cispo'/),
  wrongValue('oldLogps of reinforce', { objective: 'reinforce' }, /oldLogps .*'reinforce'/),
  wrongValue('dppo of turns', { objective: 'dppo', ratioLevel: 'turn' }, /ratioLevel.*'dppo'|'dppo'.*ratioLevel/),
  wrongType('turns without offsets', { ratioLevel: 'turn', ...noOffsets }, /turnOffsets.*'turn'/),
  wrongType(
    'trajectories without offsets',
    { ratioLevel: 'trajectory', ...noOffsets },
    /trajectoryOffsets.*'trajectory'/,
  ),
  wrongType('sequences without offsets', { reduction: 'sequence-mean-token-sum', ...noOffsets }, /trajectoryOffsets/),
  wrongType('a constant that is not given', { reduction: 'constant' }, /denominator.*'constant'/),
  wrongType('KL without a reference', { refLogps: undefined }, /refLogps.*klCoef/),
  wrongValue('a reference without KL', { klCoef: 0 }, /refLogps.*klCoef/),
  wrongValue('klType without KL', { klCoef: 0, refLogps: undefined, klType: 'k1' }, /klType.*klCoef/),
  unknownOption('entropy of its own', { entropy: true }, /entropy.*entropyCoef/),
  unknownOption(
    'out.entropy without entropy',
    { entropyCoef: 0, out: { entropy: new Float32Array(5) } },
    /out\.entropy/,
  ),
  unknownOption('weights of tokens', { tokenWeights: new Float32Array(5) }, /tokenWeights.*importanceWeights/),
];

// -- baselines: 5 tokens in 3 turns in 2 trajectories

/** What a device buffer looks like to the checks. */
const hostRows = (standsFor: string, length: number, ...names: string[]): ErrorRow[] =>
  names.map((name) => {
    const buffer = {
      [Symbol.for('sweet-rl.standsFor')]: standsFor,
      dtype: 'float32',
      device: 0,
      length,
      disposed: false,
    };
    return notOnHost(`${name} on a device`, { [name]: buffer }, new RegExp(name));
  });

const outcomeRows: ErrorRow[] = [
  wrongValue('an outcome of NaN', { outcomes: floats(1, NaN) }, /outcomes\[1\].*NaN/),
  wrongValue('an outcome above 1', { outcomes: floats(0, 1.5) }, /outcomes\[1\].*1\.5/),
  wrongValue('an outcome below 0', { outcomes: floats(-1, 0) }, /outcomes\[0\].*-1/),
  ...hostRows('Float32Array', 2, 'outcomes'),
];

// -- candidates and rewards

const stateRows: ErrorRow[] = [wrongValue('a score of NaN', { scores: floats(1, 2, NaN, 4, 5) }, /scores\[2\].*NaN/)];

const booleanMask = wrongType('a mask of booleans', { mask: [true, false] }, /mask.*: use Uint8Array\.from\(mask\)$/);

/** What the options of a call imply: offsets, a mask of tokens or turns, means over turns, pairs. */
function commonRows({ call, valid, arguments: all }: Subject): ErrorRow[] {
  const names = all.filter(({ path }) => path.length === 1).map(({ name }) => name);
  const has = (name: string) => names.includes(name);
  // These take the number of tokens or turns from the end of their offsets.
  const fromOffsets = /Backward$|^turnRewardAdvantages$/.test(call.name) ? /Offsets that end/ : undefined;
  const counts = call.name === 'broadcastTurns' ? /^turnOffsets that end/ : fromOffsets;
  const isRow = ({ what }: ErrorRow) => !counts?.test(what);
  // Of those that may be left out, and are, no rows.
  const offsets = names.filter((name) => /Offsets$/.test(name) && valid()[name] !== undefined);
  const longMask = new Uint8Array(((valid().mask as Uint8Array | undefined)?.length ?? 0) + 1);
  const mean = has('reduction') && valid().normalization === undefined ? { reduction: 'mean' } : {};
  return [
    ...offsets.flatMap((name) => offsetsRows(name, (valid()[name] as Int32Array).at(-1)!)).filter(isRow),
    ...(has('mask') ? [wrongLength('mask too long', { mask: longMask }, /mask.*\(\d+\)/), booleanMask] : []),
    ...(has('tokenWeights') && call.name !== 'policyGradientUpdate' ? tokenWeightRows : []),
    ...(has('allowEmptyTurns')
      ? [...emptyTurnRows, weightlessTurn].map((row) => ({ ...row, change: { ...row.change, ...mean } }))
      : []),
    ...(has('pairWeights') ? pairRows : []),
  ];
}

/** What else may be wrong, by the names of the calls. */
const ROWS: Record<string, ErrorRow[]> = {
  tokenLogps: [
    ...labelRows,
    ...logitsRows,
    unknownOption('out.entropy without entropy', { entropy: false }, /entropy/),
  ],
  tokenLogpsBackward: [...labelRows, ...logitsRows],
  linearLogps: [
    ...labelRows,
    ...linearRows,
    unknownOption('a frozen weight in a forward pass', { frozenWeight: true }, /frozenWeight/),
  ],
  linearLogpsBackward: [
    ...labelRows,
    ...linearRows,
    wrongType('accumulate without buffers', { accumulate: true, out: undefined }, /out\.gradHidden/),
    unknownOption('out.gradBias without a bias', { bias: undefined }, /gradBias/),
    ...frozenRows,
  ],
  'vocabParallelStats of logits': [
    wrongLabel('a label of no shard', { labels: ints(0, 10, 2) }, /\[1\].* 10\b/),
    ...logitsRows.filter(({ what }) => what !== 'logits too short for vocabSize'),
    wrongValue('words past the last', { vocabOffset: 7 }, /vocabOffset.* 7\b/),
  ],
  'vocabParallelStats of hidden states': [
    wrongLabel('a negative label', { labels: ints(0, 1, -1) }, /\[2\].* -1\b/),
    ...linearRows,
    wrongValue('words past the last', { vocabOffset: 7 }, /vocabOffset.* 7\b/),
  ],
  mergeVocabParallelStats: [
    ...labelRows,
    wrongLength('half a shard', { stats: new Float64Array(21) }, /stats.*\(21\)/),
    unknownOption('out.entropy without entropy', { entropy: false }, /entropy/),
    unknownOption('a temperature, which the statistics have', { temperature: 1 }, /"temperature"/),
  ],
  trajectoryPreferenceLoss: trajectoryRows,
  turnPreferenceLoss: turnRows,
  'criticUpdate of logits against log-probs': [...trajectoryRows, ...logitsUpdateRows],
  'criticUpdate of hidden states against log-probs': [...trajectoryRows, ...hiddenUpdateRows],
  'policyUpdate of logits against log-probs': [...turnRows, ...logitsUpdateRows],
  'policyUpdate of hidden states against log-probs': [...turnRows, ...hiddenUpdateRows],
  'unpairedPreferenceLoss of turns': [...unpairedRows, noItemRow],
  'unpairedPreferenceLoss of running means': runningRows,
  'unpairedUpdate of logits against log-probs': unpairedRows.filter(({ what }) => what !== 'no reference'),
  'policyGradientUpdate of logits against log-probs': [...policyGradientRows, ...logitsUpdateRows],
  'policyGradientUpdate of hidden states against log-probs': [...policyGradientRows, ...hiddenUpdateRows],
  filteredNll: [
    wrongValue('a reward of NaN', { rewards: floats(1, NaN) }, /rewards\[1\].*NaN/),
    ...hostRows('Float32Array', 5, 'logps', 'tokenWeights'),
    ...hostRows('Uint8Array', 5, 'mask'),
    ...hostRows('Int32Array', 4, 'turnOffsets', 'trajectoryOffsets'),
    ...hostRows('Float32Array', 2, 'rewards'),
  ],
  binaryValueLoss: [
    ...outcomeRows,
    ...hostRows('Float32Array', 3, 'valueLogits'),
    ...hostRows('Uint8Array', 3, 'mask'),
  ],
  valueAdvantages: [...outcomeRows, ...hostRows('Float32Array', 3, 'values')],
  bradleyTerryLoss: [
    unknownOption('the NLL of log-probs', { nllCoef: 0.01 }, /"nllCoef"/),
    ...hostRows('Float32Array', 3, 'scores'),
    ...hostRows('Int32Array', 2, 'chosen'),
  ],
  // No operation over the vocabulary, though it takes the same names.
  checkLogps: [
    ...hostRows('Float32Array', 12, 'logits'),
    ...hostRows('Int32Array', 3, 'labels'),
    ...hostRows('Uint8Array', 3, 'mask'),
    ...hostRows('Float32Array', 3, 'logps'),
  ],
  rankCandidates: [...stateRows, ...hostRows('Float32Array', 5, 'scores')],
  samplePairs: [
    ...stateRows,
    wrongValue('several pairs by best-worst', { rule: 'best-worst', numPairs: 2 }, /numPairs.* 2\b/),
  ],
  trajectoryPairs: [
    wrongValue('a reward of NaN', { rewards: floats(1, 0, 0, NaN, 1) }, /rewards\[3\].*NaN/),
    unknownOption('minDifference without threshold', { minDifference: 0.1, rule: 'best-vs-worse' }, /minDifference/),
  ],
};
const subjects = SUBJECTS.filter(({ call }) => !/Async$/.test(call.name))
  .map((subject) => ({ ...subject, rows: [...commonRows(subject), ...(ROWS[subject.name] ?? [])] }))
  .filter(({ rows }) => rows.length > 0);

function expectError(
  thrown: Error & { code?: unknown },
  { class: Class, code, message }: Omit<ErrorRow, 'what' | 'change'>,
) {
  expect(thrown.message).toMatch(message);
  expect(thrown.code).toBe(code);
  expect(thrown).toBeInstanceOf(Class);
}

forEachBackend(() => {
  describe.each(subjects)('$name', ({ call, valid, rows }) => {
    it('takes the call that the rows change', () => {
      expect(() => call(valid() as never)).not.toThrow();
    });

    it.each(rows)('$what', ({ change, ...expected }) => {
      const options: Options = { ...valid(), ...change };
      const bytes = bytesIn(options);
      expectError(
        thrownBy(() => call(options as never)),
        expected,
      );
      for (const [now, before] of bytes) expect(now).toEqual(before);
    });
  });
});

it('has rows for calls that there are, and for every function of lib/ops', () => {
  const names = subjects.map(({ name }) => name);
  expect(Object.keys(ROWS).filter((name) => !names.includes(name))).toEqual([]);
  const called = subjects.map(({ call }) => call.name);
  const functions = exportsOf('ops').filter((name) => !/Async$|artials$/.test(name)); // not the old names, partials
  expect(functions.filter((name) => !called.includes(name))).toEqual([]);
});

/** The same tables for the forms that run later: the same errors as rejections, and nothing written either. */
const twins: Record<string, unknown> = { ...sweetRl };

describe.each(subjects.filter(({ call }) => `${call.name}Async` in twins))('$name, later', ({ call, valid, rows }) => {
  const later = twins[`${call.name}Async`] as (options: unknown) => Promise<unknown>;
  const rejectionOf = (options: unknown): Promise<Error> =>
    later(options).then(
      () => Promise.reject(new Error('the promise was fulfilled')),
      (error) => error,
    );

  it('takes the call that the rows change', async () => {
    await expect(later(valid())).resolves.toBeDefined();
  });

  it.each(rows)('$what', async ({ change, ...expected }) => {
    const options: Options = { ...valid(), ...change };
    const bytes = bytesIn(options);
    expectError(await rejectionOf(options), expected);
    for (const [now, before] of bytes) expect(now).toEqual(before);
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
    ["a turn that is nobody's", [[{ turns: [human, { tokens: [1] }] }]], wrongType('', {}, /\[0\]\.turns\[1\]\.agent/)],
    [
      'tokens of 16 bits',
      [[{ turns: [{ tokens: new Uint16Array(2), agent: true }] }]],
      wrongType('', {}, /Uint16Array\(2\); use Int32Array\.from\(tokens, Number\)/),
    ],
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
    ...['masks', 'role', 'reward', 'Tokens'].map((name): [string, unknown[], Omit<ErrorRow, 'what' | 'change'>] => [
      `${name} of a turn`,
      [[fine, { turns: [human, { ...agent, [name]: 1 }] }]],
      unknownOption('', {}, new RegExp(`tokens, agent and mask for trajectories\\[1\\]\\.turns\\[1\\].*"${name}"; `)),
    ]),
    ['a reward of a trajectory', [[{ ...fine, reward: 1 }]], unknownOption('', {}, /trajectories\[0\].*"reward"; /)],
    ['a turn that is not there', [[{ turns: new Array(2) }]], wrongType('', {}, /turns\[0\].*undefined/)],
    ['half an ignoreIndex', [[fine], { ignoreIndex: 0.5 }], wrongValue('', {}, /ignoreIndex.*0\.5/)],
  ])('refuses %s', (_what, args, expected) => {
    const call = sweetRl.packTurns as (...args: unknown[]) => unknown;
    expectError(
      thrownBy(() => call(...args)),
      expected,
    );
  });
});

describe('packCandidates', () => {
  const history = [{ tokens: [1, 2], agent: false }];
  const fine = { history, candidates: [[3], [4]] };

  it.each<[string, unknown[], Omit<ErrorRow, 'what' | 'change'>]>([
    ['nothing', [], wrongType('', {}, /states.*undefined/)],
    ['no state', [[fine, null]], wrongType('', {}, /states\[1\]/)],
    ['a state without a history', [[{ candidates: [[3]] }]], wrongType('', {}, /states\[0\]\.history/)],
    ['a history of tokens', [[{ ...fine, history: [1, 2] }]], wrongType('', {}, /history\[0\]/)],
    ['a history without messages', [[fine, { ...fine, history: [] }]], wrongValue('', {}, /states\[1\]\.history/)],
    [
      'a history without tokens',
      [[{ ...fine, history: [{ tokens: [], agent: false }] }]],
      wrongValue('', {}, /at least one token for states\[0\]\.history/),
    ],
    ['a state without candidates', [[{ history }]], wrongType('', {}, /states\[0\]\.candidates/)],
    ['turns as candidates', [[{ history, candidates: history }]], wrongType('', {}, /candidates\[0\]/)],
    [
      'an empty candidate',
      [[{ history, candidates: [[3], []] }]],
      emptyTurn('', {}, /at least one token for states\[0\]\.candidates\[1\] .*Array\(0\)/),
    ],
    ['half a token', [[{ history, candidates: [[3, 0.5]] }]], wrongValue('', {}, /candidates\[0\]\[1\].*0\.5/)],
    ['scores of a state', [[{ ...fine, scores: [1, 2] }]], unknownOption('', {}, /states\[0\].*"scores"; /)],
    [
      'the role of a message',
      [[{ ...fine, history: [{ ...history[0], role: 'user' }] }]],
      unknownOption('', {}, /states\[0\]\.history\[0\].*"role"; /),
    ],
    ['an unknown option', [[fine], { colour: 1 }], unknownOption('', {}, /"colour"/)],
    ['half an ignoreIndex', [[fine], { ignoreIndex: 0.5 }], wrongValue('', {}, /ignoreIndex.*0\.5/)],
  ])('refuses %s', (_what, args, expected) => {
    const call = sweetRl.packCandidates as (...args: unknown[]) => unknown;
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
