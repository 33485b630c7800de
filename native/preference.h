// What both preference losses share: the batch, the options, the results. The losses differ in what a pair compares:
// trajectories (trajectory_preference.h) or turns (turn_preference.h), both called units here.
//
//   N tokens, T turns, K trajectories, P pairs
#pragma once

#include "layout.h"
#include "pair_loss.h"

namespace sweet {

/** How the log-ratios of a unit's tokens become its score. For a turn, turn_mean is its mean. */
enum class Normalization : int32_t { turn_mean, token_mean, sum };

/** What a pair compares. */
enum class Units { turns, trajectories };

struct PreferenceBatch {
  int64_t tokens;
  const uint8_t* mask;          // [N] or null; 0 drops a token
  const int32_t* turn_offsets;  // [T+1]
  int64_t turns;
  const int32_t* trajectory_offsets;  // [K+1]; of no meaning where the units are turns
  int64_t trajectories;
  Pairs pairs;
};

struct PreferenceOptions {
  Normalization normalization;
  bool allow_empty_turns;
  PairLoss pair_loss;
  double pair_denominator;  // 0: the sum of the weights
  double nll_coef;
  double nll_denominator;  // 0: the number of tokens of the chosen units, each as often as it is chosen
};

/** What a log-ratio counts in the score of its unit: of a turn and of a unit of so many tokens. */
SWEET_HOST_DEVICE inline double coefficient_of(Normalization normalization, int32_t turn_length, int64_t unit_length) {
  switch (normalization) {
    case Normalization::turn_mean:
      return turn_length > 0 ? 1.0 / turn_length : 0.0;
    case Normalization::token_mean:
      return unit_length > 0 ? 1.0 / static_cast<double>(unit_length) : 0.0;
    case Normalization::sum:
      break;
  }
  return 1.0;
}

struct PreferenceOut {
  double* scalars;                                                   // loss, preference loss, NLL loss, accuracy
  float *pair_losses, *margins, *chosen_rewards, *rejected_rewards;  // [P]
  float* turn_advantages;                                            // [T]
  float* grad_logps;                                                 // [N]
};

}  // namespace sweet
