// The critic's loss: Bradley-Terry on pairs of whole trajectories (arXiv 2503.15478, Eq. 2).
//
//   turn_mean   S_k = sum_{t in k} A_t            (the paper)
//   token_mean  S_k = sum_i m_i rho_i / sum_i m_i     (the released code)
//   sum         S_k = sum_i m_i rho_i               (multi-turn DPO)
//   loss = sum_p w_p l(S_chosen - S_rejected) / D + nll_coef * NLL of the chosen trajectories
#pragma once

#include "preference.h"

namespace sweet {

Status trajectory_preference(const PreferenceBatch& batch, const PreferenceOptions& options, const float* logps,
                             const float* ref_logps, const PreferenceOut& out);

}  // namespace sweet
