// One update of the critic or of the policy in one call: head -> log-probs -> preference loss -> gradient at the head.
// The batch's level says which: trajectories for the critic, turns for the policy. Masked and ignored rows are not
// read.
#pragma once

#include "head.h"
#include "preference_loss.h"

namespace sweet {

/** The frozen reference: its log-probs, or its head over the same labels. */
struct Reference {
  const float* logps;  // [N] or null
  Head head;           // where logps is null
};

struct PreferenceUpdate {
  Head head;
  Labels labels;
  Reference reference;
  PreferenceBatch batch;  // with the same labels
  PreferenceOptions options;
  float* logps;  // [N], result
  // [N] or null: entropy, argmax and sum_v p_v^2; 0, -1 and 0 in rows that are not read
  float* entropy;
  int32_t* argmax;
  float* sum_squared_probs;
  PreferenceOut out;
  HeadGradients gradients;
};

Status preference_update(const PreferenceUpdate& call);

}  // namespace sweet
