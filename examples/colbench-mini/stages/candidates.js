/** Candidate actions at turns of the offline data, and their scores under critics. */
import { promptOf } from '../dialogue.js';
import { act } from '../episodes.js';
import { token } from '../language.js';
import { shape } from '../model.js';
import { native } from '../native.js';
import { random } from '../random.js';
import { Sampler } from '../sampler.js';

/**
 * @typedef {object} Candidates actions at states of dialogues, with the tokens of all actions concatenated
 * @property {{ task: import('../task.js').Task, turns: import('../dialogue.js').Turn[] }[]} states
 * @property {number[][]} actions
 * @property {Int32Array} candidateOffsets actions of each state
 * @property {Int32Array} turnOffsets tokens of each action
 * @property {Float32Array} logps of the tokens under the agent that sampled them
 */

/** Collects rows of logits and computes their log-probs in large calls. */
class LogpGatherer {
  #logits = new Float32Array(2048 * shape.vocab);
  #labels = new Int32Array(2048);
  #targets = [];

  /** Stores the log-prob of `token` in `target.logps[target.index]`, at the latest in `flush`. */
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
    const { logps } = native.tokenLogps({ logits, vocabSize: shape.vocab, labels: this.#labels.subarray(0, rows) });
    this.#targets.forEach(({ logps: to, index }, row) => {
      to[index] = logps[row];
    });
    this.#targets = [];
  }
}

/** `count` states: a random turn of each task, in random order, repeated if there are fewer tasks. */
function pickStates({ tasks, trajectories }, count, rand) {
  const perTask = trajectories.length / tasks.length;
  const states = [];
  while (states.length < count) {
    for (const index of rand.shuffle(tasks.map((_, i) => i))) {
      const { turns } = trajectories[index * perTask + rand.int(perTask)];
      states.push({ task: tasks[index], turns: turns.slice(0, rand.int(turns.length - 1)) });
    }
  }
  return states.slice(0, count);
}

/**
 * Feeds the prompt of each state once, and runs its continuations from there.
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
export function sampleCandidates(base, offline, { states: count, perState }, seed, onProgress) {
  const rand = random(seed, 41);
  const states = pickStates(offline, count, rand);
  const actions = new Array(states.length * perState);
  const parts = Array.from(actions, () => []);
  const gatherer = new LogpGatherer();
  function* candidate(index, logits) {
    const record = (row, id) => gatherer.add(row, id, { logps: parts[index], index: parts[index].push(0) - 1 });
    actions[index] = yield* act(logits, false, random(seed, 42, index), 1, record);
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

/**
 * Feeds each distinct candidate of a state once, and returns the pairs [first, copy] of equal candidates.
 * @param {(row: Float32Array, index: number, position: number) => boolean} onRow receives the logits of the candidate's
 *   token `position`, or those after its last token; returns whether to continue
 */
function readCandidates(params, { states, actions, candidateOffsets }, withHidden, onRow, onProgress) {
  function* read(index, logits) {
    const action = actions[index];
    let row = logits;
    for (let i = 0; onRow(row, index, i); i++) ({ logits: row } = yield action[i]);
  }
  /** @type {[number, number][]} */
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
        sequences.push(read(i, logits));
      }
    }
    return sequences;
  };
  continueStates(params, states, withHidden, continuations, onProgress);
  return copies;
}

/** Log-probs of all candidates' tokens, with or without privileged information in the prompt. */
export function candidateLogps(params, candidates, withHidden, onProgress) {
  const { actions, turnOffsets } = candidates;
  const logps = new Float32Array(turnOffsets[actions.length]);
  const gatherer = new LogpGatherer();
  const onRow = (row, index, i) => {
    gatherer.add(row, actions[index][i], { logps, index: turnOffsets[index] + i });
    return i < actions[index].length - 1;
  };
  const copies = readCandidates(params, candidates, withHidden, onRow, onProgress);
  gatherer.flush();
  for (const [from, to] of copies) logps.copyWithin(turnOffsets[to], turnOffsets[from], turnOffsets[from + 1]);
  return logps;
}

/** The probability of success that a critic with a value head predicts after each candidate. */
export function candidateValues(params, candidates, onProgress) {
  const { actions } = candidates;
  const values = new Float32Array(actions.length);
  const onRow = (row, index, i) => {
    if (i < actions[index].length) return true;
    values[index] = 1 / (1 + Math.exp(-row[token.value]));
    return false;
  };
  for (const [from, to] of readCandidates(params, candidates, true, onRow, onProgress)) values[to] = values[from];
  return values;
}
