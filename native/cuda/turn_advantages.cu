// A warp takes a turn; its lanes' sums, in float64, are joined in a fixed order.
#include "../turn_advantages.h"
#include "device.h"
#include "layout.h"

namespace sweet {
namespace cuda {
namespace {

__global__ void __launch_bounds__(kTurnThreads)
    advantages_kernel(Turns turns, const int32_t* lengths, bool mean, const float* logps, const float* ref_logps,
                      float* advantages, const Outcome* outcome) {
  const int64_t t = global_thread() / kWarp;
  if (refused(outcome) || t >= turns.count) return;
  double sum = 0;
  for (int64_t i = turns.offsets[t] + threadIdx.x % kWarp; i < turns.offsets[t + 1]; i += kWarp) {
    if (keeps(turns, i)) sum += static_cast<double>(logps[i]) - ref_logps[i];
  }
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) {
    advantages[t] = static_cast<float>(mean && lengths[t] > 0 ? sum / lengths[t] : sum);
  }
}

__global__ void __launch_bounds__(kTurnThreads)
    advantages_backward_kernel(Turns turns, const int32_t* lengths, bool mean, const float* grad_advantages,
                               float* grad_logps, const Outcome* outcome) {
  const int64_t t = global_thread() / kWarp;
  if (refused(outcome) || t >= turns.count) return;
  const double grad =
      mean && lengths[t] > 0 ? static_cast<double>(grad_advantages[t]) / lengths[t] : grad_advantages[t];
  for (int64_t i = turns.offsets[t] + threadIdx.x % kWarp; i < turns.offsets[t + 1]; i += kWarp) {
    grad_logps[i] = keeps(turns, i) ? static_cast<float>(grad) : 0.0f;
  }
}

const int32_t* check(Run& run, const TurnBatch& batch, const Turns& turns) {
  check_turn_offsets(run, batch.turn_offsets, batch.turns, batch.tokens);
  return count_turns(run, turns, !batch.mean || batch.allow_empty_turns);
}

}  // namespace
}  // namespace cuda

Status turn_advantages(const TurnBatch& batch, const float* logps, const float* ref_logps, float* advantages) {
  cuda::Run run;
  const cuda::Turns turns{batch.turn_offsets, batch.turns, batch.mask, nullptr};
  const int32_t* const lengths = cuda::check(run, batch, turns);
  run.launch("advantages_kernel", cuda::advantages_kernel, cuda::blocks_for_turns(batch.turns), cuda::kTurnThreads,
             turns, lengths, batch.mean, logps, ref_logps, advantages, run.outcome());
  return run.finish(nullptr);
}

Status turn_advantages_backward(const TurnBatch& batch, const float* grad_advantages, float* grad_logps) {
  cuda::Run run;
  const cuda::Turns turns{batch.turn_offsets, batch.turns, batch.mask, nullptr};
  const int32_t* const lengths = cuda::check(run, batch, turns);
  run.launch("advantages_backward_kernel", cuda::advantages_backward_kernel, cuda::blocks_for_turns(batch.turns),
             cuda::kTurnThreads, turns, lengths, batch.mean, grad_advantages, grad_logps, run.outcome());
  return run.finish(nullptr);
}

}  // namespace sweet
