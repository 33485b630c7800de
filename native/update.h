// What one update of the critic and one of the policy share: head -> log-probs -> loss -> gradient at the head, in one
// call.
#pragma once

#include "head.h"
#include "preference.h"

namespace sweet {

struct Update {
  Head head;
  Labels labels;
  const float* ref_logps;  // [N], or null: the reference is the next head, over the same labels
  Head reference;
  PreferenceBatch batch;  // its mask is the labels' mask
  PreferenceOptions options;
};

struct UpdateOut {
  float* logps;  // [N]
  PreferenceOut preference;
  HeadGradients gradients;
};

}  // namespace sweet
