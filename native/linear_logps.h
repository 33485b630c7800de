// Token log-probs from hidden states, and their gradients; the logits live a tile at a time.
//
//   logits_i = hidden_i · weightᵀ (+ bias), log-probs as in token_logps.h, g_i = ∂/∂logp_i
//   ∂/∂hidden_i = g_i Σ_v (1[v = label_i] − p_iv) weight_v / temperature
//   ∂/∂weight_v = Σ_i g_i (1[v = label_i] − p_iv) hidden_i / temperature,  ∂/∂bias_v = the same sum without hidden_i
#pragma once

#include "head.h"

namespace sweet {

Status linear_logps(const Head& head, const Labels& labels, const LogpsOut& out);
Status linear_logps_backward(const Head& head, const Labels& labels, const LogpsBackward& backward);

}  // namespace sweet
