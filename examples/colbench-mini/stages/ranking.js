/** Pairs of candidates by their scores, and the agreement of the scores with an oracle's. */
import { kindOf, kinds, maxQuestions, splitKindOf, splitKinds } from '../dialogue.js';
import { programSource, textOf } from '../language.js';
import { native } from '../native.js';
import { random } from '../random.js';
import { average } from '../statistics.js';

/** The turn of the state in the report. */
const exampleTurn = 2;

/** The kind of each candidate in its state. */
function candidateKinds({ states, actions, candidateOffsets }, kindIn = kindOf) {
  return states.flatMap(({ task, turns }, s) =>
    actions.slice(candidateOffsets[s], candidateOffsets[s + 1]).map((action) => kindIn(task, turns, action)),
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
 * Shares of a state's pairs of candidates that the scores order as an oracle does; equal scores count one half.
 * @typedef {object} Diagnosis
 * @property {number} agreement questions about attributes of the function before all others
 * @property {number[]} agreementByTurn
 * @property {number} usefulOverAbsent the same before those about attributes that it lacks
 * @property {number} usefulOverWasted the same before repeated ones, small talk and those that name no topic
 * @property {number} absentOverWasted the order of an oracle without privileged information
 * @property {Record<string, Record<string, { share: number, count: number }>>} order of pairs of two kinds of splitKinds:
 *   how often a question of the first kind has the higher score
 * @property {number} pairsInOrder share of sampled pairs with one useful question whose chosen question is the useful
 *   one
 * @property {number} pairsWithoutUseful share of sampled pairs from states without a useful candidate
 * @property {Record<string, { mean: number, deviation: number, count: number }>} advantages by kind of question: score
 *   minus the mean of its state, in standard deviations over all states
 */

/** @returns {Diagnosis} */
function diagnose(candidates, scores, { chosen, rejected }) {
  const { states, candidateOffsets } = candidates;
  const kindsOf = candidateKinds(candidates);
  const splitKindsOf = candidateKinds(candidates, splitKindOf);
  const order = byKind(() => byKind(tally));
  const pairs = tally();
  const byTurn = Array.from({ length: maxQuestions }, tally);
  const centred = new Float64Array(scores.length);
  states.forEach(({ turns }, s) => {
    const [from, to] = [candidateOffsets[s], candidateOffsets[s + 1]];
    const centre = average(scores.subarray(from, to));
    for (let i = from; i < to; i++) {
      centred[i] = scores[i] - centre;
      for (let j = from; j < to; j++) {
        const hit = scores[i] > scores[j] ? 1 : scores[i] === scores[j] ? 0.5 : 0;
        if (splitKindsOf[i] !== splitKindsOf[j]) add(order[splitKindsOf[i]][splitKindsOf[j]], hit);
        if (kindsOf[i] === 'useful' && kindsOf[j] !== 'useful') add(byTurn[turns.length], hit);
      }
    }
  });
  chosen.forEach((better, p) => {
    const useful = [better, rejected[p]].map((index) => kindsOf[index] === 'useful');
    if (useful[0] !== useful[1]) add(pairs, Number(useful[0]));
  });
  const [useful, absent, ...wasted] = splitKinds;
  const shareOver = (kind, others) => shareOf(...others.map((other) => order[kind][other]));
  const perState = kindsOf.length / states.length;
  const hasUseful = states.map((_, s) => kindsOf.slice(s * perState, (s + 1) * perState).includes('useful'));
  const deviation = Math.sqrt(centred.reduce((sum, score) => sum + score ** 2, 0) / centred.length) || 1;
  const advantages = kinds.map((kind) => {
    const values = Array.from(
      centred.filter((_, i) => kindsOf[i] === kind),
      (score) => score / deviation,
    );
    const mean = average(values);
    const variance = average(values.map((value) => (value - mean) ** 2));
    return [kind, { mean, deviation: Math.sqrt(variance), count: values.length }];
  });
  return {
    agreement: shareOf(...byTurn),
    agreementByTurn: byTurn.map((turn) => shareOf(turn)),
    usefulOverAbsent: shareOver(useful, [absent]),
    usefulOverWasted: shareOver(useful, wasted),
    absentOverWasted: shareOver(absent, wasted),
    order: byKind((kind) =>
      byKind((other) => ({ share: shareOf(order[kind][other]), count: order[kind][other].count })),
    ),
    pairsInOrder: shareOf(pairs),
    pairsWithoutUseful: average(Array.from(chosen, (index) => Number(!hasUseful[Math.floor(index / perState)]))),
    advantages: Object.fromEntries(advantages.filter(([, { count }]) => count > 0)),
  };
}

const byKind = (value) => Object.fromEntries(splitKinds.map((kind) => [kind, value(kind)]));

const tally = () => ({ hits: 0, count: 0 });
function add(to, hit) {
  to.hits += hit;
  to.count++;
}
const sumOf = (tallies, key) => tallies.reduce((sum, each) => sum + each[key], 0);
const shareOf = (...tallies) => sumOf(tallies, 'hits') / sumOf(tallies, 'count');

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
