#include "../turn_advantages.h"

#include "token_weights.h"

namespace sweet {
namespace {

/** Checked copies of the offsets and of what each token counts, with the sum of each turn. */
struct Turns {
  Scratch<int32_t> offsets;
  Scratch<double> weights;  // [T]
  TokenWeights tokens;      // [N]

  explicit Turns(const TurnBatch& batch)
      : offsets(batch.turns + 1), weights(batch.turns), tokens(batch.labels, batch.tokens) {}

  Status check(const TurnBatch& batch) {
    if (!offsets.ok() || !weights.ok() || !tokens.ok()) return {Code::memory};
    Status status = check_offsets(batch.turn_offsets, batch.turns, batch.tokens, Code::turn_offsets, offsets.get());
    if (!status.ok()) return status;
    status = tokens.check(nullptr);
    if (!status.ok()) return status;
    for (int64_t t = 0; t < batch.turns; t++) {
      weights[t] = tokens.sum(offsets[t], offsets[t + 1]);
      if (weights[t] == 0 && batch.mean && !batch.allow_empty_turns) return {Code::empty_turn, t, 0};
    }
    return {};
  }
};

}  // namespace

Status turn_advantages(const TurnAdvantages& call) {
  const TurnBatch& batch = call.batch;
  Turns turns(batch);
  if (const Status status = turns.check(batch); !status.ok()) return status;

  for (int64_t t = 0; t < batch.turns; t++) {
    double sum = 0;
    turns.tokens.each(turns.offsets[t], turns.offsets[t + 1], [&](int64_t i, double m) {
      sum += m * (static_cast<double>(call.logps[i]) - call.ref_logps[i]);
    });
    call.advantages[t] = static_cast<float>(batch.mean && turns.weights[t] > 0 ? sum / turns.weights[t] : sum);
  }
  return {};
}

Status turn_advantages_backward(const TurnAdvantagesBackward& call) {
  const TurnBatch& batch = call.batch;
  Turns turns(batch);
  if (const Status status = turns.check(batch); !status.ok()) return status;

  for (int64_t t = 0; t < batch.turns; t++) {
    const double given = call.grad_advantages[t];
    const double grad = batch.mean && turns.weights[t] > 0 ? given / turns.weights[t] : given;
    turns.tokens.scale(grad, turns.offsets[t], turns.offsets[t + 1], call.grad_logps);
  }
  return {};
}

}  // namespace sweet
