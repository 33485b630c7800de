// The policy-gradient update in one call: head -> log-probs and entropy -> loss -> gradient at the head. Masked and
// ignored rows are not read, and count nowhere.
#pragma once

#include "head_update.h"
#include "policy_gradient.h"

namespace sweet {

/** The tokens first ... last - 1. */
struct TokenRange {
  int64_t first, last;
};

/** Tokens N, turns T, trajectories K of a batch. Without turn offsets every token is a turn. */
struct PolicyGradientBatch {
  int64_t tokens, turns, trajectories;
  const int32_t* turn_offsets;        // [T+1] into tokens, or null
  const int32_t* trajectory_offsets;  // [K+1] into turns, or null
  Reals advantages;                   // [N]
  Reals old_logps;                    // [N] or null: the log-probs of this call
  Reals importance_weights;           // [N] or null: 1 each

  /** The number of tokens, turns or trajectories. */
  SWEET_HOST_DEVICE int64_t units(RatioLevel level) const {
    return level == RatioLevel::token ? tokens : level == RatioLevel::turn ? turns : trajectories;
  }
  SWEET_HOST_DEVICE TokenRange unit(RatioLevel level, int64_t u) const {
    if (level == RatioLevel::token) return {u, u + 1};
    if (level == RatioLevel::turn) return {first_of_turn(u), first_of_turn(u + 1)};
    return {first_of_turn(trajectory_offsets[u]), first_of_turn(trajectory_offsets[u + 1])};
  }

  /** d_i; NaN where the log-prob is. */
  SWEET_HOST_DEVICE double log_ratio(int64_t i, double logp) const {
    if (old_logps.data) return logp - old_logps.at(i);
    return logp == logp ? 0.0 : logp;
  }
  /** What token i adds to the policy loss under its ratio, before c_i w_i. */
  SWEET_HOST_DEVICE PolicyTerm term(const PolicyGradientOptions& options, int64_t i, double ratio, double logp) const {
    return policy_term(options, {ratio, advantages.at(i), logp, old_logps.data ? old_logps.at(i) : logp});
  }
  SWEET_HOST_DEVICE double importance_weight(int64_t i) const {
    return importance_weights.data ? importance_weights.at(i) : 1.0;
  }

 private:
  SWEET_HOST_DEVICE int64_t first_of_turn(int64_t t) const { return turn_offsets ? turn_offsets[t] : t; }
};

/** Of the scalars. */
enum PolicyScalar { kLoss, kPolicyLoss, kKlLoss, kEntropyBonus, kClipFraction, kApproxKl, kPolicyScalars };

/** Sums over counted tokens; clipped: their number. */
struct PolicySums {
  double policy_loss, kl, entropy, approx_kl, clipped;
};

/** Adds the terms of a token, of coefficient c, beside its policy loss; returns the gradient of its KL at its log-prob.
 */
SWEET_HOST_DEVICE inline double add_kl_and_entropy(const PolicyGradientOptions& options, double c, double log_ratio,
                                                   double logp, const float* ref_logp, const float* entropy,
                                                   PolicySums* sums) {
  sums->approx_kl += approx_kl(log_ratio);
  if (entropy) sums->entropy += c * *entropy;
  if (!ref_logp) return 0;
  const KlTerm kl = kl_term(options, logp - *ref_logp);
  sums->kl += c * kl.kl;
  return options.kl_coef != 0 ? options.kl_coef * c * kl.slope : 0.0;
}

/** tokens: the number of counted ones. */
SWEET_HOST_DEVICE inline void write_scalars(const PolicyGradientOptions& options, const PolicySums& sums, double tokens,
                                            double* scalars) {
  const double of_kl = options.kl_coef == 0 ? 0.0 : options.kl_coef * sums.kl;
  const double of_entropy = options.entropy_coef == 0 ? 0.0 : options.entropy_coef * sums.entropy;
  const double count = tokens > 0 ? tokens : 1;
  scalars[kLoss] = sums.policy_loss + of_kl - of_entropy;
  scalars[kPolicyLoss] = sums.policy_loss;
  scalars[kKlLoss] = sums.kl;
  scalars[kEntropyBonus] = sums.entropy;
  scalars[kClipFraction] = sums.clipped / count;
  scalars[kApproxKl] = sums.approx_kl / count;
}

struct PolicyGradientOut {
  double* scalars;  // [kPolicyScalars]
};

struct PolicyGradientUpdate : HeadUpdate {
  PolicyGradientBatch batch;
  PolicyGradientOptions options;
  PolicyGradientOut out;
};

Status policy_gradient_update(const PolicyGradientUpdate& call);

}  // namespace sweet
