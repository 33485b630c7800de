// Token log-probs from logits, and their gradient.
//
//   lse_i = max_v z_iv + log sum_v e^(z_iv - max),  logp_i = z_i,label - lse_i,  H_i = lse_i - sum_v p_iv z_iv
//   dlogp_i/dlogits_iv = (1[v = label_i] - p_iv) / temperature,  p_iv = e^(z_iv - lse_i)
//
// A dropped row has logp 0 and a zero gradient row; see layout.h for the two kinds of them.
#pragma once

#include "head.h"

namespace sweet {

Status token_logps(const Head& head, const Labels& labels, const LogpsOut& out);
Status token_logps_backward(const Head& head, const Labels& labels, const LogpsBackward& backward);

}  // namespace sweet
