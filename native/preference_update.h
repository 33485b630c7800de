// One update of the critic or of the policy in one call: head -> log-probs -> preference loss -> gradient at the head.
// The batch's level says which: trajectories for the critic, turns for the policy. Masked and ignored rows are not
// read.
#pragma once

#include "head_update.h"
#include "preference_loss.h"

namespace sweet {

struct PreferenceUpdate : HeadUpdate {
  PreferenceBatch batch;  // with the same labels
  PreferenceOptions options;
  PreferenceOut out;
};

Status preference_update(const PreferenceUpdate& call);

}  // namespace sweet
