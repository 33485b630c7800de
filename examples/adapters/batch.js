// The data of these examples and of ../pytorch: pairs of dialogues, in the better of which the agent repeats the user's
// tokens in reverse order, and the initial parameters of a small transformer, as plain arrays.
import { packTurns } from 'sweet-rl';

export const [VOCAB, WIDTH, PAIRS] = [24, 32, 8];
export const STEPS = 50;

let state = 7;
/** Uniform in [0, 1): the same numbers on every machine. */
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}

const randomTokens = (count) => Array.from({ length: count }, () => 4 + Math.floor(random() * (VOCAB - 4)));

/** A dialogue with a user message and an assistant message per question. */
function dialogue(questions, good) {
  const turns = questions.flatMap((question) => {
    const answer = good ? question.toReversed() : randomTokens(question.length);
    return [
      { tokens: [1, ...question], agent: false },
      { tokens: [2, ...answer, 3], agent: true },
    ];
  });
  return { turns };
}

const tasks = Array.from({ length: PAIRS }, () => [randomTokens(3), randomTokens(4)]);
const dialogues = tasks.flatMap((questions) => [dialogue(questions, true), dialogue(questions, false)]);
const { inputIds, sequenceOffsets, labels, mask, turnOffsets, trajectoryOffsets } = packTurns(dialogues);

/** All dialogues have the same length, so the packed rows are also [SEQUENCES, LENGTH]. */
export const SEQUENCES = dialogues.length;
export const LENGTH = sequenceOffsets[1];
export { inputIds };

/** The arguments of `criticUpdate` except logits and reference: dialogue 2p is preferred to dialogue 2p + 1. */
export const batch = {
  labels,
  mask,
  turnOffsets,
  trajectoryOffsets,
  chosen: Int32Array.from({ length: PAIRS }, (_, p) => 2 * p),
  rejected: Int32Array.from({ length: PAIRS }, (_, p) => 2 * p + 1),
  beta: 0.5,
};

const normal = (deviation, ...shape) => ({
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => {
    return deviation * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  }),
});

/** One layer: x = tokens + positions; x += attention(x); x += relu(x * up) * down; logits = x * head. */
export const initialParams = {
  tokens: normal(0.5, VOCAB, WIDTH),
  positions: normal(0.5, LENGTH, WIDTH),
  query: normal(0.2, WIDTH, WIDTH),
  key: normal(0.2, WIDTH, WIDTH),
  value: normal(0.2, WIDTH, WIDTH),
  up: normal(0.2, WIDTH, 2 * WIDTH),
  down: normal(0.1, 2 * WIDTH, WIDTH),
  head: normal(0.2, WIDTH, VOCAB),
};

/** One-hot rows [SEQUENCES * LENGTH, VOCAB]: an embedding by a matrix product, which every framework differentiates. */
export function oneHot() {
  const rows = new Float32Array(inputIds.length * VOCAB);
  inputIds.forEach((id, i) => {
    rows[i * VOCAB + id] = 1;
  });
  return rows;
}

/** The causal mask [LENGTH, LENGTH], added to attention scores. */
export function causal() {
  const scores = new Float32Array(LENGTH * LENGTH);
  for (let i = 0; i < LENGTH; i++) scores.fill(-1e9, i * LENGTH + i + 1, (i + 1) * LENGTH);
  return scores;
}

export function report(step, { loss, accuracy }) {
  console.log(`step ${String(step).padStart(2)}  loss ${loss.toFixed(4)}  accuracy ${accuracy.toFixed(2)}`);
}
