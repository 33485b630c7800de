import {
  type CandidateState,
  packCandidates,
  packTurns,
  policyUpdate,
  samplePairs,
  tokenLogps,
  turnAdvantages,
} from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectClose, lossTolerance } from '../helpers/compare.ts';
import { Random } from '../helpers/random.ts';
import { packCandidates as oracle, type State } from '../reference/pack-candidates.ts';
import { policyUpdate as updateOracle } from '../reference/policy-update.ts';

const V = 13;

function asArrays(packed: ReturnType<typeof packCandidates>) {
  return Object.fromEntries(Object.entries(packed).map(([name, array]) => [name, Array.from(array as Int32Array)]));
}

/** Histories with messages of the agent in them, and 0 ... 6 candidates each. */
function randomStates(seed: number, least = 0): (State & CandidateState)[] {
  const random = new Random(seed);
  const tokens = (few: number) => {
    const ids = random.integers(random.integer(few, 5), 0, V);
    return random.uniform() < 0.5 ? ids : Array.from(ids);
  };
  return Array.from({ length: 12 }, () => ({
    history: [
      ...Array.from({ length: random.integer(0, 4) }, () => ({ tokens: tokens(0), agent: random.uniform() < 0.5 })),
      { tokens: tokens(1), agent: random.uniform() < 0.5 },
    ],
    candidates: Array.from({ length: random.integer(least, 7) }, () => tokens(1)),
  }));
}

/** Logits of a row by the token that it reads: the same model for every packing of a sequence. */
function logitsOf(inputIds: ArrayLike<number>): Float32Array {
  return Float32Array.from({ length: inputIds.length * V }, (_, i) =>
    Math.fround(2 * Math.sin(5 * inputIds[Math.floor(i / V)]! + (i % V) ** 2)),
  );
}

describe('packCandidates', () => {
  it('makes one turn of each candidate after its history, with messages of the agent masked', () => {
    const history = [
      { tokens: [1, 2], agent: false },
      { tokens: [3], agent: true },
      { tokens: [4], agent: false },
    ];
    expect(packCandidates([{ history, candidates: [[5, 6], Int32Array.of(7)] }])).toEqual({
      inputIds: Int32Array.of(1, 2, 3, 4, 5, 1, 2, 3, 4),
      labels: Int32Array.of(-100, -100, -100, 5, 6, -100, -100, -100, 7),
      mask: Uint8Array.of(0, 0, 0, 1, 1, 0, 0, 0, 1),
      turnOffsets: Int32Array.of(0, 5, 9),
      sequenceOffsets: Int32Array.of(0, 5, 9),
      candidateOffsets: Int32Array.of(0, 2),
    });
  });

  it('takes another ignoreIndex, states without candidates, and no states', () => {
    const history = [{ tokens: [1], agent: false }];
    const packed = packCandidates(
      [
        { history, candidates: [] },
        { history, candidates: [[2]] },
      ],
      { ignoreIndex: -7 },
    );
    expect(asArrays(packed)).toMatchObject({ labels: [2], turnOffsets: [0, 1], candidateOffsets: [0, 0, 1] });
    expect(asArrays(packCandidates([]))).toMatchObject({ labels: [], turnOffsets: [0], candidateOffsets: [0] });
  });

  it('takes candidates of every class, masks in the history, and empty candidates with allowEmptyTurns', () => {
    const history = [{ tokens: [1, 2], agent: true, mask: [false, true] }];
    const plain = packCandidates([{ history: [{ tokens: [1, 2], agent: false }], candidates: [[3, 4]] }]);
    for (const tokens of [Uint32Array.of(3, 4), BigInt64Array.of(3n, 4n), [3n, 4n]]) {
      expect(packCandidates([{ history, candidates: [tokens] }])).toEqual(plain);
    }
    const states = [{ history, candidates: [[], [3]] }];
    expect(() => packCandidates(states)).toThrow(/at least one token for states\[0\]\.candidates\[0\]/);
    expect(asArrays(packCandidates(states, { allowEmptyTurns: true }))).toEqual({
      inputIds: [1, 1, 2],
      labels: [-100, -100, 3],
      mask: [0, 0, 1],
      turnOffsets: [0, 1, 3],
      sequenceOffsets: [0, 1, 3],
      candidateOffsets: [0, 2],
    });
    const none = [{ history: [{ tokens: [], agent: false }], candidates: [[3]] }];
    expect(() => packCandidates(none, { allowEmptyTurns: true })).toThrow(
      /at least one token for states\[0\]\.history/,
    );
  });

  it.each([81, 82, 83])('agrees with the oracle, seed %d', (seed) => {
    const states = randomStates(seed);
    expect(asArrays(packCandidates(states))).toEqual(oracle(states));
    expect(asArrays(packCandidates(states, { ignoreIndex: -7 }))).toEqual(oracle(states, -7));
  });

  it('is packTurns of each candidate where the history has agent: false', () => {
    const states = randomStates(84, 1);
    const trajectories = states.flatMap(({ history, candidates }: CandidateState) =>
      candidates.map((tokens) => ({
        turns: [...history.map((turn) => ({ ...turn, agent: false })), { tokens, agent: true }],
      })),
    );
    expect(packTurns(trajectories)).toMatchObject(
      Object.fromEntries(Object.entries(packCandidates(states)).filter(([name]) => name !== 'candidateOffsets')),
    );
  });

  it.each([91, 92, 93])('gives policyUpdate the pairs of candidates alone, seed %d', (seed) => {
    const states = randomStates(seed, 2);
    const { inputIds, labels, mask, turnOffsets, candidateOffsets } = packCandidates(states);
    const logits = logitsOf(inputIds);
    const refLogits = logits.map((x) => 0.8 * x);
    const { logps: refLogps } = tokenLogps({ logits: refLogits, vocabSize: V, labels, mask });
    const { logps } = tokenLogps({ logits, vocabSize: V, labels, mask });
    const scores = turnAdvantages({ logps, refLogps, mask, turnOffsets });
    const { chosen, rejected } = samplePairs({ scores, candidateOffsets, numPairs: 2, seed });
    expect(chosen.length).toBeGreaterThan(states.length);
    const options = { beta: 0.7, nllCoef: 0.01 };
    const inputs = { logits, vocabSize: V, labels, mask, refLogps, turnOffsets, chosen, rejected };
    const ours = policyUpdate({ ...inputs, ...options });

    // The oracle has the rows of the candidates only: the last token of the history and the candidate, without a mask.
    const alone = states.flatMap(({ history, candidates }) => {
      const last = history.flatMap(({ tokens }) => Array.from(tokens)).at(-1) as number;
      return candidates.map((tokens) => ({ reads: [last, ...Array.from(tokens).slice(0, -1)], predicts: tokens }));
    });
    const read = alone.flatMap(({ reads }) => reads);
    const ends = alone.map((_, c) => alone.slice(0, c + 1).reduce((sum, { reads }) => sum + reads.length, 0));
    const ownLogits = Float64Array.from(logitsOf(read));
    const expected = updateOracle({
      head: { logits: ownLogits },
      reference: { logits: Float64Array.from(ownLogits, (x) => Math.fround(0.8 * x)) },
      labels: alone.flatMap(({ predicts }) => Array.from(predicts)),
      turnOffsets: Int32Array.from([0, ...ends]),
      chosen,
      rejected,
      ...options,
    });
    expectClose('loss', [ours.loss], [expected.loss], lossTolerance);
    expectClose('margins', ours.margins, expected.margins, () => 1e-5);
    const rows = Array.from(mask.keys()).filter((i) => mask[i] === 1);
    expect(rows).toHaveLength(read.length);
    const gradients = new Float64Array(logits.length);
    rows.forEach((row, i) => {
      gradients.set(expected.gradLogits.subarray(i * V, (i + 1) * V), row * V);
    });
    expectClose('gradLogits', ours.gradLogits, gradients, () => 1e-6);
    for (const [row, counts] of mask.entries()) {
      if (counts === 0) expect(ours.gradLogits.subarray(row * V, (row + 1) * V)).toEqual(new Float32Array(V));
    }
  });
});
