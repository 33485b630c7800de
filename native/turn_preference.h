// The policy's loss: DPO on pairs of turns plus a small NLL term (arXiv 2503.15478, Eq. 4).
//
//   sum        S_t = sum_{i in t} m_i rho_i   (the paper)
//   turn_mean  S_t = A_t
//   loss = sum_p w_p l(S_chosen - S_rejected) / D + nll_coef * NLL of the chosen turns
#pragma once

#include "preference.h"

namespace sweet {

Status turn_preference(const PreferenceBatch& batch, const PreferenceOptions& options, const float* logps,
                       const float* ref_logps, const PreferenceOut& out);

}  // namespace sweet
