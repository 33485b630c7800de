// One update of the critic or of the policy in one call: head -> log-probs -> preference loss -> gradient at the head.
// The batch's level says which: trajectories for the critic, turns for the policy. Masked and ignored rows are not
// read.
#pragma once

#include "head.h"
#include "preference_loss.h"

namespace sweet {

/** The frozen reference: its log-probs, or its head over the same labels, or neither. */
struct Reference {
  const float* logps;  // [N] or null
  Head head;           // where logps is null; without rows where there is no reference

  bool is_head() const { return !logps && head.rows > 0; }
};

/** What the update of every loss of log-probs has. */
struct HeadUpdate {
  Head head;
  Labels labels;
  Reference reference;
  float* logps;  // [N], result
  // [N] or null: entropy, argmax and sum_v p_v^2; 0, -1 and 0 in rows that are not read
  float* entropy;
  int32_t* argmax;
  float* sum_squared_probs;
  HeadGradients gradients;
};

struct PreferenceUpdate : HeadUpdate {
  PreferenceBatch batch;  // with the same labels
  PreferenceOptions options;
  PreferenceOut out;
};

Status preference_update(const PreferenceUpdate& call);

}  // namespace sweet
