#include "../turn_advantages.h"

#include "../scratch.h"

namespace sweet {
namespace {

/** Checked copies of the offsets and of which tokens count, with the number of unmasked tokens of each turn. */
struct Turns {
  Scratch<int32_t> offsets, lengths;
  Scratch<uint8_t> unmasked;  // [N]

  explicit Turns(const TurnBatch& batch) : offsets(batch.turns + 1), lengths(batch.turns), unmasked(batch.tokens) {}

  Status check(const TurnBatch& batch) {
    if (!offsets.ok() || !lengths.ok() || !unmasked.ok()) return {Code::memory};
    Status status = check_offsets(batch.turn_offsets, batch.turns, batch.tokens, Code::turn_offsets, offsets.get());
    if (!status.ok()) return status;
    status = copy_kept(batch.labels, batch.tokens, unmasked.get());
    if (!status.ok()) return status;
    for (int64_t t = 0; t < batch.turns; t++) {
      lengths[t] = 0;
      for (int64_t i = offsets[t]; i < offsets[t + 1]; i++) lengths[t] += unmasked[i];
      if (lengths[t] == 0 && batch.mean && !batch.allow_empty_turns) return {Code::empty_turn, t, 0};
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
    for (int64_t i = turns.offsets[t]; i < turns.offsets[t + 1]; i++) {
      if (turns.unmasked[i]) sum += static_cast<double>(call.logps[i]) - call.ref_logps[i];
    }
    call.advantages[t] = static_cast<float>(batch.mean && turns.lengths[t] > 0 ? sum / turns.lengths[t] : sum);
  }
  return {};
}

Status turn_advantages_backward(const TurnAdvantagesBackward& call) {
  const TurnBatch& batch = call.batch;
  Turns turns(batch);
  if (const Status status = turns.check(batch); !status.ok()) return status;

  for (int64_t t = 0; t < batch.turns; t++) {
    const double given = call.grad_advantages[t];
    const double grad = batch.mean && turns.lengths[t] > 0 ? given / turns.lengths[t] : given;
    for (int64_t i = turns.offsets[t]; i < turns.offsets[t + 1]; i++) {
      call.grad_logps[i] = turns.unmasked[i] ? static_cast<float>(grad) : 0.0f;
    }
  }
  return {};
}

}  // namespace sweet
