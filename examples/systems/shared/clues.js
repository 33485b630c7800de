/**
 * A text game of three turns, with messages of two words, about a hidden thing, which is alive or not, and large or not. In two
 * turns the player may ask "alive ..." or "large ..." and is told; any other message learns nothing. The third message is the answer,
 * as "yes no" for something alive that is not large: each right word has the reward 0.5, but only if the player was told, for a lucky
 * guess is worth nothing.
 */
import { Batch } from './table.js';

export const words = ['alive', 'large', 'yes', 'no'];
const TOPICS = 2;
const [YES, NO] = [2, 3];
export const objects = 4;
const TURNS = 3;

/**
 * Plays a game. @param {number} object @param {(context: string) => number} say the next word
 * @returns {{ reward: number, turns: { state: string, tokens: { context: string, token: number }[] }[] }}
 */
export function play(object, say) {
  const target = [object & 1 ? YES : NO, object >> 1 ? YES : NO];
  const known = ['?', '?'];
  const turns = [];
  let reward = 0;
  for (let t = 0; t < TURNS; t++) {
    const state = `turn ${t}, ${known.join(' ')}`;
    const tokens = [];
    for (let context = state; tokens.length < 2; context += ` ${words[tokens.at(-1).token]}`) {
      tokens.push({ context, token: say(context) });
    }
    turns.push({ state, tokens });
    const [first, second] = tokens.map(({ token }) => token);
    if (t === TURNS - 1) reward = [first, second].filter((word, i) => words[word] === known[i]).length / 2;
    else if (first < TOPICS) known[first] = words[target[first]];
  }
  return { reward, turns };
}

/** The games' tokens as a batch. */
export function pack(games, policy) {
  const batch = new Batch();
  for (const { turns } of games) {
    for (const { tokens } of turns) {
      for (const { context, token } of tokens) batch.add(policy.row(context), token);
      batch.endTurn();
    }
    batch.endTrajectory();
  }
  return batch;
}

/** The mean reward of games. */
export const meanReward = (games) => games.reduce((sum, { reward }) => sum + reward, 0) / games.length;

/** The mean reward of the policy's most likely words, over the objects. */
export const greedyReward = (policy) =>
  meanReward(Array.from({ length: objects }, (_, object) => play(object, (context) => policy.greedy(context))));
