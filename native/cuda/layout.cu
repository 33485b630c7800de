// Checks of labels, weights, offsets and pairs by the rules of ../layout.h, which the CPU uses too. A thread takes an
// element; of several faults the first in the order of the rules, then of the indices, is reported:
//
//   fault = min over (rule, index) of rule * 2^40 + index
//
// Checked labels are a copy; offsets and pairs are used where they are.
#include "device.h"
#include "layout.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;  // 10 to 26 registers: 2048 threads an SM, with 128 or 512 too

__global__ void __launch_bounds__(kThreads) check_labels_kernel(Labels labels,  // [N] label and mask
                                                                int64_t rows, VocabShard shard,
                                                                int32_t* checked,  // [N]
                                                                DeviceResult* result) {
  const int64_t i = global_thread();
  if (i < rows && !checked_label(labels, i, shard, &checked[i])) record_fault(&result->layout_fault, Rule::label, i);
}

__global__ void __launch_bounds__(kThreads)
    check_offsets_kernel(const int32_t* offsets,  // [groups + 1]
                         int64_t groups, int64_t total, Rule rule, DeviceResult* result) {
  const int64_t i = global_thread();
  if (i > groups) return;
  const int32_t last = i > 0 ? offsets[i - 1] : 0;
  if (!offset_fits(offsets[i], last, i, groups, total)) record_fault(&result->layout_fault, rule, i);
}

/** One block: whether any weight is above 0 is known once all are read. */
__global__ void __launch_bounds__(kThreads) check_pairs_kernel(Pairs pairs,  // [P] chosen, rejected, weights
                                                               int64_t items, DeviceResult* result) {
  __shared__ double shared[kThreads / kWarp];
  double positive = 0;
  for (int64_t p = threadIdx.x; p < pairs.count; p += kThreads) {
    const float weight = pairs.weights ? pairs.weights[p] : 1.0f;
    if (pair_fault(pairs.chosen[p], pairs.rejected[p], weight, items) != Code::ok) {
      record_fault(&result->layout_fault, Rule::pair, p);
    }
    positive += weight > 0;
  }
  positive = block_sum(positive, shared);
  if (threadIdx.x == 0 && positive == 0) record_fault(&result->layout_fault, Rule::zero_weights, 0);
}

__global__ void __launch_bounds__(kThreads) check_unit_weights_kernel(const float* weights,  // [items]
                                                                      int64_t items, DeviceResult* result) {
  const int64_t k = global_thread();
  if (k < items && !is_weight(weights[k])) record_fault(&result->layout_fault, Rule::unit_weight, k);
}

__global__ void __launch_bounds__(kThreads) check_weights_kernel(Turns turns,  // T turns over N tokens
                                                                 int64_t tokens, DeviceResult* result) {
  const int64_t i = global_thread();
  if (i < tokens && !is_weight(static_cast<float>(weight_of(turns, i)))) {
    record_fault(&result->layout_fault, Rule::token_weight, i);
  }
}

/** A warp per turn. */
__global__ void __launch_bounds__(kTurnThreads) weigh_turns_kernel(Turns turns,  // T turns over N tokens
                                                                   bool allow_empty,
                                                                   double* weights,  // [T]
                                                                   DeviceResult* result) {
  if (has_layout_fault(result)) return;
  const int64_t t = global_thread() / kWarp;
  if (t >= turns.count) return;
  double total = 0;
  for (int64_t i = turns.offsets[t] + threadIdx.x % kWarp; i < turns.offsets[t + 1]; i += kWarp) {
    total += weight_of(turns, i);
  }
  total = warp_sum(total);
  if (threadIdx.x % kWarp != 0) return;
  weights[t] = total;
  if (total == 0 && !allow_empty) record_fault(&result->empty_fault, Rule::empty_turn, t);
}

}  // namespace

const int32_t* check_labels(LaunchContext& context, const Labels& labels, int64_t rows, const VocabShard& shard) {
  context.checked.labels = labels;
  int32_t* const checked = context.scratch<int32_t>(rows);
  context.launch("check_labels_kernel", check_labels_kernel, blocks_for(rows, kThreads), kThreads, labels, rows, shard,
                 checked, context.result());
  return checked;
}

void check_turn_offsets(LaunchContext& context, const int32_t* offsets, int64_t turns, int64_t tokens) {
  context.checked.turn_offsets = offsets;
  context.launch("check_offsets_kernel", check_offsets_kernel, blocks_for(turns + 1, kThreads), kThreads, offsets,
                 turns, tokens, Rule::turn_offsets, context.result());
}

void check_trajectory_offsets(LaunchContext& context, const int32_t* offsets, int64_t trajectories, int64_t turns) {
  context.checked.trajectory_offsets = offsets;
  context.launch("check_offsets_kernel", check_offsets_kernel, blocks_for(trajectories + 1, kThreads), kThreads,
                 offsets, trajectories, turns, Rule::trajectory_offsets, context.result());
}

void check_pairs(LaunchContext& context, const Pairs& pairs, int64_t items) {
  context.checked.pairs = pairs;
  context.checked.items = items;
  context.launch("check_pairs_kernel", check_pairs_kernel, 1, kThreads, pairs, items, context.result());
}

void check_unit_weights(LaunchContext& context, const float* weights, int64_t items) {
  context.checked.unit_weights = weights;
  if (!weights) return;
  context.launch("check_unit_weights_kernel", check_unit_weights_kernel, blocks_for(items, kThreads), kThreads, weights,
                 items, context.result());
}

const double* weigh_turns(LaunchContext& context, const Turns& turns, int64_t tokens, bool allow_empty) {
  if (turns.labels.weights) {
    context.checked.token_weights = turns.labels.weights;
    context.launch("check_weights_kernel", check_weights_kernel, blocks_for(tokens, kThreads), kThreads, turns, tokens,
                   context.result());
  }
  double* const weights = context.scratch<double>(turns.count);
  context.launch("weigh_turns_kernel", weigh_turns_kernel, blocks_for_turns(turns.count), kTurnThreads, turns,
                 allow_empty, weights, context.result());
  return weights;
}

}  // namespace cuda
}  // namespace sweet
