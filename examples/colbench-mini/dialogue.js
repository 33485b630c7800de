/** The rules of a dialogue: who says what when, what the human replies, and how a demonstrator behaves. */
import {
  attributes,
  maxTurns,
  openings,
  programTokens,
  replies,
  smallTalk,
  smallTalkOpenings,
  token,
  tokensOf,
  topics,
  withNotes,
} from './language.js';

/** The human's patience: after this many turns or tokens of questions comes the order to answer. */
const maxQuestions = maxTurns - 1;
const patience = 23;
export const maxQuestionTokens = 8;
export const maxAnswerTokens = 12;

/**
 * @typedef {object} Turn
 * @property {number[]} action the agent's own tokens: a question, or the program with a closing <end>
 * @property {number[]} [reply] the human's tokens; the last turn has none
 */
/** @typedef {{ turns: Turn[], reward: number }} Trajectory */

/** The topic that a question names: an attribute's index, −1 for small talk, undefined for none. */
export const topicOf = (action) => topics.get(action[action.length - 1]);

/** Whether the environment asks for the answer now (it writes ANSWER, the agent goes on with the program). */
export const mustAnswer = (turns) =>
  turns.length >= maxQuestions || turns.reduce((sum, turn) => sum + turn.action.length, 0) >= patience;

/** Attributes that have been asked about or were given away by the statement. */
export function settledTopics(task, turns) {
  const settled = new Set(turns.map((turn) => topicOf(turn.action)).filter((topic) => topic >= 0));
  return task.hint >= 0 ? settled.add(task.hint) : settled;
}

export const knowsAll = (task, turns) => {
  const settled = settledTopics(task, turns);
  return task.spec.every((option, index) => option < 0 || settled.has(index));
};

/** The human looks at the hidden function only; nothing in a reply tells how the dialogue is going. */
export function humanReply(task, turns, action, rand) {
  const topic = topicOf(action);
  if (topic === undefined || topic < 0) return tokensOf(rand.pick(replies.smallTalk));
  if (settledTopics(task, turns).has(topic)) return tokensOf(rand.pick(replies.repeated));
  if (task.spec[topic] < 0) return tokensOf(rand.pick(replies.absent));
  return tokensOf([...rand.pick(replies.present), attributes[topic].options[task.spec[topic]].word]);
}

/**
 * A dialogue as packTurns takes it: the agent's messages and everything else between them.
 * @param {boolean} withHidden whether the hidden function stands in front, as training's critic may see it
 * @returns {{ tokens: number[], agent: boolean }[]}
 */
export function messagesOf(task, turns, withHidden) {
  const messages = [];
  let prompt = [...(withHidden ? [token.hidden, ...task.program] : []), ...task.statement];
  turns.forEach(({ action, reply = [] }, i) => {
    const before = turns.slice(0, i);
    prompt.push(withNotes(token.agent[i], settledTopics(task, before)));
    if (mustAnswer(before)) prompt.push(token.answer);
    messages.push({ tokens: prompt, agent: false }, { tokens: action, agent: true });
    prompt = [...reply];
  });
  return messages;
}

/** Everything that stands before the agent's next action. */
export function promptOf(task, turns, withHidden) {
  const upToHere = messagesOf(task, [...turns, { action: [] }], withHidden);
  return upToHere.flatMap((message) => message.tokens);
}

/** Share of small talk and of repeated questions by turn. The peaks are habits, and the greedy agent has them too. */
export const habits = {
  smallTalk: [0.5, 0.1, 0.1, 0.45, 0.1, 0.1, 0.4, 0.1],
  repeat: [0, 0.1, 0.45, 0.1, 0.5, 0.15, 0.1, 0.4],
};
const usualPreference = 1.5;

/**
 * A demonstrator: wastes turns by habit, otherwise asks what is open, and answers exactly what it was told.
 * @returns {Turn[]}
 */
export function demonstrate(task, rand, { smallTalk: talk, repeat } = habits) {
  /** @type {Turn[]} */
  const turns = [];
  while (!mustAnswer(turns)) {
    const settled = [...settledTopics(task, turns)];
    const open = attributes.map((_, index) => index).filter((index) => !settled.includes(index));
    const asked = turns.map((turn) => topicOf(turn.action)).filter((topic) => topic >= 0);
    const chance = rand.next() - talk[turns.length];
    let action;
    if (chance < 0) {
      action = [...rand.pick(smallTalkOpenings), rand.pick(smallTalk)];
    } else {
      const again = asked.length > 0 && (chance < repeat[turns.length] || open.length === 0);
      const weights = open.map((index) => (task.usual.includes(index) ? usualPreference : 1));
      const topic = again
        ? rand.next() < 0.6
          ? asked[asked.length - 1]
          : rand.pick(settled)
        : open[rand.weighted(weights)];
      action = [...rand.pick(openings), attributes[topic].topic];
    }
    action = tokensOf(action);
    turns.push({ action, reply: humanReply(task, turns, action, rand) });
  }
  const settled = settledTopics(task, turns);
  const told = task.spec.map((option, index) => (settled.has(index) ? option : -1));
  turns.push({ action: [...programTokens(told), token.end] });
  return turns;
}

/** How episodes went, as shares of their questions, and how faithfully the answers use what was told. */
export function behaviour(tasks, episodes) {
  const count = { useful: 0, absent: 0, repeated: 0, smallTalk: 0 };
  let questions = 0;
  let known = 0;
  let knownAndRight = 0;
  episodes.forEach(({ turns, reward }, i) => {
    const task = tasks[i];
    turns.slice(0, -1).forEach(({ action }, t) => {
      const topic = topicOf(action);
      const kind =
        topic === undefined || topic < 0
          ? 'smallTalk'
          : settledTopics(task, turns.slice(0, t)).has(topic)
            ? 'repeated'
            : task.spec[topic] >= 0
              ? 'useful'
              : 'absent';
      count[kind]++;
      questions++;
    });
    if (knowsAll(task, turns.slice(0, -1))) {
      known++;
      knownAndRight += Number(reward === 1);
    }
  });
  const share = (n) => n / Math.max(1, questions);
  return {
    questions: questions / episodes.length,
    useful: share(count.useful),
    absent: share(count.absent),
    repeated: share(count.repeated),
    smallTalk: share(count.smallTalk),
    allKnown: known / episodes.length,
    rightWhenAllKnown: knownAndRight / Math.max(1, known),
  };
}
