// The advantage of a turn and its gradient, as ../turn_advantages.h defines them:
//
//   A_t = s_t * sum_{i in t} m_i (logp_i - ref_logp_i),  dlogp_i = m_i * s_t * dA_t,  s_t = 1 / sum_{i in t} m_i, or 1
//   of a sum;  m_i is what token i counts, see layout.h
//
// A warp takes a turn: lane l adds the tokens l, l + 32, ... in float64, and a butterfly adds the lanes, so that a sum
// has one order whatever the batch. The log-ratios are never stored.
#include "../turn_advantages.h"
#include "device.h"
#include "layout.h"
#include "reference.h"

namespace sweet {

double reference::turn_advantage(const float* logps, const float* ref_logps, const float* weights, int64_t tokens,
                                 bool mean, double* grad_logps) {
  double sum = 0, weight = 0;
  for (int64_t i = 0; i < tokens; i++) {
    if (weights[i] == 0) continue;
    sum += weights[i] * (static_cast<double>(logps[i]) - ref_logps[i]);
    weight += static_cast<double>(weights[i]);
  }
  const double scale = mean ? 1 / weight : 1;
  for (int64_t i = 0; i < tokens; i++) grad_logps[i] = weights[i] * scale;
  return scale * sum;
}

namespace cuda {
namespace {

__global__ void __launch_bounds__(kTurnThreads) advantages_kernel(Turns turns,            // T turns over N tokens
                                                                  const double* weights,  // [T]
                                                                  bool mean,
                                                                  const float* logps,      // [N]
                                                                  const float* ref_logps,  // [N]
                                                                  float* advantages,       // [T]
                                                                  const DeviceResult* result) {
  const int64_t t = global_thread() / kWarp;
  if (has_fault(result) || t >= turns.count) return;
  double sum = 0;
  for (int64_t i = turns.offsets[t] + threadIdx.x % kWarp; i < turns.offsets[t + 1]; i += kWarp) {
    const double m = weight_of(turns, i);
    if (m != 0) sum += m * (static_cast<double>(logps[i]) - ref_logps[i]);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) {
    advantages[t] = static_cast<float>(mean && weights[t] > 0 ? sum / weights[t] : sum);
  }
}

__global__ void __launch_bounds__(kTurnThreads) advantages_backward_kernel(Turns turns,  // T turns over N tokens
                                                                           const double* weights,  // [T]
                                                                           bool mean,
                                                                           const float* grad_advantages,  // [T]
                                                                           float* grad_logps,             // [N]
                                                                           const DeviceResult* result) {
  const int64_t t = global_thread() / kWarp;
  if (has_fault(result) || t >= turns.count) return;
  const double grad =
      mean && weights[t] > 0 ? static_cast<double>(grad_advantages[t]) / weights[t] : grad_advantages[t];
  for (int64_t i = turns.offsets[t] + threadIdx.x % kWarp; i < turns.offsets[t + 1]; i += kWarp) {
    const double m = weight_of(turns, i);
    grad_logps[i] = m != 0 ? static_cast<float>(grad * m) : 0.0f;
  }
}

Turns turns_of(const TurnBatch& batch) { return {batch.turn_offsets, batch.turns, batch.labels, nullptr}; }

const double* check(LaunchContext& context, const TurnBatch& batch) {
  check_turn_offsets(context, batch.turn_offsets, batch.turns, batch.tokens);
  return weigh_turns(context, turns_of(batch), batch.tokens, !batch.mean || batch.allow_empty_turns);
}

}  // namespace
}  // namespace cuda

using namespace cuda;

Status turn_advantages(const TurnAdvantages& call) {
  const TurnBatch& batch = call.batch;
  LaunchContext context;
  const double* const weights = check(context, batch);
  context.launch("advantages_kernel", advantages_kernel, blocks_for_turns(batch.turns), kTurnThreads, turns_of(batch),
                 weights, batch.mean, call.logps, call.ref_logps, call.advantages, context.result());
  return context.finish(nullptr);
}

Status turn_advantages_backward(const TurnAdvantagesBackward& call) {
  const TurnBatch& batch = call.batch;
  LaunchContext context;
  const double* const weights = check(context, batch);
  context.launch("advantages_backward_kernel", advantages_backward_kernel, blocks_for_turns(batch.turns), kTurnThreads,
                 turns_of(batch), weights, batch.mean, call.grad_advantages, call.grad_logps, context.result());
  return context.finish(nullptr);
}

}  // namespace sweet
