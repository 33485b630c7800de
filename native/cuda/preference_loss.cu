// A warp per turn, a thread per unit, one block over the pairs, and back: units gather from the pairs that they stand
// in, in the pairs' order, so that no sum depends on which thread came first.
#include "device.h"
#include "preference.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

/** Sums over turns and units, and what each gets back. */
struct Work {
  double *turn_ratios, *turn_logps;                            // [T] sum log-ratio, sum logp
  double *unit_scores, *unit_logps, *unit_slopes, *unit_nlls;  // [U] S, sum logp, dloss/dS, times chosen
  double* pair_slopes;                                         // [P] dloss/dS_chosen
  double* nll_slope;  // -dloss/dlogp of a chosen token, for each time it is chosen
};

__device__ inline int64_t first_turn(const PreferenceUnits& in, int64_t k) {
  return in.unit_offsets ? in.unit_offsets[k] : k;
}

__device__ inline double coefficient(const PreferenceUnits& in, int64_t t, int64_t k) {
  return coefficient_of(in.options.normalization, in.turn_lengths[t], in.unit_lengths[k]);
}

__global__ void __launch_bounds__(kThreads) count_units_kernel(PreferenceUnits in, Outcome* outcome) {
  const int64_t k = global_thread();
  if (unsound(outcome) || k >= in.units) return;
  int64_t length = 0;
  for (int64_t t = first_turn(in, k); t < first_turn(in, k + 1); t++) {
    in.turn_units[t] = static_cast<int32_t>(k);
    length += in.turn_lengths[t];
  }
  in.unit_lengths[k] = length;
  const bool mean = in.options.normalization == Normalization::token_mean;
  if (length == 0 && mean && !in.options.allow_empty_turns) refuse(&outcome->empty_fault, Rule::empty_trajectory, k);
}

__global__ void __launch_bounds__(kTurnThreads)
    sum_turns_kernel(PreferenceUnits in, const float* logps, const float* ref_logps, Work work, float* advantages,
                     const Outcome* outcome) {
  const int64_t t = global_thread() / kWarp;
  if (refused(outcome) || t >= in.turns.count) return;
  double ratios = 0, chosen = 0;
  for (int64_t i = in.turns.offsets[t] + threadIdx.x % kWarp; i < in.turns.offsets[t + 1]; i += kWarp) {
    if (!keeps(in.turns, i)) continue;
    ratios += static_cast<double>(logps[i]) - ref_logps[i];
    chosen += logps[i];
  }
  ratios = warp_sum(ratios);
  chosen = warp_sum(chosen);
  if (threadIdx.x % kWarp != 0) return;
  work.turn_ratios[t] = ratios;
  work.turn_logps[t] = chosen;
  const bool mean = in.options.normalization == Normalization::turn_mean;
  advantages[t] = static_cast<float>(mean ? ratios * coefficient(in, t, in.turn_units[t]) : ratios);
}

__global__ void __launch_bounds__(kThreads) score_units_kernel(PreferenceUnits in, Work work, const Outcome* outcome) {
  const int64_t k = global_thread();
  if (refused(outcome) || k >= in.units) return;
  double score = 0, logps = 0;
  for (int64_t t = first_turn(in, k); t < first_turn(in, k + 1); t++) {
    score += work.turn_ratios[t] * coefficient(in, t, k);
    logps += work.turn_logps[t];
  }
  work.unit_scores[k] = score;
  work.unit_logps[k] = logps;
}

/** One block: the losses of all pairs and their sums, by which the slopes are divided. */
__global__ void __launch_bounds__(kThreads)
    pairs_kernel(PreferenceUnits in, Work work, PreferenceOut out, Outcome* outcome) {
  __shared__ double room[kWarps];
  if (refused(outcome)) return;
  const PreferenceOptions& options = in.options;
  const Pairs& pairs = in.pairs;
  double weight_sum = 0, tokens = 0;
  for (int64_t p = threadIdx.x; p < pairs.count; p += kThreads) {
    weight_sum += pairs.weights ? pairs.weights[p] : 1.0f;
    tokens += static_cast<double>(in.unit_lengths[pairs.chosen[p]]);
  }
  weight_sum = block_sum(weight_sum, room);
  tokens = block_sum(tokens, room);
  const double denominator = options.pair_denominator > 0 ? options.pair_denominator : weight_sum;
  const double nll_tokens = options.nll_denominator > 0 ? options.nll_denominator : tokens;

  const double beta = options.pair_loss.beta;
  double loss = 0, nll = 0, wins = 0;
  for (int64_t p = threadIdx.x; p < pairs.count; p += kThreads) {
    const double chosen = work.unit_scores[pairs.chosen[p]], rejected = work.unit_scores[pairs.rejected[p]];
    const double delta = chosen - rejected;
    const PairTerm term = pair_term(options.pair_loss, delta);
    out.pair_losses[p] = static_cast<float>(term.loss);
    out.margins[p] = static_cast<float>(beta * delta);
    out.chosen_rewards[p] = static_cast<float>(beta * chosen);
    out.rejected_rewards[p] = static_cast<float>(beta * rejected);
    wins += delta > 0;
    nll -= work.unit_logps[pairs.chosen[p]];
    // A pair of weight 0 is absent, be its loss infinite.
    const double weight = (pairs.weights ? pairs.weights[p] : 1.0f) / denominator;
    if (weight != 0) loss += weight * term.loss;
    work.pair_slopes[p] = weight != 0 ? weight * term.slope : 0;
  }
  loss = block_sum(loss, room);
  nll = block_sum(nll, room);
  wins = block_sum(wins, room);
  if (threadIdx.x != 0) return;
  const double nll_loss = nll_tokens > 0 ? nll / nll_tokens : 0;
  *work.nll_slope = options.nll_coef > 0 && nll_tokens > 0 ? options.nll_coef / nll_tokens : 0;
  outcome->scalars[0] = options.nll_coef > 0 ? loss + options.nll_coef * nll_loss : loss;
  outcome->scalars[1] = loss;
  outcome->scalars[2] = nll_loss;
  outcome->scalars[3] = wins / static_cast<double>(pairs.count);
}

/** A thread per unit; its block reads the pairs a tile at a time. */
__global__ void __launch_bounds__(kThreads)
    gather_slopes_kernel(PreferenceUnits in, Work work, const Outcome* outcome) {
  __shared__ int32_t chosen[kThreads], rejected[kThreads];
  __shared__ double slopes[kThreads];
  if (refused(outcome)) return;
  const int64_t k = global_thread();
  double slope = 0, times_chosen = 0;
  for (int64_t first = 0; first < in.pairs.count; first += kThreads) {
    const int64_t p = first + threadIdx.x, left = in.pairs.count - first;
    if (p < in.pairs.count) {
      chosen[threadIdx.x] = in.pairs.chosen[p];
      rejected[threadIdx.x] = in.pairs.rejected[p];
      slopes[threadIdx.x] = work.pair_slopes[p];
    }
    __syncthreads();
    for (int j = 0; j < kThreads && j < left; j++) {
      if (chosen[j] == k) {
        slope += slopes[j];
        times_chosen += 1;
      } else if (rejected[j] == k) {
        slope -= slopes[j];
      }
    }
    __syncthreads();
  }
  if (k >= in.units) return;
  work.unit_slopes[k] = slope;
  work.unit_nlls[k] = times_chosen;
}

__global__ void __launch_bounds__(kTurnThreads)
    grad_turns_kernel(PreferenceUnits in, Work work, float* grad_logps, const Outcome* outcome) {
  const int64_t t = global_thread() / kWarp;
  if (refused(outcome) || t >= in.turns.count) return;
  const int64_t k = in.turn_units[t];
  const double grad = work.unit_slopes[k] * coefficient(in, t, k) - work.unit_nlls[k] * *work.nll_slope;
  for (int64_t i = in.turns.offsets[t] + threadIdx.x % kWarp; i < in.turns.offsets[t + 1]; i += kWarp) {
    grad_logps[i] = keeps(in.turns, i) ? static_cast<float>(grad) : 0.0f;
  }
}

}  // namespace

PreferenceUnits check_preference(Run& run, const PreferenceBatch& batch, const PreferenceOptions& options, Units units,
                                 const int32_t* labels) {
  const bool of_trajectories = units == Units::trajectories;
  PreferenceUnits in{};
  in.turns = {batch.turn_offsets, batch.turns, batch.mask, labels};
  in.unit_offsets = of_trajectories ? batch.trajectory_offsets : nullptr;
  in.units = of_trajectories ? batch.trajectories : batch.turns;
  in.pairs = batch.pairs;
  in.options = options;

  check_turn_offsets(run, batch.turn_offsets, batch.turns, batch.tokens);
  if (of_trajectories) check_trajectory_offsets(run, batch.trajectory_offsets, batch.trajectories, batch.turns);
  check_pairs(run, batch.pairs, in.units);
  const bool may_be_empty = options.allow_empty_turns || options.normalization != Normalization::turn_mean;
  in.turn_lengths = count_turns(run, in.turns, may_be_empty);
  in.turn_units = run.scratch<int32_t>(batch.turns);
  in.unit_lengths = run.scratch<int64_t>(in.units);
  run.launch("count_units_kernel", count_units_kernel, blocks_for(in.units, kThreads), kThreads, in, run.outcome());
  return in;
}

void compute_preference(Run& run, const PreferenceUnits& in, const float* logps, const float* ref_logps,
                        const PreferenceOut& out) {
  const int64_t turns = in.turns.count, turn_blocks = blocks_for_turns(turns);
  const int64_t unit_blocks = blocks_for(in.units, kThreads);
  Work work{};
  work.turn_ratios = run.scratch<double>(turns);
  work.turn_logps = run.scratch<double>(turns);
  work.unit_scores = run.scratch<double>(in.units);
  work.unit_logps = run.scratch<double>(in.units);
  work.unit_slopes = run.scratch<double>(in.units);
  work.unit_nlls = run.scratch<double>(in.units);
  work.pair_slopes = run.scratch<double>(in.pairs.count);
  work.nll_slope = run.scratch<double>(1);

  run.launch("sum_turns_kernel", sum_turns_kernel, turn_blocks, kTurnThreads, in, logps, ref_logps, work,
             out.turn_advantages, run.outcome());
  run.launch("score_units_kernel", score_units_kernel, unit_blocks, kThreads, in, work, run.outcome());
  run.launch("pairs_kernel", pairs_kernel, 1, kThreads, in, work, out, run.outcome());
  run.launch("gather_slopes_kernel", gather_slopes_kernel, unit_blocks, kThreads, in, work, run.outcome());
  run.launch("grad_turns_kernel", grad_turns_kernel, turn_blocks, kTurnThreads, in, work, out.grad_logps,
             run.outcome());
}

Status preference_of(const PreferenceBatch& batch, const PreferenceOptions& options, Units units, const float* logps,
                     const float* ref_logps, const PreferenceOut& out) {
  Run run;
  const PreferenceUnits in = check_preference(run, batch, options, units, nullptr);
  compute_preference(run, in, logps, ref_logps, out);
  return run.finish(out.scalars);
}

}  // namespace cuda
}  // namespace sweet
