// Token log-probs of a head, and their gradient at the head.
//
//   lse_i = max_v z_iv + log sum_v e^(z_iv - max),  logp_i = z_i,label - lse_i,  H_i = lse_i - sum_v p_iv z_iv
//   dlogp_i/dlogits_iv = (1[v = label_i] - p_iv) / temperature,  p_iv = e^(z_iv - lse_i)
//
// For a linear head, with g_i the gradient at logp_i and D_iv = g_i * dlogp_i/dlogits_iv:
//
//   dhidden_i = sum_v D_iv weight_v,  dweight_v = sum_i D_iv hidden_i,  dbias_v = sum_i D_iv
//
// A masked or ignored row has logp 0 and a zero gradient; see layout.h for the difference between the two.
#pragma once

#include "head.h"

namespace sweet {

struct Logps {
  Head head;
  Labels labels;
  LogpsOut out;
};

struct LogpsBackward {
  Head head;
  Labels labels;
  const float* lse;                                             // [N], of the forward pass
  const float *grad_logps, *grad_entropy, *entropy, *grad_lse;  // [N] or null; entropy of the forward pass
  HeadGradients gradients;
};

Status logps(const Logps& call);
Status logps_backward(const LogpsBackward& call);

}  // namespace sweet
