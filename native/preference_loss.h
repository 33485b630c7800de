// The preference loss over pairs of trajectories (the critic: arXiv 2503.15478, Eq. 2) or of turns (the policy: Eq. 4).
// A pair compares two items, both trajectories or both turns.
//
//   rho_i = logp_i - ref_logp_i,  m_i the weight of token i, 0 for masked and ignored tokens and otherwise 1 unless
//   weights are given,  A_t = sum_{i in t} m_i rho_i / sum_{i in t} m_i
//   turn_mean   S_k = sum_{t in k} A_t                 (the paper's critic; of a turn, its mean)
//   token_mean  S_k = sum_{i in k} m_i rho_i / sum_{i in k} m_i    (the released code)
//   sum         S_k = sum_{i in k} m_i rho_i           (the paper's policy, multi-turn DPO)
//   NLL = -sum_p sum_{i in chosen_p} m_i logp_i / sum_p sum_{i in chosen_p} m_i
//   loss = sum_p w_p W_p l_p / D + nll_coef * NLL of the chosen items,  l_p of pair_loss.h
//   ld_alpha       in S a token counts a_i m_i: a_i = ld_alpha beyond the first min(n_chosen, n_rejected) kept tokens
//                  of its item, else 1 (LD-DPO, arXiv 2409.06411)
//   use_weighting  W_p = W_chosen W_rejected,  W_k = exp(sum_{i in k} m_i (logp_i - log sum_v p_iv^2) / sum m_i), else
//   1
//                  (WPO, arXiv 2406.11827); no gradient
//
//   N tokens, T turns, K trajectories, P pairs
#pragma once

#include "layout.h"
#include "pair_loss.h"

namespace sweet {

/** What a pair compares. */
enum class PreferenceLevel : int32_t { turn, trajectory };

/** How the log-ratios of an item's tokens become its score. */
enum class Normalization : int32_t { turn_mean, token_mean, sum };

struct PreferenceBatch {
  PreferenceLevel level;
  int64_t tokens, turns, trajectories;  // trajectories: 0 where turns are compared
  Labels labels;                        // of the tokens; without data the mask alone counts
  const int32_t* turn_offsets;          // [T+1] into tokens
  const int32_t* trajectory_offsets;    // [K+1] into turns; null where turns are compared
  Pairs pairs;                          // of items

  bool of_trajectories() const { return level == PreferenceLevel::trajectory; }
  int64_t items() const { return of_trajectories() ? trajectories : turns; }
};

struct PreferenceOptions {
  Normalization normalization;
  bool allow_empty_turns;
  PairLoss pair_loss;
  double pair_denominator;  // D; 0: the sum of the weights
  double nll_coef;
  double nll_denominator;  // 0: the weight of the tokens of the chosen items, each counted as often as it is chosen
  double ld_alpha = 1;     // a_i of the tokens beyond the length of the pair's shorter item
  bool use_weighting = false;

  SWEET_HOST_DEVICE bool by_pair() const { return ld_alpha != 1; }  // scores of an item depend on the pair
  /** Whether an item without a kept token is a fault unless empty turns are allowed. */
  bool divides_by_length() const {
    return use_weighting || (normalization == Normalization::sum && pair_loss.has_mean());
  }
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

struct PreferenceOut {
  double* scalars;                                                   // [4] loss, preference loss, NLL loss, accuracy
  float *pair_losses, *margins, *chosen_rewards, *rejected_rewards;  // [P]
  float* turn_advantages;                                            // [T]
  float* grad_logps;                                                 // [N]
};

struct PreferenceLoss {
  PreferenceBatch batch;
  PreferenceOptions options;
  const float* logps;              // [N]
  const float* ref_logps;          // [N] or null: without a reference S is a sum of logp
  const float* sum_squared_probs;  // [N] sum_v p_iv^2, where use_weighting
  PreferenceOut out;
};

Status preference_loss(const PreferenceLoss& call);

}  // namespace sweet
