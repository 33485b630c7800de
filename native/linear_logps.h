// Token log-probs from hidden states, and their gradients; the logits live a tile at a time.
//
//   logits_i = hidden_i * weight^T (+ bias), log-probs as in token_logps.h, g_i = d/dlogp_i
//   d/dhidden_i = g_i sum_v (1[v = label_i] - p_iv) weight_v / temperature
//   d/dweight_v = sum_i g_i (1[v = label_i] - p_iv) hidden_i / temperature,  d/dbias_v = the same sum without hidden_i
#pragma once

#include "head.h"

namespace sweet {

Status linear_logps(const Head& head, const Labels& labels, const LogpsOut& out);
Status linear_logps_backward(const Head& head, const Labels& labels, const LogpsBackward& backward);

}  // namespace sweet
