/** The rules of a conversation: who says what when, what counts as the answer, and how long a reply may be. */

/** An answer starts with these words. */
export const marker = 'I WANT TO ANSWER:';
/** The agent has at most so many turns; the last must be an answer. */
export const maxTurns = 10;
/** A reply of the human has at most so many characters. */
export const maxReply = 400;

/**
 * The answer of a message: what follows the first marker. The marker may stand anywhere in any message of the agent, since
 * models say a word before it; what stands in front of it is no part of the answer.
 * @param {string} message
 * @returns {string | undefined} undefined where the message is no answer
 */
export function answerOf(message) {
  const at = message.indexOf(marker);
  return at < 0 ? undefined : message.slice(at + marker.length).trim();
}

/** A reply cut to the characters that it may have, none of them in half. @param {string} reply */
export function cutReply(reply) {
  if (reply.length <= maxReply) return reply;
  return Array.from(reply).slice(0, maxReply).join('');
}

/** What the agent is told of its task, before the first word of the human. */
export const agentInstructions = `You are a software engineer. A colleague asks you for a Python function and knows details that \
the request leaves out. Ask short questions, one in each message, until you know what the function must do; you have at most \
${maxTurns} messages in all. When you are ready, write "${marker}" and then only the function, in plain Python.`;

/** What the agent is told when its last turn has come. */
export const lastTurn = `This is your last message. Answer now: "${marker}" and then only the function, in plain Python.`;

/**
 * What a model is told that plays the human.
 * @param {string} groundTruth
 */
export const humanInstructions = (
  groundTruth,
) => `You asked a colleague for a Python function. You know how it must behave, since you know this implementation of it, which the \
colleague must not see:

${groundTruth}

Reply to the colleague's last message in one or two sentences, at most ${maxReply} characters. Tell only what was asked for and what \
the implementation says. Where the implementation says nothing about it, say that you have no preference. Never write or quote code.`;
