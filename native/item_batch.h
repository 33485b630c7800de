// Batches of items, turns or trajectories, whose scores a loss compares: sums over the tokens of their log-probs.
//
//   N tokens, T turns, K trajectories
#pragma once

#include "layout.h"

namespace sweet {

/** What an item is. */
enum class PreferenceLevel : int32_t { turn, trajectory };

/** How the log-ratios of an item's tokens become its score; the formulas are in preference_loss.h. */
enum class Normalization : int32_t { turn_mean, token_mean, sum };

struct ItemBatch {
  PreferenceLevel level;
  int64_t tokens, turns, trajectories;  // trajectories: 0 where turns are compared
  Labels labels;                        // of the tokens; without data the mask alone counts
  const int32_t* turn_offsets;          // [T+1] into tokens
  const int32_t* trajectory_offsets;    // [K+1] into turns; null where turns are compared

  bool of_trajectories() const { return level == PreferenceLevel::trajectory; }
  int64_t items() const { return of_trajectories() ? trajectories : turns; }
};

/** dS/drho of a token of weight 1, in a turn and an item whose tokens have these weights in all. */
SWEET_HOST_DEVICE inline double score_coefficient(Normalization normalization, double turn_weight, double item_weight) {
  switch (normalization) {
    case Normalization::turn_mean:
      return turn_weight > 0 ? 1.0 / turn_weight : 0.0;
    case Normalization::token_mean:
      return item_weight > 0 ? 1.0 / item_weight : 0.0;
    case Normalization::sum:
      break;
  }
  return 1.0;
}

/** The trained model's log-probs, the reference's (null: there is no reference), and sum_v p_iv^2 (or null), [N]. */
struct TokenLogps {
  const float *logps, *ref_logps, *sum_squared_probs;
};

}  // namespace sweet
