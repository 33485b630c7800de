// Sums over the tokens of items: N tokens, T turns, K items.
//
//   R_t = sum_{i in t} m_i (logp_i - ref_logp_i),  S_k = sum_{t in k} c_tk R_t,  c_tk = score_coefficient()
//
// A warp per turn, then a thread per item. All sums are float64. Between the kernels [T] and [K] numbers are stored;
// log-ratios and coefficients of tokens are not.
#include "device.h"
#include "items.h"

namespace sweet {
namespace cuda {
namespace {

// 24 to 54 registers: 1152 threads an SM or more, with 128 or 512 too.
constexpr int kThreads = 256;

/** Sums over each turn, [T]; refs and likelihoods may be null. */
struct TurnSums {
  double *ratios, *logps, *refs, *likelihoods;
};

/** A thread per item. */
__global__ void __launch_bounds__(kThreads) weigh_items_kernel(ItemInputs in,  // writes turn_items, item_weights
                                                               DeviceResult* result) {
  const int64_t k = global_thread();
  if (has_layout_fault(result) || k >= in.items) return;
  double total = 0;
  for (int64_t t = first_turn(in, k); t < first_turn(in, k + 1); t++) {
    in.turn_items[t] = static_cast<int32_t>(k);
    total += in.turn_weights[t];
  }
  in.item_weights[k] = total;
  if (total == 0 && (in.normalization == Normalization::token_mean || in.divides_by_length) && !in.allow_empty) {
    record_fault(&result->empty_fault, in.item_offsets ? Rule::empty_trajectory : Rule::empty_turn, k);
  }
}

/** A warp per turn. Without the bound of 8 blocks an SM the compiler spills a register for sm_100. */
__global__ void __launch_bounds__(kTurnThreads, 8) sum_turns_kernel(ItemInputs in,
                                                                    TokenLogps tokens,  // [N] each
                                                                    TurnSums sums,
                                                                    float* advantages,  // [T]
                                                                    const DeviceResult* result) {
  const int64_t t = global_thread() / kWarp;
  if (has_fault(result) || t >= in.turns.count) return;
  double ratios = 0, logps = 0, refs = 0, likelihoods = 0;
  for (int64_t i = in.turns.offsets[t] + threadIdx.x % kWarp; i < in.turns.offsets[t + 1]; i += kWarp) {
    const double m = weight_of(in.turns, i);
    if (m == 0) continue;
    const double logp = tokens.logps[i], ref = tokens.ref_logps ? tokens.ref_logps[i] : 0.0;
    ratios += m * (logp - ref);
    logps += m * logp;
    refs += m * ref;
    if (sums.likelihoods) likelihoods += m * (logp - log(static_cast<double>(tokens.sum_squared_probs[i])));
  }
  ratios = warp_sum(ratios);
  logps = warp_sum(logps);
  if (sums.refs) refs = warp_sum(refs);
  if (sums.likelihoods) likelihoods = warp_sum(likelihoods);
  if (threadIdx.x % kWarp != 0) return;
  sums.ratios[t] = ratios;
  sums.logps[t] = logps;
  if (sums.refs) sums.refs[t] = refs;
  if (sums.likelihoods) sums.likelihoods[t] = likelihoods;
  const bool mean = in.normalization == Normalization::turn_mean;
  advantages[t] = static_cast<float>(mean ? ratios * coefficient(in, t, in.turn_items[t]) : ratios);
}

/** A thread per item. */
__global__ void __launch_bounds__(kThreads) sum_items_kernel(ItemInputs in, TurnSums turns,
                                                             ItemSums sums,  // result
                                                             const DeviceResult* result) {
  const int64_t k = global_thread();
  if (has_fault(result) || k >= in.items) return;
  ItemScore score{0, 0, 0, in.normalization == Normalization::sum ? in.item_weights[k] : 1.0};
  double logps = 0, likelihood = 0;
  for (int64_t t = first_turn(in, k); t < first_turn(in, k + 1); t++) {
    const double of_turn = coefficient(in, t, k);
    score.ratio += turns.ratios[t] * of_turn;
    score.policy += turns.logps[t] * of_turn;
    if (turns.refs) score.ref += turns.refs[t] * of_turn;
    logps += turns.logps[t];
    if (turns.likelihoods) likelihood += turns.likelihoods[t];
  }
  sums.scores[k] = score;
  sums.logps[k] = logps;
  if (sums.log_weights) sums.log_weights[k] = in.item_weights[k] > 0 ? likelihood / in.item_weights[k] : 0.0;
}

/** A warp per turn. */
__global__ void __launch_bounds__(kTurnThreads) spread_grads_kernel(ItemInputs in,
                                                                    const double* grads,      // [K]
                                                                    const double* constants,  // [K] or null
                                                                    const double* scale,      // [1]
                                                                    float* grad_logps,        // [N]
                                                                    const DeviceResult* result) {
  const int64_t t = global_thread() / kWarp;
  if (has_fault(result) || t >= in.turns.count) return;
  const int64_t k = in.turn_items[t];
  const double grad = grads[k] * coefficient(in, t, k) - (constants ? constants[k] * *scale : 0.0);
  for (int64_t i = in.turns.offsets[t] + threadIdx.x % kWarp; i < in.turns.offsets[t + 1]; i += kWarp) {
    const double m = weight_of(in.turns, i);
    grad_logps[i] = m != 0 ? static_cast<float>(grad * m) : 0.0f;
  }
}

}  // namespace

ItemInputs check_items(LaunchContext& context, const ItemBatch& batch, Normalization normalization, bool allow_empty,
                       bool divides_by_length, const int32_t* labels) {
  ItemInputs in{};
  in.turns = {batch.turn_offsets, batch.turns, batch.labels, labels};
  in.item_offsets = batch.of_trajectories() ? batch.trajectory_offsets : nullptr;
  in.items = batch.items();
  in.normalization = normalization;
  in.allow_empty = allow_empty;
  in.divides_by_length = divides_by_length;
  check_turn_offsets(context, batch.turn_offsets, batch.turns, batch.tokens);
  if (in.item_offsets) check_trajectory_offsets(context, in.item_offsets, in.items, batch.turns);
  return in;
}

void weigh_items(LaunchContext& context, const ItemBatch& batch, ItemInputs& in) {
  const bool allow_empty = in.allow_empty || in.normalization != Normalization::turn_mean;
  in.turn_weights = weigh_turns(context, in.turns, batch.tokens, allow_empty);
  in.turn_items = context.scratch<int32_t>(batch.turns);
  in.item_weights = context.scratch<double>(in.items);
  context.launch("weigh_items_kernel", weigh_items_kernel, blocks_for(in.items, kThreads), kThreads, in,
                 context.result());
}

ItemSums sum_items(LaunchContext& context, const ItemInputs& in, const TokenLogps& tokens, bool with_ref,
                   float* turn_advantages) {
  const int64_t turns = in.turns.count;
  TurnSums of_turns{};
  of_turns.ratios = context.scratch<double>(turns);
  of_turns.logps = context.scratch<double>(turns);
  if (with_ref) of_turns.refs = context.scratch<double>(turns);
  if (tokens.sum_squared_probs) of_turns.likelihoods = context.scratch<double>(turns);
  ItemSums sums{};
  sums.scores = context.scratch<ItemScore>(in.items);
  sums.logps = context.scratch<double>(in.items);
  if (tokens.sum_squared_probs) sums.log_weights = context.scratch<double>(in.items);
  context.launch("sum_turns_kernel", sum_turns_kernel, blocks_for_turns(turns), kTurnThreads, in, tokens, of_turns,
                 turn_advantages, context.result());
  context.launch("sum_items_kernel", sum_items_kernel, blocks_for(in.items, kThreads), kThreads, in, of_turns, sums,
                 context.result());
  return sums;
}

void spread_grads(LaunchContext& context, const ItemInputs& in, const double* grads, const double* constants,
                  const double* scale, float* grad_logps) {
  context.launch("spread_grads_kernel", spread_grads_kernel, blocks_for_turns(in.turns.count), kTurnThreads, in, grads,
                 constants, scale, grad_logps, context.result());
}

}  // namespace cuda
}  // namespace sweet
