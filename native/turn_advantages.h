// The advantage of a turn: the mean (or sum) over its tokens of the log-ratio to the reference (arXiv 2503.15478, Eq.
// 3).
//
//   rho_i = logp_i - refLogp_i,  A_t = (1/L_t) sum_{i in t} m_i rho_i,  L_t = sum m_i;  the sum drops 1/L_t
#pragma once

#include "layout.h"

namespace sweet {

struct TurnBatch {
  int64_t tokens;
  const uint8_t* mask;          // [N] or null
  const int32_t* turn_offsets;  // [T+1]
  int64_t turns;
  bool mean;  // else the sum
  bool allow_empty_turns;
};

Status turn_advantages(const TurnBatch& batch, const float* logps, const float* ref_logps, float* advantages);
Status turn_advantages_backward(const TurnBatch& batch, const float* grad_advantages, float* grad_logps);

}  // namespace sweet
