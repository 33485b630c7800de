// What the updates of all losses of log-probs have: a head, a frozen reference, and the gradients at the head.
#pragma once

#include "head.h"

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

}  // namespace sweet
