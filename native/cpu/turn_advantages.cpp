#include "../turn_advantages.h"

#include "../scratch.h"

namespace sweet {
namespace {

bool keeps(const TurnBatch& batch, int64_t i) { return !batch.mask || batch.mask[i] != 0; }

/** Copies the offsets and counts the tokens of each turn. */
Status check(const TurnBatch& batch, int32_t* offsets, int32_t* lengths) {
  const Status status = check_offsets(batch.turn_offsets, batch.turns, batch.tokens, Code::turn_offsets, offsets);
  if (!status.ok()) return status;
  for (int64_t t = 0; t < batch.turns; t++) {
    lengths[t] = 0;
    for (int64_t i = offsets[t]; i < offsets[t + 1]; i++) lengths[t] += keeps(batch, i);
    if (lengths[t] == 0 && batch.mean && !batch.allow_empty_turns) return {Code::empty_turn, t, 0};
  }
  return {};
}

}  // namespace

Status turn_advantages(const TurnBatch& batch, const float* logps, const float* ref_logps, float* advantages) {
  Scratch<int32_t> offsets(batch.turns + 1), lengths(batch.turns);
  if (!offsets.ok() || !lengths.ok()) return {Code::memory};
  if (const Status status = check(batch, offsets.get(), lengths.get()); !status.ok()) return status;

  for (int64_t t = 0; t < batch.turns; t++) {
    double sum = 0;
    for (int64_t i = offsets[t]; i < offsets[t + 1]; i++) {
      if (keeps(batch, i)) sum += static_cast<double>(logps[i]) - ref_logps[i];
    }
    advantages[t] = static_cast<float>(batch.mean && lengths[t] > 0 ? sum / lengths[t] : sum);
  }
  return {};
}

Status turn_advantages_backward(const TurnBatch& batch, const float* grad_advantages, float* grad_logps) {
  Scratch<int32_t> offsets(batch.turns + 1), lengths(batch.turns);
  if (!offsets.ok() || !lengths.ok()) return {Code::memory};
  if (const Status status = check(batch, offsets.get(), lengths.get()); !status.ok()) return status;

  for (int64_t t = 0; t < batch.turns; t++) {
    const double grad =
        batch.mean && lengths[t] > 0 ? static_cast<double>(grad_advantages[t]) / lengths[t] : grad_advantages[t];
    for (int64_t i = offsets[t]; i < offsets[t + 1]; i++)
      grad_logps[i] = keeps(batch, i) ? static_cast<float>(grad) : 0.0f;
  }
  return {};
}

}  // namespace sweet
