// The preference loss of ../preference_loss.h and its gradient at the log-probs: N tokens, T turns, K items (turns or
// trajectories), P pairs. The scalar reference is oracle::preference_loss() of test/native/oracle.h.
//
//   R_t = sum_{i in t} m_i (logp_i - ref_logp_i),  S_k = sum_{t in k} c_tk R_t,  c_tk = score_coefficient()
//   loss = sum_p w_p l(S_chosen - S_rejected) / D + nll_coef * (-sum_p sum_{i in chosen} m_i logp_i) / nll_weight
//   dS_k = sum_{p: k chosen} w_p l'_p / D - sum_{p: k rejected} w_p l'_p / D
//   dlogp_i = m_i (c_tk dS_k - nll_coef / nll_weight * times k is chosen)
//
// Five kernels, since each step needs sums over the one before: a warp per turn (R_t), a thread per item (S_k), one
// block over the pairs (loss), a thread per item (dS_k), a warp per turn (dlogp). Items gather from the pairs that they
// are in, in the pairs' order, instead of pairs adding to items by atomics, so that no sum depends on the order of
// threads. All sums are float64. Between the kernels [T], [K] and [P] numbers are stored; log-ratios and coefficients
// of tokens are not.
#include "device.h"
#include "preference_loss.h"

namespace sweet {
namespace cuda {
namespace {

// 20 to 32 registers: 2048 threads an SM, with 128 or 512 too. pairs_kernel is one block, of which 1024 threads would
// fit at its 64 registers.
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

/** Sums over turns and items, and their gradients. */
struct Work {
  double *turn_ratios, *turn_logps;    // [T] R, sum of logp
  double *item_scores, *item_logps;    // [K] S, sum of logp
  double *grad_scores, *times_chosen;  // [K] dloss/dS
  double* pair_grads;                  // [P] dloss/dS of the chosen item
  double* nll_grad;                    // [1] -dloss/dlogp of a token, per time it is chosen
};

__device__ inline int64_t first_turn(const PreferenceInputs& in, int64_t k) {
  return in.item_offsets ? in.item_offsets[k] : k;
}

__device__ inline double coefficient(const PreferenceInputs& in, int64_t t, int64_t k) {
  return score_coefficient(in.options.normalization, in.turn_weights[t], in.item_weights[k]);
}

__device__ inline float weight_of(const Pairs& pairs, int64_t p) { return pairs.weights ? pairs.weights[p] : 1.0f; }

/** A thread per item. */
__global__ void __launch_bounds__(kThreads) weigh_items_kernel(PreferenceInputs in,  // writes turn_items, item_weights
                                                               DeviceResult* result) {
  const int64_t k = global_thread();
  if (has_layout_fault(result) || k >= in.items) return;
  double total = 0;
  for (int64_t t = first_turn(in, k); t < first_turn(in, k + 1); t++) {
    in.turn_items[t] = static_cast<int32_t>(k);
    total += in.turn_weights[t];
  }
  in.item_weights[k] = total;
  const bool mean = in.options.normalization == Normalization::token_mean;
  if (total == 0 && mean && !in.options.allow_empty_turns) {
    record_fault(&result->empty_fault, Rule::empty_trajectory, k);
  }
}

/** A warp per turn. */
__global__ void __launch_bounds__(kTurnThreads) sum_turns_kernel(PreferenceInputs in,
                                                                 const float* logps,      // [N]
                                                                 const float* ref_logps,  // [N]
                                                                 Work work,               // writes turn_*
                                                                 float* advantages,       // [T]
                                                                 const DeviceResult* result) {
  const int64_t t = global_thread() / kWarp;
  if (has_fault(result) || t >= in.turns.count) return;
  double ratios = 0, logp = 0;
  for (int64_t i = in.turns.offsets[t] + threadIdx.x % kWarp; i < in.turns.offsets[t + 1]; i += kWarp) {
    const double m = weight_of(in.turns, i);
    if (m == 0) continue;
    ratios += m * (static_cast<double>(logps[i]) - ref_logps[i]);
    logp += m * logps[i];
  }
  ratios = warp_sum(ratios);
  logp = warp_sum(logp);
  if (threadIdx.x % kWarp != 0) return;
  work.turn_ratios[t] = ratios;
  work.turn_logps[t] = logp;
  const bool mean = in.options.normalization == Normalization::turn_mean;
  advantages[t] = static_cast<float>(mean ? ratios * coefficient(in, t, in.turn_items[t]) : ratios);
}

/** A thread per item. */
__global__ void __launch_bounds__(kThreads) score_items_kernel(PreferenceInputs in,
                                                               Work work,  // writes item_*
                                                               const DeviceResult* result) {
  const int64_t k = global_thread();
  if (has_fault(result) || k >= in.items) return;
  double score = 0, logp = 0;
  for (int64_t t = first_turn(in, k); t < first_turn(in, k + 1); t++) {
    score += work.turn_ratios[t] * coefficient(in, t, k);
    logp += work.turn_logps[t];
  }
  work.item_scores[k] = score;
  work.item_logps[k] = logp;
}

/** One block: the gradients are divided by sums over all pairs. */
__global__ void __launch_bounds__(kThreads) pairs_kernel(PreferenceInputs in,
                                                         Work work,          // writes pair_grads, nll_grad
                                                         PreferenceOut out,  // [P] each; writes those of pairs
                                                         DeviceResult* result) {
  __shared__ double shared[kWarps];
  if (has_fault(result)) return;
  const PreferenceOptions& options = in.options;
  const Pairs& pairs = in.pairs;
  double weight_sum = 0, chosen_weight = 0;
  for (int64_t p = threadIdx.x; p < pairs.count; p += kThreads) {
    weight_sum += weight_of(pairs, p);
    if (weight_of(pairs, p) > 0) chosen_weight += in.item_weights[pairs.chosen[p]];
  }
  weight_sum = block_sum(weight_sum, shared);
  chosen_weight = block_sum(chosen_weight, shared);
  const double denominator = options.pair_denominator > 0 ? options.pair_denominator : weight_sum;
  const double nll_weight = options.nll_denominator > 0 ? options.nll_denominator : chosen_weight;

  const double beta = options.pair_loss.beta;
  double loss = 0, nll = 0, wins = 0;
  for (int64_t p = threadIdx.x; p < pairs.count; p += kThreads) {
    const double chosen = work.item_scores[pairs.chosen[p]], rejected = work.item_scores[pairs.rejected[p]];
    const double delta = chosen - rejected;
    const PairTerm term = pair_term(options.pair_loss, delta);
    out.pair_losses[p] = static_cast<float>(term.loss);
    out.margins[p] = static_cast<float>(beta * delta);
    out.chosen_rewards[p] = static_cast<float>(beta * chosen);
    out.rejected_rewards[p] = static_cast<float>(beta * rejected);
    wins += delta > 0;
    // A pair of weight 0 is in no loss, even if its own is infinite.
    if (weight_of(pairs, p) > 0) nll -= work.item_logps[pairs.chosen[p]];
    const double weight = weight_of(pairs, p) / denominator;
    if (weight != 0) loss += weight * term.loss;
    work.pair_grads[p] = weight != 0 ? weight * term.grad : 0;
  }
  loss = block_sum(loss, shared);
  nll = block_sum(nll, shared);
  wins = block_sum(wins, shared);
  if (threadIdx.x != 0) return;
  const double nll_loss = nll_weight > 0 ? nll / nll_weight : 0;
  *work.nll_grad = options.nll_coef > 0 && nll_weight > 0 ? options.nll_coef / nll_weight : 0;
  result->scalars[0] = options.nll_coef > 0 ? loss + options.nll_coef * nll_loss : loss;
  result->scalars[1] = loss;
  result->scalars[2] = nll_loss;
  result->scalars[3] = wins / static_cast<double>(pairs.count);
}

/** A thread per item; its block reads the pairs a tile at a time. */
__global__ void __launch_bounds__(kThreads) gather_grads_kernel(PreferenceInputs in,
                                                                Work work,  // writes grad_scores, times_chosen
                                                                const DeviceResult* result) {
  __shared__ int32_t chosen[kThreads], rejected[kThreads];
  __shared__ double grads[kThreads];
  __shared__ bool counts[kThreads];
  if (has_fault(result)) return;
  const int64_t k = global_thread();
  double grad = 0, times_chosen = 0;
  for (int64_t first = 0; first < in.pairs.count; first += kThreads) {
    const int64_t p = first + threadIdx.x, left = in.pairs.count - first;
    if (p < in.pairs.count) {
      chosen[threadIdx.x] = in.pairs.chosen[p];
      rejected[threadIdx.x] = in.pairs.rejected[p];
      grads[threadIdx.x] = work.pair_grads[p];
      counts[threadIdx.x] = weight_of(in.pairs, p) > 0;
    }
    __syncthreads();
    for (int j = 0; j < kThreads && j < left; j++) {
      if (chosen[j] == k) {
        grad += grads[j];
        times_chosen += counts[j];
      } else if (rejected[j] == k) {
        grad -= grads[j];
      }
    }
    __syncthreads();
  }
  if (k >= in.items) return;
  work.grad_scores[k] = grad;
  work.times_chosen[k] = times_chosen;
}

/** A warp per turn. */
__global__ void __launch_bounds__(kTurnThreads) grad_turns_kernel(PreferenceInputs in, Work work,
                                                                  float* grad_logps,  // [N]
                                                                  const DeviceResult* result) {
  const int64_t t = global_thread() / kWarp;
  if (has_fault(result) || t >= in.turns.count) return;
  const int64_t k = in.turn_items[t];
  const double grad = work.grad_scores[k] * coefficient(in, t, k) - work.times_chosen[k] * *work.nll_grad;
  for (int64_t i = in.turns.offsets[t] + threadIdx.x % kWarp; i < in.turns.offsets[t + 1]; i += kWarp) {
    const double m = weight_of(in.turns, i);
    grad_logps[i] = m != 0 ? static_cast<float>(grad * m) : 0.0f;
  }
}

}  // namespace

PreferenceInputs check_preference(LaunchContext& context, const PreferenceBatch& batch,
                                  const PreferenceOptions& options, const int32_t* labels) {
  PreferenceInputs in{};
  in.turns = {batch.turn_offsets, batch.turns, batch.labels, labels};
  in.item_offsets = batch.of_trajectories() ? batch.trajectory_offsets : nullptr;
  in.items = batch.items();
  in.pairs = batch.pairs;
  in.options = options;

  check_turn_offsets(context, batch.turn_offsets, batch.turns, batch.tokens);
  if (in.item_offsets) check_trajectory_offsets(context, in.item_offsets, in.items, batch.turns);
  check_pairs(context, batch.pairs, in.items);
  const bool allow_empty = options.allow_empty_turns || options.normalization != Normalization::turn_mean;
  in.turn_weights = weigh_turns(context, in.turns, batch.tokens, allow_empty);
  in.turn_items = context.scratch<int32_t>(batch.turns);
  in.item_weights = context.scratch<double>(in.items);
  context.launch("weigh_items_kernel", weigh_items_kernel, blocks_for(in.items, kThreads), kThreads, in,
                 context.result());
  return in;
}

void compute_preference(LaunchContext& context, const PreferenceInputs& in, const float* logps, const float* ref_logps,
                        const PreferenceOut& out) {
  const int64_t turns = in.turns.count, turn_blocks = blocks_for_turns(turns);
  const int64_t item_blocks = blocks_for(in.items, kThreads);
  Work work{};
  work.turn_ratios = context.scratch<double>(turns);
  work.turn_logps = context.scratch<double>(turns);
  work.item_scores = context.scratch<double>(in.items);
  work.item_logps = context.scratch<double>(in.items);
  work.grad_scores = context.scratch<double>(in.items);
  work.times_chosen = context.scratch<double>(in.items);
  work.pair_grads = context.scratch<double>(in.pairs.count);
  work.nll_grad = context.scratch<double>(1);

  context.launch("sum_turns_kernel", sum_turns_kernel, turn_blocks, kTurnThreads, in, logps, ref_logps, work,
                 out.turn_advantages, context.result());
  context.launch("score_items_kernel", score_items_kernel, item_blocks, kThreads, in, work, context.result());
  context.launch("pairs_kernel", pairs_kernel, 1, kThreads, in, work, out, context.result());
  context.launch("gather_grads_kernel", gather_grads_kernel, item_blocks, kThreads, in, work, context.result());
  context.launch("grad_turns_kernel", grad_turns_kernel, turn_blocks, kTurnThreads, in, work, out.grad_logps,
                 context.result());
}

}  // namespace cuda

Status preference_loss(const PreferenceLoss& call) {
  cuda::LaunchContext context;
  const cuda::PreferenceInputs in = cuda::check_preference(context, call.batch, call.options, nullptr);
  cuda::compute_preference(context, in, call.logps, call.ref_logps, call.out);
  return context.finish(call.out.scalars);
}

}  // namespace sweet
