// Scores by pair: a warp for each item places its tokens, a warp for each side of a pair sums, a thread for each token
// gathers its gradient from all pairs, in their order. Ranks: a thread for each pair counts the keys before its own,
// P^2 comparisons, which no sum over tokens waits for.
#include "device.h"
#include "pair_scores.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;  // 18 to 40 registers: 1536 threads an SM or more

/** A warp per item. */
__global__ void __launch_bounds__(kThreads) place_tokens_kernel(ItemInputs in,
                                                                TokenPlaces places,  // [N], [K]
                                                                const DeviceResult* result) {
  const int64_t k = global_thread() / kWarp;
  if (has_fault(result) || k >= in.items) return;
  const unsigned lane = threadIdx.x % kWarp;
  int32_t seen = 0;
  for (int64_t t = first_turn(in, k); t < first_turn(in, k + 1); t++) {
    const double of_turn = coefficient(in, t, k);
    const int64_t last = in.turns.offsets[t + 1];
    for (int64_t first = in.turns.offsets[t]; first < last; first += kWarp) {
      const int64_t i = first + lane;
      const double m = i < last ? weight_of(in.turns, i) : 0.0;
      const unsigned counted = __ballot_sync(kAllLanes, m > 0);
      const int32_t rank = seen + __popc(counted & ((1u << lane) - 1));
      if (i < last) places.of_tokens[i] = {m > 0 ? m * of_turn : 0.0, static_cast<int32_t>(k), m > 0 ? rank : -1};
      seen += __popc(counted);
    }
  }
  if (lane == 0) places.kept[k] = seen;
}

__device__ inline int32_t shorter(const Pairs& pairs, const TokenPlaces& places, int64_t p) {
  return min(places.kept[pairs.chosen[p]], places.kept[pairs.rejected[p]]);
}

/** A warp per side of a pair. */
__global__ void __launch_bounds__(kThreads)
    score_pairs_kernel(PreferenceInputs in, TokenPlaces places, TokenLogps tokens,
                       ItemScore* scores,  // [2, P]
                       const DeviceResult* result) {
  const int64_t side = global_thread() / kWarp, pairs = in.pairs.count;
  if (has_fault(result) || side >= 2 * pairs) return;
  const int64_t p = side % pairs, k = side < pairs ? in.pairs.chosen[p] : in.pairs.rejected[p];
  const int32_t prefix = shorter(in.pairs, places, p);
  const int64_t first = in.items.turns.offsets[first_turn(in.items, k)];
  const int64_t last = in.items.turns.offsets[first_turn(in.items, k + 1)];
  double ratio = 0, policy = 0, ref = 0;
  for (int64_t i = first + threadIdx.x % kWarp; i < last; i += kWarp) {
    const TokenPlace place = places.of_tokens[i];
    if (place.rank < 0) continue;
    const double share = place.coefficient * (place.rank < prefix ? 1.0 : in.options.ld_alpha);
    if (share == 0) continue;  // it silences a log-prob of -inf
    const double logp = tokens.logps[i], of_ref = tokens.ref_logps ? tokens.ref_logps[i] : 0.0;
    ratio += share * (logp - of_ref);
    policy += share * logp;
    ref += share * of_ref;
  }
  ratio = warp_sum(ratio);
  policy = warp_sum(policy);
  ref = warp_sum(ref);
  if (threadIdx.x % kWarp != 0) return;
  const bool sum = in.items.normalization == Normalization::sum;
  scores[side] = {ratio, policy, ref, sum ? in.items.item_weights[k] : 1.0};
}

/** A thread per token; its block reads the pairs a tile at a time. */
__global__ void __launch_bounds__(kThreads) grad_tokens_kernel(PreferenceInputs in, TokenPlaces places, int64_t tokens,
                                                               const double* grads,         // [2, P]
                                                               const double* times_chosen,  // [K]
                                                               const double* nll_grad,      // [1]
                                                               float* grad_logps,           // [N]
                                                               const DeviceResult* result) {
  __shared__ int32_t chosen[kThreads], rejected[kThreads], prefixes[kThreads];
  __shared__ double of_chosen[kThreads], of_rejected[kThreads];
  if (has_fault(result)) return;
  const int64_t i = global_thread(), pairs = in.pairs.count;
  const TokenPlace place = i < tokens ? places.of_tokens[i] : TokenPlace{0, -1, -1};
  double grad = 0;
  for (int64_t first = 0; first < pairs; first += kThreads) {
    const int64_t p = first + threadIdx.x, left = pairs - first;
    if (p < pairs) {
      chosen[threadIdx.x] = in.pairs.chosen[p];
      rejected[threadIdx.x] = in.pairs.rejected[p];
      prefixes[threadIdx.x] = shorter(in.pairs, places, p);
      of_chosen[threadIdx.x] = grads[p];
      of_rejected[threadIdx.x] = grads[pairs + p];
    }
    __syncthreads();
    for (int j = 0; j < kThreads && j < left; j++) {
      const bool is_chosen = chosen[j] == place.item;
      if (!is_chosen && rejected[j] != place.item) continue;
      const double a = place.rank < prefixes[j] ? 1.0 : in.options.ld_alpha;
      grad += a * place.coefficient * (is_chosen ? of_chosen[j] : of_rejected[j]);
    }
    __syncthreads();
  }
  if (i >= tokens) return;
  const double m = place.rank < 0 ? 0.0 : weight_of(in.items.turns, i);
  grad_logps[i] = m != 0 ? static_cast<float>(grad - times_chosen[place.item] * *nll_grad * m) : 0.0f;
}

/** A thread per pair. */
__global__ void __launch_bounds__(kThreads)
    sort_keys_kernel(PreferenceInputs in, LossType type, const ItemScore* scores,
                     SortKeys* keys,  // [P]
                     const DeviceResult* result) {
  const int64_t p = global_thread();
  if (has_fault(result) || p >= in.pairs.count) return;
  keys[p] = sort_keys(type, chosen_score(in, scores, p), rejected_score(in, scores, p));
}

/** A thread per pair; its block reads the keys a tile at a time. */
__global__ void __launch_bounds__(kThreads) rank_keys_kernel(const SortKeys* keys,  // [P]
                                                             int64_t pairs,
                                                             int32_t* left_ranks,  // [P]
                                                             int32_t* right_ranks,
                                                             SortKeys* sorted,  // [P] left and right keys by rank
                                                             const DeviceResult* result) {
  __shared__ SortKeys tile[kThreads];
  if (has_fault(result)) return;
  const int64_t p = global_thread();
  const SortKeys own = p < pairs ? keys[p] : SortKeys{0, 0};
  int32_t left = 0, right = 0;
  for (int64_t first = 0; first < pairs; first += kThreads) {
    if (first + threadIdx.x < pairs) tile[threadIdx.x] = keys[first + threadIdx.x];
    __syncthreads();
    for (int j = 0; j < kThreads && first + j < pairs; j++) {
      left += ranks_before(tile[j].left, first + j, own.left, p);
      right += ranks_before(tile[j].right, first + j, own.right, p);
    }
    __syncthreads();
  }
  if (p >= pairs) return;
  left_ranks[p] = left;
  right_ranks[p] = right;
  sorted[left].left = own.left;
  sorted[right].right = own.right;
}

__global__ void __launch_bounds__(kThreads)
    match_ranks_kernel(const int32_t* left_ranks,  // [P]
                       const int32_t* right_ranks, const SortKeys* sorted, int64_t pairs,
                       RankMatch* matches,  // [P]
                       const DeviceResult* result) {
  const int64_t p = global_thread();
  if (has_fault(result) || p >= pairs) return;
  matches[p] = {sorted[left_ranks[p]].right, sorted[right_ranks[p]].left};
}

}  // namespace

TokenPlaces place_tokens(LaunchContext& context, const ItemInputs& in, int64_t tokens) {
  const TokenPlaces places{context.scratch<TokenPlace>(tokens), context.scratch<int32_t>(in.items)};
  context.launch("place_tokens_kernel", place_tokens_kernel, blocks_for(in.items * kWarp, kThreads), kThreads, in,
                 places, context.result());
  return places;
}

const ItemScore* score_pairs(LaunchContext& context, const PreferenceInputs& in, const TokenPlaces& places,
                             const TokenLogps& tokens) {
  ItemScore* const scores = context.scratch<ItemScore>(2 * in.pairs.count);
  context.launch("score_pairs_kernel", score_pairs_kernel, blocks_for(2 * in.pairs.count * kWarp, kThreads), kThreads,
                 in, places, tokens, scores, context.result());
  return scores;
}

void grad_tokens_by_pair(LaunchContext& context, const PreferenceInputs& in, const TokenPlaces& places, int64_t tokens,
                         const double* grads, const double* times_chosen, const double* nll_grad, float* grad_logps) {
  context.launch("grad_tokens_kernel", grad_tokens_kernel, blocks_for(tokens, kThreads), kThreads, in, places, tokens,
                 grads, times_chosen, nll_grad, grad_logps, context.result());
}

const RankMatch* match_ranks(LaunchContext& context, const PreferenceInputs& in, const ItemScore* scores) {
  const PairLoss& loss = in.options.pair_loss;
  const int64_t pairs = in.pairs.count, blocks = blocks_for(pairs, kThreads);
  RankMatch* const matches = context.scratch<RankMatch>(loss.count * pairs);
  SortKeys *const keys = context.scratch<SortKeys>(pairs), *const sorted = context.scratch<SortKeys>(pairs);
  int32_t *const left = context.scratch<int32_t>(pairs), *const right = context.scratch<int32_t>(pairs);
  for (int64_t j = 0; j < loss.count; j++) {
    if (!loss.is_batch(j)) continue;
    context.launch("sort_keys_kernel", sort_keys_kernel, blocks, kThreads, in, loss.terms[j].type, scores, keys,
                   context.result());
    context.launch("rank_keys_kernel", rank_keys_kernel, blocks, kThreads, keys, pairs, left, right, sorted,
                   context.result());
    context.launch("match_ranks_kernel", match_ranks_kernel, blocks, kThreads, left, right, sorted, pairs,
                   matches + j * pairs, context.result());
  }
  return matches;
}

}  // namespace cuda
}  // namespace sweet
