// The policy-gradient loss of ../policy_gradient.h and its gradients at log-probs and entropies: N tokens, T turns, K
// trajectories; a unit is what has one ratio.
//
//   check: a warp per trajectory counts its tokens L_k, one block all tokens and sequences (D), a warp per trajectory
//   writes c_i = 1 / (L_k D) where a sequence's mean comes first.
//   loss:  a thread per token, or a warp per turn or trajectory, which reads its tokens twice, for the ratio and for
//   the slopes that all of its tokens share, and a third time to write; then one block adds the sums of the blocks.
//
// All sums are float64, in an order that follows from the shapes.
#include "device.h"
#include "layout.h"
#include "policy_gradient.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;  // compute_units_kernel has 66 registers: 768 threads an SM; the others 38 at most
constexpr int kWarps = kThreads / kWarp;

/** What a unit's threads add up: one thread's value, or that of the lanes of a warp. */
template <int kLanes>
__device__ inline double unit_sum(double x) {
  return kLanes > 1 ? warp_sum(x) : x;
}

__device__ inline bool counts(const PolicyGradientInputs& in, int64_t i) { return in.labels[i] >= 0; }

__device__ inline double coefficient(const PolicyGradientInputs& in, int64_t i) {
  return in.coefficients ? in.coefficients[i] : 1 / in.totals->denominator;
}

/** A warp per trajectory. */
__global__ void __launch_bounds__(kTurnThreads) count_tokens_kernel(PolicyGradientInputs in,
                                                                    double* lengths,  // [K]
                                                                    const DeviceResult* result) {
  const int64_t k = global_thread() / kWarp;
  if (has_fault(result) || k >= in.batch.trajectories) return;
  const TokenRange tokens = in.batch.unit(RatioLevel::trajectory, k);
  double count = 0;
  for (int64_t i = tokens.first + threadIdx.x % kWarp; i < tokens.last; i += kWarp) count += counts(in, i);
  count = warp_sum(count);
  if (threadIdx.x % kWarp == 0) lengths[k] = count;
}

/** One block. */
__global__ void __launch_bounds__(kThreads)
    count_batch_kernel(PolicyGradientInputs in,
                       const double* lengths,  // [K] or null
                       PolicyGradientTotals* totals, const DeviceResult* result) {
  __shared__ double shared[kWarps];
  if (has_fault(result)) return;
  double tokens = 0, sequences = 0;
  for (int64_t i = threadIdx.x; i < in.batch.tokens; i += kThreads) tokens += counts(in, i);
  for (int64_t k = threadIdx.x; lengths && k < in.batch.trajectories; k += kThreads) sequences += lengths[k] > 0;
  tokens = block_sum(tokens, shared);
  sequences = block_sum(sequences, shared);
  if (threadIdx.x != 0) return;
  const double of_call = lengths ? sequences : tokens;
  *totals = {tokens, in.options.denominator > 0 ? in.options.denominator : of_call};
}

/** A warp per trajectory. */
__global__ void __launch_bounds__(kTurnThreads) coefficients_kernel(PolicyGradientInputs in,
                                                                    const double* lengths,  // [K]
                                                                    double* coefficients,   // [N]
                                                                    const DeviceResult* result) {
  const int64_t k = global_thread() / kWarp;
  if (has_fault(result) || k >= in.batch.trajectories) return;
  const TokenRange tokens = in.batch.unit(RatioLevel::trajectory, k);
  const double c = 1 / (lengths[k] * in.totals->denominator);
  for (int64_t i = tokens.first + threadIdx.x % kWarp; i < tokens.last; i += kWarp) coefficients[i] = c;
}

/** The gradients at the tokens of a unit, by kLanes threads; adds this thread's tokens to the sums. */
template <int kLanes>
__device__ inline void compute_unit(const PolicyGradientInputs& in, const TokenRange& unit, const TokenLogps& logps,
                                    PolicySums* sums) {
  const PolicyGradientOptions& options = in.options;
  const int64_t first = unit.first + threadIdx.x % kLanes;
  double sum = 0, count = 0, slopes = 0;
  for (int64_t i = first; i < unit.last; i += kLanes) {
    if (!counts(in, i)) continue;
    sum += in.batch.log_ratio(i, logps.logps[i]);
    count += 1;
  }
  sum = unit_sum<kLanes>(sum);
  count = unit_sum<kLanes>(count);
  const double mean = count > 0 ? sum / count : 0.0, ratio = exp(clamp_exponent(mean));
  for (int64_t i = first; i < unit.last; i += kLanes) {
    if (!counts(in, i)) continue;
    const PolicyTerm term = in.batch.term(options, i, ratio, logps.logps[i]);
    const double weight = coefficient(in, i) * in.batch.importance_weight(i);
    sums->policy_loss += weight * term.loss;
    sums->clipped += term.clipped;
    slopes += weight * term.slope;
  }
  slopes = unit_sum<kLanes>(slopes);
  const double each = is_clamped(mean) ? 0.0 : slopes / count;
  for (int64_t i = first; i < unit.last; i += kLanes) {
    float grad = 0, grad_entropy = 0;
    if (counts(in, i)) {
      const double c = coefficient(in, i), logp = logps.logps[i];
      const double of_policy =
          options.of_logp() ? c * in.batch.importance_weight(i) * in.batch.term(options, i, ratio, logp).slope : each;
      const double of_kl = add_kl_and_entropy(options, c, in.batch.log_ratio(i, logp), logp,
                                              logps.ref_logps ? &logps.ref_logps[i] : nullptr,
                                              in.entropy ? &in.entropy[i] : nullptr, sums);
      grad = static_cast<float>(of_policy + of_kl);
      grad_entropy = static_cast<float>(-options.entropy_coef * c);
    }
    in.grad_logps[i] = grad;
    if (in.grad_entropy) in.grad_entropy[i] = grad_entropy;
  }
}

/**
 * A thread per token, or a warp per turn or trajectory. Without the bound of 2 blocks an SM the compiler spills 8 bytes
 * for sm_90.
 */
template <int kLanes>
__global__ void __launch_bounds__(kThreads, 2) compute_units_kernel(PolicyGradientInputs in,
                                                                    TokenLogps logps,       // [N] each
                                                                    PolicySums* of_blocks,  // [blocks]
                                                                    const DeviceResult* result) {
  __shared__ double shared[kWarps];
  if (has_fault(result)) return;
  const int64_t u = global_thread() / kLanes;
  PolicySums sums{};
  if (u < in.batch.units(in.options.ratio_level)) {
    compute_unit<kLanes>(in, in.batch.unit(in.options.ratio_level, u), logps, &sums);
  }
  sums.policy_loss = block_sum(sums.policy_loss, shared);
  sums.kl = block_sum(sums.kl, shared);
  sums.entropy = block_sum(sums.entropy, shared);
  sums.approx_kl = block_sum(sums.approx_kl, shared);
  sums.clipped = block_sum(sums.clipped, shared);
  if (threadIdx.x == 0) of_blocks[blockIdx.x] = sums;
}

/** A thread per row of a chunk. */
__global__ void __launch_bounds__(kThreads) compute_tokens_kernel(PolicyGradientInputs in,
                                                                  TokenLogps logps,       // [N] each
                                                                  const int64_t* tokens,  // [count]
                                                                  int64_t count, const DeviceResult* result) {
  const int64_t r = global_thread();
  if (has_fault(result) || r >= count) return;
  PolicySums unused{};
  compute_unit<1>(in, {tokens[r], tokens[r] + 1}, logps, &unused);
}

/** One block. */
__global__ void __launch_bounds__(kThreads) add_blocks_kernel(PolicyGradientInputs in,
                                                              const PolicySums* of_blocks,  // [blocks]
                                                              int64_t blocks, DeviceResult* result) {
  __shared__ double shared[kWarps];
  if (has_fault(result)) return;
  PolicySums sums{};
  for (int64_t b = threadIdx.x; b < blocks; b += kThreads) {
    sums.policy_loss += of_blocks[b].policy_loss;
    sums.kl += of_blocks[b].kl;
    sums.entropy += of_blocks[b].entropy;
    sums.approx_kl += of_blocks[b].approx_kl;
    sums.clipped += of_blocks[b].clipped;
  }
  sums.policy_loss = block_sum(sums.policy_loss, shared);
  sums.kl = block_sum(sums.kl, shared);
  sums.entropy = block_sum(sums.entropy, shared);
  sums.approx_kl = block_sum(sums.approx_kl, shared);
  sums.clipped = block_sum(sums.clipped, shared);
  if (threadIdx.x == 0) write_scalars(in.options, sums, in.totals->tokens, result->scalars);
}

}  // namespace

void PolicyGradient::check(LaunchContext& context, const int32_t* labels) {
  const PolicyGradientBatch& batch = call_.batch;
  PolicyGradientInputs in{};
  in.batch = batch;
  in.options = call_.options;
  in.labels = labels;
  in.entropy = call_.entropy;
  if (batch.turn_offsets) check_turn_offsets(context, batch.turn_offsets, batch.turns, batch.tokens);
  if (batch.trajectory_offsets) {
    check_trajectory_offsets(context, batch.trajectory_offsets, batch.trajectories, batch.turns);
  }
  const int64_t blocks = blocks_for_turns(batch.trajectories);
  const bool by_sequence = in.options.by_sequence();
  double* const lengths = by_sequence ? context.scratch<double>(batch.trajectories) : nullptr;
  PolicyGradientTotals* const totals = context.scratch<PolicyGradientTotals>(1);
  if (by_sequence) {
    context.launch("count_tokens_kernel", count_tokens_kernel, blocks, kTurnThreads, in, lengths, context.result());
  }
  context.launch("count_batch_kernel", count_batch_kernel, 1, kThreads, in, lengths, totals, context.result());
  in.totals = totals;
  if (in.options.reduction == LossReduction::sequence_mean_token_mean) {
    double* const coefficients = context.scratch<double>(batch.tokens);
    context.launch("coefficients_kernel", coefficients_kernel, blocks, kTurnThreads, in, lengths, coefficients,
                   context.result());
    in.coefficients = coefficients;
  }
  in.grad_logps = context.scratch<float>(batch.tokens);
  if (in.options.entropy_coef != 0) in.grad_entropy = context.scratch<float>(batch.tokens);
  inputs_ = in;
}

void PolicyGradient::compute(LaunchContext& context, const TokenLogps& logps) {
  const int lanes = by_token() ? 1 : kWarp;
  const int64_t blocks = blocks_for(inputs_.batch.units(inputs_.options.ratio_level) * lanes, kThreads);
  PolicySums* const of_blocks = context.scratch<PolicySums>(blocks);
  context.launch("compute_units_kernel", by_token() ? compute_units_kernel<1> : compute_units_kernel<kWarp>, blocks,
                 kThreads, inputs_, logps, of_blocks, context.result());
  context.launch("add_blocks_kernel", add_blocks_kernel, 1, kThreads, inputs_, of_blocks, blocks, context.result());
}

void PolicyGradient::compute_tokens(LaunchContext& context, const TokenLogps& logps, const int64_t* tokens,
                                    int64_t count) {
  context.launch("compute_tokens_kernel", compute_tokens_kernel, blocks_for(count, kThreads), kThreads, inputs_, logps,
                 tokens, count, context.result());
}

}  // namespace cuda
}  // namespace sweet
