// The checks of ../layout.h on the device. They record faults, which later kernels and finish() see.
#pragma once

#include "../layout.h"
#include "launch.h"

namespace sweet {
namespace cuda {

/** The checked copy, [N], until the operation ends. */
const int32_t* check_labels(LaunchContext& context, const Labels& labels, int64_t rows, const VocabShard& shard);

void check_turn_offsets(LaunchContext& context, const int32_t* offsets, int64_t turns, int64_t tokens);
void check_trajectory_offsets(LaunchContext& context, const int32_t* offsets, int64_t trajectories, int64_t turns);
void check_pairs(LaunchContext& context, const Pairs& pairs, int64_t items);
/** Weights of items, [items]; null: none. */
void check_unit_weights(LaunchContext& context, const float* weights, int64_t items);

/** Turns, and their tokens, of which those are kept that the labels keep or, where there is one, their checked copy. */
struct Turns {
  const int32_t* offsets;  // [T+1]
  int64_t count;           // T
  Labels labels;           // [N]
  const int32_t* checked;  // [N] checked labels, or null
};

/** What token i counts: 0 where it is masked or ignored, else 1 or its weight. */
SWEET_HOST_DEVICE inline double weight_of(const Turns& turns, int64_t i) {
  return token_weight(turns.labels, i, turns.checked ? turns.checked[i] >= 0 : is_kept(turns.labels, i));
}

/** Checks the weights of all tokens, of which there are N, and adds up those of each turn, [T]; a turn without any is a
 * fault unless empty turns are allowed. */
const double* weigh_turns(LaunchContext& context, const Turns& turns, int64_t tokens, bool allow_empty);

// Threads of a block of kernels that take a warp for each turn, whose tokens are contiguous. 24 to 54 registers: an SM
// runs 1152 to 2048 threads, with 256 too; a smaller block leaves less idle where turns are few.
constexpr int kTurnThreads = 128;
inline int64_t blocks_for_turns(int64_t turns) { return blocks_for(turns, kTurnThreads / 32); }

}  // namespace cuda
}  // namespace sweet
