// A linear head's update in one pass: the gradients of a chunk of tokens are computed from its stored logits, before
// the gradient of the loss at its log-probs is known, and scaled later. 6 N H V operations instead of 8, or 4 instead
// of 6 where the weight or the hidden states are frozen.
//
// With a frozen weight the gradient at a token's hidden states is g_i times one for g_i = 1, whatever the loss. Sums
// over tokens, gradWeight and gradBias, need a loss of which g_i is a coefficient that is known in advance times
// dloss/d(S_chosen - S_rejected) of the token's pair: tokens are then taken pair by pair, and the sums of a pair are
// scaled when it is complete, for scratch of the size of gradWeight.
#pragma once

#include "../preference_update.h"
#include "logps.h"
#include "preference_loss.h"

namespace sweet {

/** Results of the forward pass of an update, which does not read ignored rows. */
inline ForwardOut update_forward_out(const PreferenceUpdate& call, double* lse) {
  return {call.logps, lse, call.entropy, true, call.argmax, call.sum_squared_probs};
}

/** Whether one pass is possible and faster: see the rule in one_pass_update.cpp. */
bool one_pass_pays(const PreferenceUpdate& call, const PreferenceComputation& preference);

/** All results of the call; Code::memory, with nothing written, where an allocation failed. */
Status one_pass_update(const PreferenceUpdate& call, PreferenceComputation& preference, const int32_t* labels,
                       const float* ref_logps);

}  // namespace sweet
