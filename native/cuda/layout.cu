#include "device.h"
#include "layout.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    check_labels_kernel(Labels labels, int64_t rows, Words words, int32_t* checked, Outcome* outcome) {
  const int64_t i = global_thread();
  if (i < rows && !checked_label(labels, i, words, &checked[i])) refuse(&outcome->fault, Rule::label, i);
}

__global__ void __launch_bounds__(kThreads)
    check_offsets_kernel(const int32_t* offsets, int64_t groups, int64_t total, Rule rule, Outcome* outcome) {
  const int64_t i = global_thread();
  if (i > groups) return;
  const int32_t last = i > 0 ? offsets[i - 1] : 0;
  if (!offset_fits(offsets[i], last, i, groups, total)) refuse(&outcome->fault, rule, i);
}

/** One block: whether any weight is above 0 is known when all were seen. */
__global__ void __launch_bounds__(kThreads) check_pairs_kernel(Pairs pairs, int64_t units, Outcome* outcome) {
  __shared__ double room[kThreads / kWarp];
  double above_zero = 0;
  for (int64_t p = threadIdx.x; p < pairs.count; p += kThreads) {
    const float weight = pairs.weights ? pairs.weights[p] : 1.0f;
    if (pair_fault(pairs.chosen[p], pairs.rejected[p], weight, units) != Code::ok)
      refuse(&outcome->fault, Rule::pair, p);
    above_zero += weight > 0;
  }
  above_zero = block_sum(above_zero, room);
  if (threadIdx.x == 0 && above_zero == 0) refuse(&outcome->fault, Rule::zero_weights, 0);
}

__global__ void __launch_bounds__(kTurnThreads)
    count_turns_kernel(Turns turns, bool may_be_empty, int32_t* lengths, Outcome* outcome) {
  if (unsound(outcome)) return;
  const int64_t t = global_thread() / kWarp;
  if (t >= turns.count) return;
  double length = 0;
  for (int64_t i = turns.offsets[t] + threadIdx.x % kWarp; i < turns.offsets[t + 1]; i += kWarp) {
    length += keeps(turns, i);
  }
  length = warp_sum(length);
  if (threadIdx.x % kWarp != 0) return;
  lengths[t] = static_cast<int32_t>(length);
  if (length == 0 && !may_be_empty) refuse(&outcome->empty_fault, Rule::empty_turn, t);
}

}  // namespace

const int32_t* check_labels(Run& run, const Labels& labels, int64_t rows, const Words& words) {
  run.sources.labels = labels;
  int32_t* const checked = run.scratch<int32_t>(rows);
  run.launch("check_labels_kernel", check_labels_kernel, blocks_for(rows, kThreads), kThreads, labels, rows, words,
             checked, run.outcome());
  return checked;
}

void check_turn_offsets(Run& run, const int32_t* offsets, int64_t turns, int64_t tokens) {
  run.sources.turn_offsets = offsets;
  run.launch("check_offsets_kernel", check_offsets_kernel, blocks_for(turns + 1, kThreads), kThreads, offsets, turns,
             tokens, Rule::turn_offsets, run.outcome());
}

void check_trajectory_offsets(Run& run, const int32_t* offsets, int64_t trajectories, int64_t turns) {
  run.sources.trajectory_offsets = offsets;
  run.launch("check_offsets_kernel", check_offsets_kernel, blocks_for(trajectories + 1, kThreads), kThreads, offsets,
             trajectories, turns, Rule::trajectory_offsets, run.outcome());
}

void check_pairs(Run& run, const Pairs& pairs, int64_t units) {
  run.sources.pairs = pairs;
  run.sources.units = units;
  run.launch("check_pairs_kernel", check_pairs_kernel, 1, kThreads, pairs, units, run.outcome());
}

const int32_t* count_turns(Run& run, const Turns& turns, bool may_be_empty) {
  int32_t* const lengths = run.scratch<int32_t>(turns.count);
  run.launch("count_turns_kernel", count_turns_kernel, blocks_for_turns(turns.count), kTurnThreads, turns, may_be_empty,
             lengths, run.outcome());
  return lengths;
}

}  // namespace cuda
}  // namespace sweet
