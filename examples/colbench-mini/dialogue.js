/** The rules of a dialogue: its messages, the simulated user's replies, and the demonstrators' behaviour. */
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

/** After this many questions the environment asks for the answer. */
export const maxQuestions = maxTurns - 1;
export const maxQuestionTokens = 8;
export const maxAnswerTokens = 12;

/**
 * @typedef {object} Turn
 * @property {number[]} action the agent's own tokens: a question, or the program with a closing <end>
 * @property {number[]} [reply] the user's tokens; the last turn has none
 */
/** @typedef {{ turns: Turn[], reward: number }} Trajectory */

/** The topic that a question names: an attribute's index, -1 for small talk, undefined if it names none. */
export const topicOf = (action) => topics.get(action[action.length - 1]);

/** Whether the environment asks for the answer now: it writes ANSWER, and the agent continues with the program. */
export const mustAnswer = (turns) => turns.length >= maxQuestions;

/** Attributes that were asked about or given in the statement. */
export function settledTopics(task, turns) {
  const settled = new Set(turns.map((turn) => topicOf(turn.action)).filter((topic) => topic >= 0));
  return task.hint >= 0 ? settled.add(task.hint) : settled;
}

export const knowsAll = (task, turns) => {
  const settled = settledTopics(task, turns);
  return task.spec.every((option, index) => option < 0 || settled.has(index));
};

/** The simulated user's reply, which depends only on the hidden function and on what was asked before. */
export function userReply(task, turns, action, rand) {
  const topic = topicOf(action);
  if (topic === undefined || topic < 0) return tokensOf(rand.pick(replies.smallTalk));
  if (settledTopics(task, turns).has(topic)) return tokensOf(rand.pick(replies.repeated));
  if (task.spec[topic] < 0) return tokensOf(rand.pick(replies.absent));
  return tokensOf([...rand.pick(replies.present), attributes[topic].options[task.spec[topic]].term]);
}

/**
 * A dialogue in the form of packTurns: the agent's messages, and everything between them.
 * @param {boolean} withHidden whether the hidden function comes first: the privileged information of a critic in
 *   training
 * @returns {{ tokens: number[], agent: boolean }[]}
 */
export function messagesOf(task, turns, withHidden) {
  const messages = [];
  let prompt = [...(withHidden ? [token.hidden, ...task.program] : []), ...task.statement];
  turns.forEach(({ action, reply = [] }, i) => {
    const before = turns.slice(0, i);
    prompt.push(withNotes(token.agent[i], settledTopics(task, before), task.domain));
    if (mustAnswer(before)) prompt.push(token.answer);
    messages.push({ tokens: prompt, agent: false }, { tokens: action, agent: true });
    prompt = [...reply];
  });
  return messages;
}

/** The prompt of the agent's next action. */
export function promptOf(task, turns, withHidden) {
  const upToHere = messagesOf(task, [...turns, { action: [] }], withHidden);
  return upToHere.flatMap((message) => message.tokens);
}

/**
 * Probability of small talk and of a repeated question by turn, and the weight of topics that are usual in the domain.
 * A probability of one half makes small talk the mode, so greedy agents imitate it too.
 */
export const habits = {
  smallTalk: [0.5, 0.25, 0.25, 0.5, 0.25],
  repeat: [0, 0.05, 0.05, 0.05, 0.05],
  usual: 1,
};

/**
 * A scripted dialogue: wastes turns by habit, otherwise asks about open topics, and answers exactly what the replies
 * say.
 * @returns {Turn[]}
 */
export function demonstrate(task, rand, { smallTalk: talk, repeat, usual } = habits) {
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
      const weights = open.map((index) => (task.usual.includes(index) ? usual : 1));
      const topic = again
        ? rand.next() < 0.6
          ? asked[asked.length - 1]
          : rand.pick(settled)
        : open[rand.weighted(weights)];
      action = [...rand.pick(openings), attributes[topic].topic];
    }
    action = tokensOf(action);
    turns.push({ action, reply: userReply(task, turns, action, rand) });
  }
  const settled = settledTopics(task, turns);
  const known = task.spec.map((option, index) => (settled.has(index) ? option : -1));
  turns.push({ action: [...programTokens(known), token.end] });
  return turns;
}

/**
 * The kind of a question in its state: it settles an attribute of the function (`useful`) or one that the function
 * lacks (`absent`), asks about a settled one (`repeated`), is small talk, or names no topic (`unclear`).
 * @typedef {'useful' | 'absent' | 'repeated' | 'smallTalk' | 'unclear'} Kind
 */
/** @type {Kind[]} */
export const kinds = ['useful', 'absent', 'repeated', 'smallTalk', 'unclear'];

/** @returns {Kind} */
export function kindOf(task, turns, action) {
  const topic = topicOf(action);
  if (topic === undefined) return 'unclear';
  if (topic < 0) return 'smallTalk';
  if (settledTopics(task, turns).has(topic)) return 'repeated';
  return task.spec[topic] >= 0 ? 'useful' : 'absent';
}

/**
 * The same with repeated questions by their topic: an attribute of the function that was asked about (`repeatedUseful`)
 * or stands in the statement (`repeatedHint`), or one that the function lacks (`repeatedAbsent`).
 */
export const splitKinds = [
  'useful',
  'absent',
  'repeatedUseful',
  'repeatedHint',
  'repeatedAbsent',
  'smallTalk',
  'unclear',
];

export function splitKindOf(task, turns, action) {
  const kind = kindOf(task, turns, action);
  if (kind !== 'repeated') return kind;
  const topic = topicOf(action);
  if (topic === task.hint) return 'repeatedHint';
  return task.spec[topic] >= 0 ? 'repeatedUseful' : 'repeatedAbsent';
}

/**
 * Statistics of episodes: shares of questions by kind; the share of the necessary attributes that were asked about; the
 * share of episodes in which all attributes were known, and the success among these.
 */
export function behaviour(tasks, episodes) {
  const count = Object.fromEntries(kinds.map((kind) => [kind, 0]));
  let questions = 0;
  let needed = 0;
  let known = 0;
  let knownAndRight = 0;
  episodes.forEach(({ turns, reward }, i) => {
    const task = tasks[i];
    const asked = turns.slice(0, -1);
    asked.forEach(({ action }, t) => {
      count[kindOf(task, turns.slice(0, t), action)]++;
      questions++;
    });
    needed += task.spec.filter((option, index) => option >= 0 && index !== task.hint).length;
    if (knowsAll(task, asked)) {
      known++;
      knownAndRight += Number(reward === 1);
    }
  });
  const share = (n) => n / Math.max(1, questions);
  return {
    questions: questions / episodes.length,
    ...Object.fromEntries(kinds.map((kind) => [kind, share(count[kind])])),
    coverage: count.useful / Math.max(1, needed),
    allKnown: known / episodes.length,
    rightWhenAllKnown: knownAndRight / Math.max(1, known),
  };
}
