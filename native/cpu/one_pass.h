// An update from hidden states in one pass. The gradient of a token is one number, known when both scores of its pair
// are, times what is known before: so the gradients are formed right after the logits, which need not be formed again,
// and scaled when the pair is complete. 6*N*H*V operations instead of 8, for memory of the size of gradWeight.
#pragma once

#include "preference.h"
#include "update.h"

namespace sweet {

/** Whether the way is open and pays: see the rule in one_pass.cpp. */
bool one_pass_pays(const Update& update, const Preference& preference);

/** Log-probs and gradients at the head; Code::memory, with nothing written, where the memory cannot be had. */
Status one_pass(const Update& update, const Preference& preference, const int32_t* labels, const float* ref_logps,
                const UpdateOut& out);

}  // namespace sweet
