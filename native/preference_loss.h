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

#include "item_batch.h"
#include "pair_loss.h"

namespace sweet {

struct PreferenceBatch : ItemBatch {
  Pairs pairs;  // of items
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
