#include "../native/turn_advantages.h"

#include "addon.h"
#include "args.h"

namespace sweet {

namespace {

TurnBatch read_batch(Args& args) {
  TurnBatch batch{};
  int64_t offsets = 0;
  batch.tokens = static_cast<int64_t>(args.number());
  batch.mask = args.array<const uint8_t>();
  batch.turn_offsets = args.array<const int32_t>(&offsets);
  batch.turns = offsets - 1;
  batch.mean = args.boolean();
  batch.allow_empty_turns = args.boolean();
  return batch;
}

}  // namespace

Napi::Value bind_turn_advantages(const Napi::CallbackInfo& info) {
  Args args(info);
  const TurnBatch batch = read_batch(args);
  const float* const logps = args.array<const float>();
  const float* const ref_logps = args.array<const float>();
  float* const advantages = args.array<float>();
  return args.perform([=] { return turn_advantages(batch, logps, ref_logps, advantages); });
}

Napi::Value bind_turn_advantages_backward(const Napi::CallbackInfo& info) {
  Args args(info);
  const TurnBatch batch = read_batch(args);
  const float* const grad_advantages = args.array<const float>();
  float* const grad_logps = args.array<float>();
  return args.perform([=] { return turn_advantages_backward(batch, grad_advantages, grad_logps); });
}

}  // namespace sweet
