/**
 * Bi-directional feedback: a language model tells a student where to go, and learns from the returns that the student sends
 * back.
 *
 * From the paper (arXiv 2401.06603): a teacher model gives instructions in BabyAI's GoToRedBall, a reinforcement-learning
 * student acts on them, and its returns improve the teacher by policy gradient. It has no objective of its own. Simplified:
 * four balls in a room of nine places, the teacher alone is told the color, it says one of six words, and both are tables.
 *
 * Calls: tdLoss (student), groupAdvantages, policyGradientLoss (teacher); tokenLogps, tokenLogpsBackward.
 * Figure: the share of colors whose ball is reached by the most likely words and moves, at least 1 (seeds 1, 2, 3: 1.000,
 * 1.000, 1.000).
 */
import { groupAdvantages, policyGradientLoss, tdLoss } from 'sweet-rl/objectives';
import { start } from './shared/run.js';
import { Policy } from './shared/table.js';

const [EPISODES, STUDENT_EPOCHS, WORDS, LIMIT, EXPLORE] = [64, 8, 6, 4, 0.1];
const colors = ['red', 'green', 'blue', 'gray'];
const MOVES = 4;
const run = start(import.meta.url, { title: 'A teacher and a student find a ball', measure: 'success', steps: 100 });
const teacher = new Policy(WORDS, { learningRate: 10 });
const student = new Policy(MOVES, { learningRate: 2 }); // rows of Q

/** Four arms of two places around a middle: a move goes one place outwards on its arm, or back on another. */
function walk(color, word, choose) {
  const transitions = [];
  let [arm, depth] = [-1, 0];
  for (let t = 0; t < LIMIT; t++) {
    const state = `word ${word}, arm ${arm}, depth ${depth}`;
    const move = choose(state);
    if (depth === 0) [arm, depth] = [move, 1];
    else if (move === arm) depth++;
    else [arm, depth] = [-1, 0];
    const ended = depth === 2;
    const reward = ended && arm === color ? 1 : 0;
    const next = `word ${word}, arm ${arm}, depth ${depth}`;
    transitions.push({
      row: student.row(state),
      move,
      reward,
      ended: ended || t === LIMIT - 1,
      next: student.row(next),
    });
    if (ended) break;
  }
  return { transitions, reward: transitions.at(-1).reward };
}

function trainStudent(transitions) {
  const rows = transitions.map(({ row }) => row);
  for (let epoch = 0; epoch < STUDENT_EPOCHS; epoch++) {
    const q = student.gather(rows);
    const nextQ = student.gather(transitions.map(({ next }) => next));
    const { gradValues } = tdLoss({
      values: Float64Array.from(transitions, ({ move }, i) => q[i * MOVES + move]),
      rewards: Float64Array.from(transitions, ({ reward }) => reward),
      nextValues: Float64Array.from(transitions, (_, i) => Math.max(...nextQ.subarray(i * MOVES, (i + 1) * MOVES))),
      terminated: Uint8Array.from(transitions, ({ ended }) => Number(ended)),
    });
    const gradQ = new Float64Array(q.length);
    transitions.forEach(({ move }, i) => {
      gradQ[i * MOVES + move] = gradValues[i];
    });
    student.update(rows, gradQ);
  }
}

const prompt = (color) => `the ball is ${colors[color]}`;
const explore = (state) => (run.rand.next() < EXPLORE ? run.rand.int(MOVES) : student.greedy(state));
for (let step = 1; step <= run.steps; step++) {
  const asked = Array.from({ length: EPISODES }, (_, i) => i % colors.length);
  const words = asked.map((color) => teacher.sample(prompt(color), run.rand));
  const walks = asked.map((color, i) => walk(color, words[i], explore));
  trainStudent(walks.flatMap(({ transitions }) => transitions));
  // What the student sends back: its rewards, compared among the episodes of one color.
  const rewards = Float64Array.from(walks, ({ reward }) => reward);
  const { advantages } = groupAdvantages({ rewards, groupIds: Int32Array.from(asked), scale: 'none' });
  const forward = teacher.forward({ rows: asked.map((color) => teacher.row(prompt(color))), labels: words });
  teacher.learn(forward, policyGradientLoss({ logps: forward.logps, advantages }).gradLogps);
  run.record(step, rewards.reduce((a, b) => a + b) / EPISODES);
}
const greedy = colors.map((_, color) => walk(color, teacher.greedy(prompt(color)), (state) => student.greedy(state)));
run.finish(greedy.reduce((sum, { reward }) => sum + reward, 0) / colors.length);
