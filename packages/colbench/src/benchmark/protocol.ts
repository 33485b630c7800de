/** The rules of a conversation: number of turns, format of the answer, length of replies, prompts. */

/** Marks the answer in an assistant message. */
export const marker = 'I WANT TO ANSWER:';
/** Assistant messages in a conversation; the last one is the answer. */
export const maxTurns = 10;
/** Characters of a simulated user's reply. */
export const maxReply = 400;

/**
 * The answer in a message: the text after the first marker. Models often write a sentence before the marker, so it may
 * be anywhere in the message.
 * @returns undefined if the message has no marker
 */
export function answerOf(message: string): string | undefined {
  const at = message.indexOf(marker);
  return at < 0 ? undefined : message.slice(at + marker.length).trim();
}

/** A reply cut to `most` code points. */
export function cutReply(reply: string, most = maxReply) {
  if (reply.length <= most) return reply;
  return Array.from(reply).slice(0, most).join('');
}

/** The agent's system prompt. */
export const agentInstructions = `You are a software engineer. A colleague asks you for a Python function and knows details that \
the request leaves out. Ask short questions, one in each message, until you know what the function must do; you have at most \
${maxTurns} messages in all. When you are ready, write "${marker}" and then only the function, in plain Python.`;

/** Added to the agent's prompt on its last turn. */
export const lastTurn = `This is your last message. Answer now: "${marker}" and then only the function, in plain Python.`;

/**
 * The system prompt of a model as the simulated user.
 */
export const humanInstructions = (
  groundTruth: string,
) => `You asked a colleague for a Python function. You know how it must behave, since you know this implementation of it, which the \
colleague must not see:

${groundTruth}

Reply to the colleague's last message in one or two sentences, at most ${maxReply} characters. Tell only what was asked for and what \
the implementation says. Where the implementation says nothing about it, say that you have no preference. Never write or quote code.`;
