// What a warp computes of a row with a top-k teacher.
#pragma once

#include "../segment.h"
#include "device.h"
#include "divergence.h"

namespace sweet {
namespace cuda {

__device__ inline TopKProbs warp_probs(const TopKTeacher& top_k, int64_t row, int lane) {
  double sum = 0;
  for (int64_t k = lane; k < top_k.k; k += kWarp) sum += exp(static_cast<double>(top_k.logps[row * top_k.k + k]));
  return {warp_sum(sum), top_k.renormalize, top_k.bucket};
}

/** Where the logits of a row's support are. */
template <class T>
struct Support {
  const T* row;            // [V], or the K logits where there are no indices
  const int32_t* indices;  // [K] or null
  Softcap cap;             // of the logits in the row

  __device__ float at(int64_t k) const { return cap.apply(to_float(row[indices ? indices[k] : k])); }
};

/** A warp computes a row; others: the statistics of the entries outside the support, [segments]. */
template <class T>
__device__ inline RowDivergence warp_divergence(const TopKTeacher& top_k, int64_t row, const Support<T>& support,
                                                const SegmentStats* others, unsigned segments, double temperature,
                                                Divergence type, double beta, int lane) {
  float max = -INFINITY, max_outside = -INFINITY;
  for (int64_t k = lane; k < top_k.k; k += kWarp) {
    const float x = support.at(k);
    max = x > max ? x : max;
  }
  for (unsigned s = lane; s < segments; s += kWarp) max_outside = fmaxf(max_outside, others[s].max);
  max = warp_max(max);
  max_outside = warp_max(max_outside);
  max = fmaxf(max, max_outside);
  const double scale_log2 = log2_scale(temperature);
  double sum = 0, outside = 0;
  for (int64_t k = lane; k < top_k.k; k += kWarp) {
    const float x = support.at(k);
    if (x != -INFINITY) sum += exp2((static_cast<double>(x) - max) * scale_log2);
  }
  for (unsigned s = lane; s < segments; s += kWarp) {
    if (others[s].sum_exp != 0) {
      outside += others[s].sum_exp * exp2((static_cast<double>(others[s].max) - max_outside) * scale_log2);
    }
  }
  sum = warp_sum(sum);
  outside = warp_sum(outside);
  if (outside != 0) sum += outside * exp2((static_cast<double>(max_outside) - max) * scale_log2);
  const TopKProbs probs = warp_probs(top_k, row, lane);
  RowDivergence of_row{};
  of_row.saved.lse_z = lse_of(max, sum, temperature);
  of_row.saved.lse_y = probs.log_norm + log(probs.sum);
  if (top_k.bucket) {
    const double lse = outside == 0 ? -INFINITY : max_outside / temperature + log(outside);
    of_row.saved.log_q_tail = lse - of_row.saved.lse_z;
  }
  DivergenceSum d{0, 0};
  for (int64_t k = lane; k < top_k.k; k += kWarp) {
    d.add(type, beta, top_k.logps[row * top_k.k + k] - probs.log_norm,
          support.at(k) / temperature - of_row.saved.lse_z);
  }
  d.divergence = warp_sum(d.divergence);
  d.kappa = warp_sum(d.kappa);
  if (top_k.bucket) d.add(type, beta, probs.log_tail, of_row.saved.log_q_tail);
  of_row.divergence = cut_at_0(d.divergence);
  of_row.saved.kappa = type == Divergence::reverse_kl ? of_row.divergence : d.kappa;
  return of_row;
}

__device__ inline int64_t global_warp() { return global_thread() / kWarp; }
__device__ inline int lane_of_thread() { return static_cast<int>(threadIdx.x) % kWarp; }

}  // namespace cuda
}  // namespace sweet
