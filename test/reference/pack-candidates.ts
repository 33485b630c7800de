/**
 * Each candidate after its history is a sequence of its own and one turn: row i reads token i and predicts token i + 1,
 * which counts only if it is of the candidate.
 */
export interface State {
  history: { tokens: ArrayLike<number>; agent: boolean }[];
  candidates: ArrayLike<number>[];
}

export function packCandidates(states: State[], ignoreIndex = -100) {
  const sequences = states.flatMap(({ history, candidates }) => {
    const before = history.flatMap(({ tokens }) => Array.from(tokens));
    return candidates.map((tokens) => ({ all: [...before, ...Array.from(tokens)], first: before.length }));
  });
  const rows = sequences.flatMap(({ all, first }) =>
    all.slice(1).map((next, i) => ({ reads: all[i]!, predicts: next, counts: i + 1 >= first })),
  );
  const offsets = (lengths: number[]) =>
    [0, ...lengths].map((_, i, all) => all.slice(0, i + 1).reduce((sum, length) => sum + length));
  const rowOffsets = offsets(sequences.map(({ all }) => all.length - 1));
  return {
    inputIds: rows.map(({ reads }) => reads),
    labels: rows.map(({ predicts, counts }) => (counts ? predicts : ignoreIndex)),
    mask: rows.map(({ counts }) => Number(counts)),
    turnOffsets: rowOffsets,
    sequenceOffsets: rowOffsets,
    candidateOffsets: offsets(states.map(({ candidates }) => candidates.length)),
  };
}
