// The same computations as loops in plain JavaScript.

/** Log-probs of rows and the gradient of their sum. */
export function plainRows({ logits, labels }, vocab) {
  const rows = labels.length;
  const lse = new Float64Array(rows);
  const logps = new Float32Array(rows);
  const grad = new Float32Array(logits.length);
  const forward = () => {
    for (let i = 0; i < rows; i++) {
      const row = i * vocab;
      let max = -Infinity;
      for (let v = 0; v < vocab; v++) if (logits[row + v] > max) max = logits[row + v];
      let sum = 0;
      for (let v = 0; v < vocab; v++) sum += Math.exp(logits[row + v] - max);
      lse[i] = max + Math.log(sum);
      logps[i] = logits[row + labels[i]] - lse[i];
    }
    return logps;
  };
  const backward = (gradLogps) => {
    for (let i = 0; i < rows; i++) {
      const [row, g] = [i * vocab, gradLogps[i]];
      for (let v = 0; v < vocab; v++) grad[row + v] = -g * Math.exp(logits[row + v] - lse[i]);
      grad[row + labels[i]] += g;
    }
    return grad;
  };
  return { forward, backward };
}

/** criticUpdate for one pair, normalized by the mean over each turn. */
export function plainCritic(batch, vocab, beta = 0.1) {
  const { refLogps, turnOffsets, trajectoryOffsets, chosen, rejected } = batch;
  const { forward, backward } = plainRows(batch, vocab);
  const gradLogps = new Float32Array(refLogps.length);
  const turnsOf = (k) => {
    const turns = [];
    for (let t = trajectoryOffsets[k]; t < trajectoryOffsets[k + 1]; t++)
      turns.push([turnOffsets[t], turnOffsets[t + 1]]);
    return turns;
  };
  return () => {
    const logps = forward();
    const score = (k) => {
      let total = 0;
      for (const [from, to] of turnsOf(k)) {
        let sum = 0;
        for (let i = from; i < to; i++) sum += logps[i] - refLogps[i];
        total += sum / (to - from);
      }
      return total;
    };
    const margin = beta * (score(chosen[0]) - score(rejected[0]));
    const dScore = -beta / (1 + Math.exp(margin));
    for (const [k, sign] of [
      [chosen[0], 1],
      [rejected[0], -1],
    ]) {
      for (const [from, to] of turnsOf(k)) gradLogps.fill((sign * dScore) / (to - from), from, to);
    }
    backward(gradLogps);
    return Math.log1p(Math.exp(-margin));
  };
}
