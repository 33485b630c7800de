// The preference loss of ../preference_loss.h and its gradient at the log-probs: K items (turns or trajectories), P
// pairs. The scalar reference is oracle::preference_loss() of test/native/oracle.h.
//
//   loss = sum_p w_p W_p l_p / D + nll_coef * (-sum_p sum_{i in chosen} m_i logp_i) / nll_weight
//   dpi_k = sum_{p: k chosen} w_p W_p dl_p/dpi+ / D + sum_{p: k rejected} w_p W_p dl_p/dpi- / D
//   dlogp_i = m_i (c_tk dpi_k - nll_coef / nll_weight * times k is chosen)
//
// After the sums over items (items.cu): one block over the pairs (loss), a thread per item (dpi_k), a warp per turn
// (dlogp). Items gather from the pairs that they are in, in the pairs' order, instead of pairs adding to items by
// atomics, so that no sum depends on the order of threads. All sums are float64.
#include "device.h"
#include "pair_scores.h"
#include "preference_loss.h"

namespace sweet {
namespace cuda {
namespace {

// gather_grads_kernel 26 registers: 2048 threads an SM. pairs_kernel is one block. term_pairs_kernel has 96 registers
// of bounds of 2 blocks an SM; without them the compiler takes 64 and spills.
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

struct Work {
  const ItemScore* scores;             // [K], or by_pair [2, P]
  const RankMatch* matches;            // [terms, P] where a type is of the batch
  double *grad_scores, *times_chosen;  // [K] dloss/dpi
  double* pair_grads;                  // [2, P] dloss/dpi of the chosen and of the rejected items
  PairTerm* terms;                     // [P]
  double* deltas;                      // [P] x of the chosen item minus that of the rejected one
  double* nll_grad;                    // [1] -dloss/dlogp of a token, per time it is chosen
};

__device__ inline float weight_of(const Pairs& pairs, int64_t p) { return pairs.weights ? pairs.weights[p] : 1.0f; }

/** A thread per pair. */
__global__ void __launch_bounds__(kThreads, 2) term_pairs_kernel(PreferenceInputs in,
                                                                 Work work,          // writes terms, deltas
                                                                 PreferenceOut out,  // [P] each; writes those of pairs
                                                                 const DeviceResult* result) {
  const int64_t p = global_thread(), pairs = in.pairs.count;
  if (has_fault(result) || p >= pairs) return;
  const PairLoss& loss = in.options.pair_loss;
  const double beta = loss.parameters.beta;
  const ItemScore &of_chosen = chosen_score(in, work.scores, p), &of_rejected = rejected_score(in, work.scores, p);
  const double chosen = metric_score(loss, of_chosen), rejected = metric_score(loss, of_rejected);
  work.deltas[p] = chosen - rejected;
  out.margins[p] = static_cast<float>(beta * (chosen - rejected));
  out.chosen_rewards[p] = static_cast<float>(beta * chosen);
  out.rejected_rewards[p] = static_cast<float>(beta * rejected);
  const PairTerm term = pair_term(loss, of_chosen, of_rejected, work.matches + p, pairs);
  work.terms[p] = term;
  out.pair_losses[p] = static_cast<float>(term.loss);
}

/** One block: the gradients are divided by sums over all pairs. */
__global__ void __launch_bounds__(kThreads) pairs_kernel(PreferenceInputs in, ItemSums sums,
                                                         Work work,  // writes pair_grads, nll_grad
                                                         DeviceResult* result) {
  __shared__ double shared[kWarps];
  if (has_fault(result)) return;
  const PreferenceOptions& options = in.options;
  const Pairs& pairs = in.pairs;
  double weight_sum = 0, chosen_weight = 0;
  for (int64_t p = threadIdx.x; p < pairs.count; p += kThreads) {
    weight_sum += weight_of(pairs, p);
    if (weight_of(pairs, p) > 0) chosen_weight += in.items.item_weights[pairs.chosen[p]];
  }
  weight_sum = block_sum(weight_sum, shared);
  chosen_weight = block_sum(chosen_weight, shared);
  const double denominator = options.pair_denominator > 0 ? options.pair_denominator : weight_sum;
  const double nll_weight = options.nll_denominator > 0 ? options.nll_denominator : chosen_weight;

  double loss = 0, nll = 0, wins = 0;
  for (int64_t p = threadIdx.x; p < pairs.count; p += kThreads) {
    const PairTerm term = work.terms[p];
    wins += work.deltas[p] > 0;
    // A pair of weight 0 is in no loss, even if its own is infinite.
    if (weight_of(pairs, p) > 0) nll -= sums.logps[pairs.chosen[p]];
    double weight = weight_of(pairs, p) / denominator;
    if (sums.log_weights) weight *= exp(sums.log_weights[pairs.chosen[p]] + sums.log_weights[pairs.rejected[p]]);
    if (weight != 0) loss += weight * term.loss;
    work.pair_grads[p] = weight != 0 ? weight * term.chosen : 0;
    work.pair_grads[pairs.count + p] = weight != 0 ? weight * term.rejected : 0;
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
  __shared__ double of_chosen[kThreads], of_rejected[kThreads];
  __shared__ bool counts[kThreads];
  if (has_fault(result)) return;
  const int64_t k = global_thread();
  double grad = 0, times_chosen = 0;
  for (int64_t first = 0; first < in.pairs.count; first += kThreads) {
    const int64_t p = first + threadIdx.x, left = in.pairs.count - first;
    if (p < in.pairs.count) {
      chosen[threadIdx.x] = in.pairs.chosen[p];
      rejected[threadIdx.x] = in.pairs.rejected[p];
      of_chosen[threadIdx.x] = work.pair_grads[p];
      of_rejected[threadIdx.x] = work.pair_grads[in.pairs.count + p];
      counts[threadIdx.x] = weight_of(in.pairs, p) > 0;
    }
    __syncthreads();
    for (int j = 0; j < kThreads && j < left; j++) {
      if (chosen[j] == k) {
        grad += of_chosen[j];
        times_chosen += counts[j];
      } else if (rejected[j] == k) {
        grad += of_rejected[j];
      }
    }
    __syncthreads();
  }
  if (k >= in.items.items) return;
  work.grad_scores[k] = grad;
  work.times_chosen[k] = times_chosen;
}

}  // namespace

PreferenceInputs check_preference(LaunchContext& context, const PreferenceBatch& batch,
                                  const PreferenceOptions& options, const int32_t* labels) {
  PreferenceInputs in{};
  in.items = check_items(context, batch, options.normalization, options.allow_empty_turns, options.divides_by_length(),
                         labels);
  in.pairs = batch.pairs;
  in.options = options;
  check_pairs(context, batch.pairs, in.items.items);
  weigh_items(context, batch, in.items);
  return in;
}

void compute_preference(LaunchContext& context, const PreferenceInputs& in, int64_t tokens, const TokenLogps& logps,
                        const PreferenceOut& out) {
  const int64_t items = in.items.items, item_blocks = blocks_for(items, kThreads);
  const bool by_pair = in.options.by_pair(), batch = in.options.pair_loss.has_batch();
  TokenLogps given = logps;
  if (!in.options.use_weighting) given.sum_squared_probs = nullptr;
  const ItemSums sums = sum_items(context, in.items, given, batch, out.turn_advantages);
  const TokenPlaces places = by_pair ? place_tokens(context, in.items, tokens) : TokenPlaces{};
  Work work{};
  work.scores = by_pair ? score_pairs(context, in, places, given) : sums.scores;
  if (batch) work.matches = match_ranks(context, in, work.scores);
  work.grad_scores = context.scratch<double>(items);
  work.times_chosen = context.scratch<double>(items);
  work.pair_grads = context.scratch<double>(2 * in.pairs.count);
  work.terms = context.scratch<PairTerm>(in.pairs.count);
  work.deltas = context.scratch<double>(in.pairs.count);
  work.nll_grad = context.scratch<double>(1);

  context.launch("term_pairs_kernel", term_pairs_kernel, blocks_for(in.pairs.count, kThreads), kThreads, in, work, out,
                 context.result());
  context.launch("pairs_kernel", pairs_kernel, 1, kThreads, in, sums, work, context.result());
  context.launch("gather_grads_kernel", gather_grads_kernel, item_blocks, kThreads, in, work, context.result());
  if (by_pair) {
    grad_tokens_by_pair(context, in, places, tokens, work.pair_grads, work.times_chosen, work.nll_grad, out.grad_logps);
  } else {
    spread_grads(context, in.items, work.grad_scores, work.times_chosen, work.nll_grad, out.grad_logps);
  }
}

}  // namespace cuda

Status preference_loss(const PreferenceLoss& call) {
  cuda::LaunchContext context;
  const cuda::PreferenceInputs in = cuda::check_preference(context, call.batch, call.options, nullptr);
  cuda::compute_preference(context, in, call.batch.tokens, {call.logps, call.ref_logps, call.sum_squared_probs},
                           call.out);
  return context.finish(call.out.scalars);
}

}  // namespace sweet
