// The policy-gradient update in one call: head -> log-probs and entropy -> loss -> gradient at the head. Masked and
// ignored rows are not read, and count nowhere.
#pragma once

#include "head_update.h"
#include "policy_gradient.h"

namespace sweet {

/** Tokens N, turns T, trajectories K of a batch. Without turn offsets every token is a turn. */
struct PolicyGradientBatch {
  int64_t tokens, turns, trajectories;
  const int32_t* turn_offsets;        // [T+1] into tokens, or null
  const int32_t* trajectory_offsets;  // [K+1] into turns, or null
  Reals advantages;                   // [N]
  Reals old_logps;                    // [N] or null: the log-probs of this call
  Reals importance_weights;           // [N] or null: 1 each
};

/** Of the scalars. */
enum PolicyScalar { kLoss, kPolicyLoss, kKlLoss, kEntropyBonus, kClipFraction, kApproxKl, kPolicyScalars };

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
