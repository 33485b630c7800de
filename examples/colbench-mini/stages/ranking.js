/** Pairs of candidates by their scores, and the agreement of the scores with an oracle's. */
import { kindOf, kinds, maxQuestions } from '../dialogue.js';
import { programSource, textOf } from '../language.js';
import { native } from '../native.js';
import { random } from '../random.js';

/** The turn of the state in the report. */
const exampleTurn = 2;

/** The kind of each candidate in its state. @returns {import('../dialogue.js').Kind[]} */
function candidateKinds({ states, actions, candidateOffsets }) {
  return states.flatMap(({ task, turns }, s) =>
    actions.slice(candidateOffsets[s], candidateOffsets[s + 1]).map((action) => kindOf(task, turns, action)),
  );
}

/** An oracle's scores, by kind of question. */
export const oracleScores = (candidates, worth) =>
  Float32Array.from(candidateKinds(candidates), (kind) => worth[kind] ?? 0);

/**
 * How pairs are sampled from a state's candidates: by their ranks with samplePairs, or from all pairs whose scores
 * differ by at least the share `ofRange` of the state's range.
 * @typedef {{ rule: 'halves' | 'best-worst', numPairs?: number }
 *   | { rule: 'apart', ofRange: number, numPairs: number }} PairRule
 */

/**
 * @param {import('./candidates.js').Candidates} candidates
 * @param {Float32Array} scores
 * @param {PairRule} settings
 * @param {number} seed
 */
export function pairCandidates(candidates, scores, settings, seed) {
  const { candidateOffsets } = candidates;
  const pairs =
    settings.rule === 'apart'
      ? pairsApart(scores, candidateOffsets, settings, random(seed, 45))
      : native.samplePairs({ scores, candidateOffsets, ...settings, seed });
  return { ...pairs, diagnosis: diagnose(candidates, scores, pairs), example: exampleOf(candidates, scores) };
}

/**
 * About three of 16 candidates are useful, so pairs from the upper and lower half would mostly compare useless ones,
 * and the best over the worst is only one pair per state. A minimum difference relative to the state's range gives
 * critics of any scale the same number of pairs.
 */
function pairsApart(scores, candidateOffsets, { ofRange, numPairs }, rand) {
  const pairs = [];
  for (let s = 0; s + 1 < candidateOffsets.length; s++) {
    const [from, to] = [candidateOffsets[s], candidateOffsets[s + 1]];
    const state = Array.from({ length: to - from }, (_, i) => from + i);
    const ofState = scores.subarray(from, to);
    const distance = ofRange * (Math.max(...ofState) - Math.min(...ofState));
    const apart = state.flatMap((better) =>
      state
        .filter((worse) => scores[better] > scores[worse] && scores[better] - scores[worse] >= distance)
        .map((worse) => [better, worse]),
    );
    pairs.push(...rand.shuffle(apart).slice(0, numPairs));
  }
  return {
    chosen: Int32Array.from(pairs, ([better]) => better),
    rejected: Int32Array.from(pairs, ([, worse]) => worse),
  };
}

/**
 * Questions about open attributes. With privileged information only those about attributes of the function are useful;
 * without it any of them may be.
 */
const openKinds = new Set(['useful', 'absent']);

/**
 * Shares of a state's pairs of candidates that the scores order as an oracle does; equal scores count one half.
 * @typedef {object} Diagnosis
 * @property {number} agreement questions about attributes of the function before all others
 * @property {number[]} agreementByTurn
 * @property {number} usefulOverAbsent the same before those about attributes that it lacks
 * @property {number} usefulOverWasted the same before repeated ones, small talk and those that name no topic
 * @property {number} absentOverWasted the order of an oracle without privileged information
 * @property {number} pairsInOrder share of sampled pairs with one useful question whose chosen question is the useful
 *   one
 * @property {Record<string, { mean: number, deviation: number, count: number }>} advantages by kind of question: score
 *   minus the mean of its state, in standard deviations over all states
 */

/** @returns {Diagnosis} */
function diagnose(candidates, scores, { chosen, rejected }) {
  const { states, candidateOffsets } = candidates;
  const kindsOf = candidateKinds(candidates);
  const [all, usefulOverAbsent, usefulOverWasted, absentOverWasted, pairs] = Array.from({ length: 5 }, tally);
  const byTurn = Array.from({ length: maxQuestions }, tally);
  const centred = new Float64Array(scores.length);
  states.forEach(({ turns }, s) => {
    const [from, to] = [candidateOffsets[s], candidateOffsets[s + 1]];
    const average = scores.subarray(from, to).reduce((sum, score) => sum + score, 0) / (to - from);
    for (let i = from; i < to; i++) {
      centred[i] = scores[i] - average;
      if (!openKinds.has(kindsOf[i])) continue;
      for (let j = from; j < to; j++) {
        const hit = scores[i] > scores[j] ? 1 : scores[i] === scores[j] ? 0.5 : 0;
        if (kindsOf[i] === 'absent') {
          if (!openKinds.has(kindsOf[j])) absentOverWasted.add(hit);
        } else if (kindsOf[j] !== 'useful') {
          const over = kindsOf[j] === 'absent' ? usefulOverAbsent : usefulOverWasted;
          for (const each of [all, byTurn[turns.length], over]) each.add(hit);
        }
      }
    }
  });
  chosen.forEach((better, p) => {
    const useful = [better, rejected[p]].map((index) => kindsOf[index] === 'useful');
    if (useful[0] !== useful[1]) pairs.add(Number(useful[0]));
  });
  const deviation = Math.sqrt(centred.reduce((sum, score) => sum + score ** 2, 0) / centred.length) || 1;
  const advantages = kinds.map((kind) => {
    const values = Array.from(
      centred.filter((_, i) => kindsOf[i] === kind),
      (score) => score / deviation,
    );
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
    return [kind, { mean, deviation: Math.sqrt(variance), count: values.length }];
  });
  return {
    agreement: all.share(),
    agreementByTurn: byTurn.map((turn) => turn.share()),
    usefulOverAbsent: usefulOverAbsent.share(),
    usefulOverWasted: usefulOverWasted.share(),
    absentOverWasted: absentOverWasted.share(),
    pairsInOrder: pairs.share(),
    advantages: Object.fromEntries(advantages.filter(([, { count }]) => count > 0)),
  };
}

function tally() {
  let [hits, count] = [0, 0];
  return {
    add: (hit) => {
      hits += hit;
      count++;
    },
    share: () => hits / count,
  };
}

/** The ranking of one state's candidates, for the report. */
function exampleOf({ states, actions, candidateOffsets }, scores) {
  const shown = states.findIndex(({ turns }) => turns.length === exampleTurn);
  const ranking = native.rankCandidates({ scores, candidateOffsets });
  const [from, to] = [candidateOffsets[shown], candidateOffsets[shown + 1]];
  const ranked = new Map(Array.from(ranking.subarray(from, to), (index) => [textOf(actions[index]), scores[index]]));
  const { task, turns } = states[shown];
  const dialogue = turns.map(({ action, reply }) => `${textOf(action)}? ${textOf(reply)}.`);
  return { program: programSource(task.program), dialogue, ranked: [...ranked] };
}
