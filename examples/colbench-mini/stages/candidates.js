/** Candidate actions at the turns of the offline data, their scores by the critic, and pairs of them. */
import { promptOf } from '../dialogue.js';
import { act } from '../episodes.js';
import { programSource, textOf } from '../language.js';
import { shape } from '../model.js';
import { native } from '../native.js';
import { random } from '../random.js';
import { Sampler } from '../sampler.js';

/**
 * @typedef {object} Candidates actions at states of dialogues; the tokens of all actions lie one after the other
 * @property {{ task: import('../task.js').Task, turns: import('../dialogue.js').Turn[] }[]} states
 * @property {number[][]} actions
 * @property {Int32Array} candidateOffsets actions of each state
 * @property {Int32Array} turnOffsets tokens of each action
 * @property {Float32Array} logps of the tokens under the agent that chose them
 */

/** The turn of the state that the report shows. */
const exampleTurn = 4;

/** Gathers rows of logits and turns them into log-probs in large calls. */
class LogpGatherer {
  #logits = new Float32Array(2048 * shape.vocab);
  #labels = new Int32Array(2048);
  #targets = [];

  /** The log-prob of `token` comes to `target.logps[target.index]`, at the latest with `flush`. */
  add(logits, token, target) {
    const row = this.#targets.push(target) - 1;
    this.#logits.set(logits, row * shape.vocab);
    this.#labels[row] = token;
    if (this.#targets.length === this.#labels.length) this.flush();
  }

  flush() {
    const rows = this.#targets.length;
    if (rows === 0) return;
    const logits = this.#logits.subarray(0, rows * shape.vocab);
    const { logps } = native.tokenLogps({ logits, labels: this.#labels.subarray(0, rows) });
    this.#targets.forEach(({ logps: to, index }, row) => {
      to[index] = logps[row];
    });
    this.#targets = [];
  }
}

/** The questions of one dialogue a task, task after task in random order, until there are enough states. */
function pickStates({ tasks, trajectories }, count, rand) {
  const perTask = trajectories.length / tasks.length;
  const states = [];
  for (const index of rand.shuffle(tasks.map((_, i) => i))) {
    const { turns } = trajectories[index * perTask + rand.int(perTask)];
    for (let t = 0; t < turns.length - 1; t++) states.push({ task: tasks[index], turns: turns.slice(0, t) });
    if (states.length >= count) break;
  }
  return states.slice(0, count);
}

/**
 * Feeds each state's prompt once and continues it from there.
 * @param {(state: number, logits: Float32Array) => import('../sampler.js').Sequence[]} continuations
 */
function continueStates(params, states, withHidden, continuations, onProgress) {
  const sampler = new Sampler(params);
  const queue = [];
  let done = 0;
  states.forEach(({ task, turns }, state) => {
    const sequence = (function* () {
      let prediction;
      for (const id of promptOf(task, turns, withHidden)) prediction = yield id;
      const past = sampler.past(prediction.row);
      const logits = prediction.logits.slice();
      for (const sequence of continuations(state, logits)) queue.push({ sequence, past });
      onProgress(++done, states.length);
    })();
    queue.push({ sequence });
  });
  sampler.run(queue.reverse());
  sampler.dispose();
}

/** @returns {Candidates} */
export function sampleCandidates(base, offline, { statesPerTask, perState }, seed, onProgress) {
  const rand = random(seed, 41);
  const states = pickStates(offline, statesPerTask * offline.tasks.length, rand);
  const actions = new Array(states.length * perState);
  const parts = Array.from(actions, () => []);
  const gatherer = new LogpGatherer();
  function* candidate(index, logits) {
    const record = (row, id) => gatherer.add(row, id, { logps: parts[index], index: parts[index].push(0) - 1 });
    actions[index] = yield* act(logits, false, random(seed, 42, index), record);
  }
  const continuations = (state, logits) =>
    Array.from({ length: perState }, (_, i) => candidate(state * perState + i, logits));
  continueStates(base, states, false, continuations, onProgress);
  gatherer.flush();

  const turnOffsets = new Int32Array(actions.length + 1);
  actions.forEach((action, i) => {
    turnOffsets[i + 1] = turnOffsets[i] + action.length;
  });
  const candidateOffsets = Int32Array.from({ length: states.length + 1 }, (_, i) => i * perState);
  return { states, actions, candidateOffsets, turnOffsets, logps: Float32Array.from(parts.flat()) };
}

/** Log-probs of all candidates' tokens under some parameters, with or without the hidden function in sight. */
export function candidateLogps(params, candidates, withHidden, onProgress) {
  const { states, actions, candidateOffsets, turnOffsets } = candidates;
  const logps = new Float32Array(turnOffsets[actions.length]);
  const gatherer = new LogpGatherer();
  function* score(action, offset, logits) {
    let row = logits;
    for (let i = 0; ; i++) {
      gatherer.add(row, action[i], { logps, index: offset + i });
      if (i === action.length - 1) return;
      ({ logits: row } = yield action[i]);
    }
  }
  const copies = [];
  const continuations = (state, logits) => {
    const first = new Map();
    const sequences = [];
    for (let i = candidateOffsets[state]; i < candidateOffsets[state + 1]; i++) {
      const text = actions[i].join();
      if (first.has(text)) {
        copies.push([first.get(text), i]);
      } else {
        first.set(text, i);
        sequences.push(score(actions[i], turnOffsets[i], logits));
      }
    }
    return sequences;
  };
  continueStates(params, states, withHidden, continuations, onProgress);
  gatherer.flush();
  for (const [from, to] of copies) logps.copyWithin(turnOffsets[to], turnOffsets[from], turnOffsets[from + 1]);
  return logps;
}

/**
 * The critic's advantage of every candidate, pairs that prefer the upper half of a state's candidates to the lower,
 * and how one state's candidates rank.
 */
export function pairCandidates(candidates, criticLogps, refLogps, method, { pairsPerState }, seed) {
  const { states, actions, candidateOffsets, turnOffsets } = candidates;
  const { reduction } = method;
  const scores = native.turnAdvantages({ logps: criticLogps, refLogps, turnOffsets, reduction });
  const pairs = native.samplePairs({ scores, candidateOffsets, numPairs: pairsPerState, seed });

  const shown = states.findIndex(({ turns }) => turns.length === exampleTurn);
  const ranking = native.rankCandidates({ scores, candidateOffsets });
  const [from, to] = [candidateOffsets[shown], candidateOffsets[shown + 1]];
  const ranked = new Map(Array.from(ranking.subarray(from, to), (index) => [textOf(actions[index]), scores[index]]));
  const { task, turns } = states[shown];
  const dialogue = turns.map(({ action, reply }) => `${textOf(action)}? ${textOf(reply)}.`);
  return { ...pairs, example: { program: programSource(task.program), dialogue, ranked: [...ranked] } };
}
