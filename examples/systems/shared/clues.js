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

/** What the player sees before a turn. */
const stateOf = (turn, known) => ({ turn, known: [...known], text: `turn ${turn}, told ${known.join(' ')}` });

/** A message, each word with what it is said after: an answer's word after what was told about its topic. */
export function message({ turn, known, text }, say) {
  const tokens = [];
  for (let i = 0; i < 2; i++) {
    const said = tokens.map(({ token }) => ` ${words[token]}`).join('');
    const context = turn === TURNS - 1 ? `the answer, ${words[i]}, told ${known[i]}` : `${text}:${said}`;
    tokens.push({ context, token: say(context) });
  }
  return tokens;
}

/**
 * Plays a game: its reward, and its turns with the state before each and the tokens of the message.
 *
 * @param {number} object @param {(context: string) => number} say the next word
 */
export function play(object, say) {
  const target = [object & 1 ? YES : NO, object >> 1 ? YES : NO];
  const known = ['nothing', 'nothing'];
  const turns = [];
  for (let turn = 0; turn < TURNS; turn++) {
    const state = stateOf(turn, known);
    const tokens = message(state, say);
    turns.push({ state, tokens });
    const topic = tokens[0].token;
    if (turn < TURNS - 1 && topic < TOPICS) known[topic] = words[target[topic]];
  }
  const told = turns.at(-1).tokens.filter(({ token }, i) => words[token] === known[i]);
  return { reward: told.length / 2, turns };
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
