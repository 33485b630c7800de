/**
 * A dialogue of n tokens becomes n - 1 rows: row i is predicted from tokens 0 ... i and its label is token i + 1,
 * which counts only if an agent wrote it: its message has `agent`, and no 0 in a `mask` at the token. A turn's rows end with its agent message; what follows the last one is its too.
 */
export interface Dialogue {
  turns: { tokens: ArrayLike<number | bigint>; agent: boolean; mask?: ArrayLike<number | bigint | boolean> }[];
}

export function packTurns(trajectories: Dialogue[], ignoreIndex = -100) {
  const packed = {
    inputIds: [] as number[],
    labels: [] as number[],
    mask: [] as number[],
    turnOffsets: [0],
    trajectoryOffsets: [0],
    sequenceOffsets: [0],
  };
  for (const { turns } of trajectories) {
    const tokens = turns.flatMap(({ tokens, agent, mask }) =>
      Array.from(tokens, (id, i) => ({ id: Number(id), agent: agent && (mask === undefined || Boolean(mask[i])) })),
    );
    const first = packed.labels.length;
    tokens.slice(1).forEach((next, i) => {
      packed.inputIds.push(tokens[i]!.id);
      packed.labels.push(next.agent ? next.id : ignoreIndex);
      packed.mask.push(next.agent ? 1 : 0);
    });
    let position = 0;
    for (const { tokens: message, agent } of turns) {
      position += message.length;
      if (agent) packed.turnOffsets.push(first + Math.max(position - 1, 0));
    }
    packed.turnOffsets[packed.turnOffsets.length - 1] = packed.labels.length;
    packed.trajectoryOffsets.push(packed.turnOffsets.length - 1);
    packed.sequenceOffsets.push(packed.labels.length);
  }
  return packed;
}
