// A linear head's update in one pass. The gradient at a token is a coefficient that is known in advance times
// dloss/d(S_chosen - S_rejected) of its pair, which is known after the pair's forward pass. So the gradients of a pair
// are computed from its stored logits and scaled when the pair is complete: 6 N H V operations instead of 8, for
// scratch of the size of gradWeight.
#pragma once

#include "../preference_update.h"
#include "preference_loss.h"

namespace sweet {

/** Whether one pass is possible and faster: see the rule in one_pass_update.cpp. */
bool one_pass_pays(const PreferenceUpdate& call, const PreferenceComputation& preference);

/** call.logps and call.gradients; Code::memory, with nothing written, where an allocation failed. */
Status one_pass_update(const PreferenceUpdate& call, const PreferenceComputation& preference, const int32_t* labels,
                       const float* ref_logps);

}  // namespace sweet
