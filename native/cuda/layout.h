// The checks of layout.h on the device. They find faults; what follows in the run sees them.
#pragma once

#include "../preference.h"
#include "run.h"

namespace sweet {
namespace cuda {

/** The checked copy, until the run ends. */
const int32_t* check_labels(Run& run, const Labels& labels, int64_t rows, const Words& words);

void check_turn_offsets(Run& run, const int32_t* offsets, int64_t turns, int64_t tokens);
void check_trajectory_offsets(Run& run, const int32_t* offsets, int64_t trajectories, int64_t turns);
void check_pairs(Run& run, const Pairs& pairs, int64_t units);

/** Turns and their tokens; a token counts unless the mask or (where there are any) its checked label drops it. */
struct Turns {
  const int32_t* offsets;  // [T+1]
  int64_t count;
  const uint8_t* mask;    // [N] or null
  const int32_t* labels;  // [N] checked, or null
};

SWEET_HOST_DEVICE inline bool keeps(const Turns& turns, int64_t i) {
  return (!turns.mask || turns.mask[i] != 0) && (!turns.labels || turns.labels[i] >= 0);
}

/** How many tokens of each turn count, [T]; refuses a turn without one unless it may be empty. */
const int32_t* count_turns(Run& run, const Turns& turns, bool may_be_empty);

constexpr int kTurnThreads = 128;  // a warp takes a turn
inline int64_t blocks_for_turns(int64_t turns) { return blocks_for(turns, kTurnThreads / 32); }

}  // namespace cuda
}  // namespace sweet
