/** The calls into sweet-rl, timed. */
import * as sweet from 'sweet-rl';

export const clock = { seconds: 0, calls: 0 };

/** @template {(...args: any[]) => any} F @param {F} call @returns {F} */
function timed(call) {
  const wrapped = (...args) => {
    const start = performance.now();
    try {
      return call(...args);
    } finally {
      clock.seconds += (performance.now() - start) / 1000;
      clock.calls++;
    }
  };
  return /** @type {F} */ (wrapped);
}

export const native = {
  tokenLogps: timed(sweet.tokenLogps),
  tokenLogpsBackward: timed(sweet.tokenLogpsBackward),
  filteredNll: timed(sweet.filteredNll),
  binaryValueLoss: timed(sweet.binaryValueLoss),
  turnAdvantages: timed(sweet.turnAdvantages),
  criticUpdate: timed(sweet.criticUpdate),
  policyUpdate: timed(sweet.policyUpdate),
  rankCandidates: timed(sweet.rankCandidates),
  samplePairs: timed(sweet.samplePairs),
  trajectoryPairs: timed(sweet.trajectoryPairs),
};
