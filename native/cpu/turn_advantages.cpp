#include "../turn_advantages.h"

#include "../scratch.h"

namespace sweet {
namespace {

/** The batch's own copy of what its owner may change meanwhile, with the tokens of each turn that count. */
struct Turns {
  Scratch<int32_t> offsets, lengths;
  Scratch<uint8_t> keeps;  // [N]

  explicit Turns(const TurnBatch& batch) : offsets(batch.turns + 1), lengths(batch.turns), keeps(batch.tokens) {}

  Status check(const TurnBatch& batch) {
    if (!offsets.ok() || !lengths.ok() || !keeps.ok()) return {Code::memory};
    Status status = check_offsets(batch.turn_offsets, batch.turns, batch.tokens, Code::turn_offsets, offsets.get());
    if (!status.ok()) return status;
    status = copy_mask(batch.mask, batch.tokens, keeps.get());
    if (!status.ok()) return status;
    for (int64_t t = 0; t < batch.turns; t++) {
      lengths[t] = 0;
      for (int64_t i = offsets[t]; i < offsets[t + 1]; i++) lengths[t] += keeps[i];
      if (lengths[t] == 0 && batch.mean && !batch.allow_empty_turns) return {Code::empty_turn, t, 0};
    }
    return {};
  }
};

}  // namespace

Status turn_advantages(const TurnBatch& batch, const float* logps, const float* ref_logps, float* advantages) {
  Turns turns(batch);
  if (const Status status = turns.check(batch); !status.ok()) return status;

  for (int64_t t = 0; t < batch.turns; t++) {
    double sum = 0;
    for (int64_t i = turns.offsets[t]; i < turns.offsets[t + 1]; i++) {
      if (turns.keeps[i]) sum += static_cast<double>(logps[i]) - ref_logps[i];
    }
    advantages[t] = static_cast<float>(batch.mean && turns.lengths[t] > 0 ? sum / turns.lengths[t] : sum);
  }
  return {};
}

Status turn_advantages_backward(const TurnBatch& batch, const float* grad_advantages, float* grad_logps) {
  Turns turns(batch);
  if (const Status status = turns.check(batch); !status.ok()) return status;

  for (int64_t t = 0; t < batch.turns; t++) {
    const double given = grad_advantages[t];
    const double grad = batch.mean && turns.lengths[t] > 0 ? given / turns.lengths[t] : given;
    for (int64_t i = turns.offsets[t]; i < turns.offsets[t + 1]; i++) {
      grad_logps[i] = turns.keeps[i] ? static_cast<float>(grad) : 0.0f;
    }
  }
  return {};
}

}  // namespace sweet
