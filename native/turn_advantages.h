// The advantage of a turn: the mean (or sum) of the log-ratios of its tokens (arXiv 2503.15478, Eq. 3).
//
//   rho_i = logp_i - ref_logp_i,  A_t = (1 / L_t) sum_{i in t} m_i w_i rho_i,  L_t = sum_{i in t} m_i w_i;  the sum
//   omits 1 / L_t;  dA_t/dlogp_i = m_i w_i / L_t
#pragma once

#include "layout.h"

namespace sweet {

struct TurnBatch {
  int64_t tokens, turns;        // N, T
  Labels labels;                // m_i is 0 for masked and ignored tokens; without data the mask alone counts; w_i
  const int32_t* turn_offsets;  // [T+1]
  bool mean;                    // else the sum
  bool allow_empty_turns;
};

struct TurnAdvantages {
  TurnBatch batch;
  const float *logps, *ref_logps;  // [N]
  float* advantages;               // [T]
};

struct TurnAdvantagesBackward {
  TurnBatch batch;
  const float* grad_advantages;  // [T]
  float* grad_logps;             // [N]
};

Status turn_advantages(const TurnAdvantages& call);
Status turn_advantages_backward(const TurnAdvantagesBackward& call);

}  // namespace sweet
