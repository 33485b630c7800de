// What both heads compute of a row before they write its gradient.
#pragma once

#include "../softmax.h"
#include "device.h"
#include "logps.h"

namespace sweet {
namespace cuda {

/** The gradient of a row is 2^t_v (factor + slope t_v), t_v = (x_v - max) * scale_log2, but label_grad at its label. */
struct RowGradient {
  float max, factor, slope, label_grad;
  int32_t label;

  /** At an entry that is not the label. */
  template <bool kSlope>
  __device__ float at(float logit, float scale_log2) const {
    const float t = (logit - max) * scale_log2, p = exp2_approx(t);
    // x = -inf has 2^t = 0 and t = -inf; the clamp makes their product 0.
    return kSlope ? p * fmaf(t < -512.0f ? -512.0f : t, slope, factor) : factor * p;
  }

  /** The same at a logit that a softcap is applied to. */
  template <bool kSlope>
  __device__ float at_capped(float logit, float scale_log2, const Softcap& cap) const {
    const float t = cap.apply(logit);
    return Softcap::times_slope(at<kSlope>(t, scale_log2), t);
  }
};

template <class T>
__device__ inline RowGradient row_gradient(const T* logits,  // [V] of the row
                                           int32_t label, double lse, bool rounded_lse, double temperature,
                                           const Softcap& cap, const UpstreamRow& upstream) {
  const SoftmaxGradient softmax = softmax_gradient(lse, temperature, upstream);
  const float label_logit = is_local(label) ? cap.apply(to_float(logits[label])) : 0.0f;
  const LabelGradient of_label(label_logit, lse, rounded_lse, temperature, upstream);
  return {softmax.max, softmax.factor, softmax.slope, static_cast<float>(of_label.gradient * cap.slope(label_logit)),
          label};
}

/**
 * A block per row: the label's entry of a confident token (LabelGradient of softmax.h), from all others, which a shard
 * of the vocabulary does not have. After the gradients of the rows are prepared, while the logits are there.
 */
template <class T, int kThreads>
__global__ void __launch_bounds__(kThreads)
    confident_labels_kernel(const T* logits,  // [rows, V]
                            int64_t vocab_size, int64_t row_stride,
                            Upstream upstream,    // [N]
                            const int64_t* rows,  // [rows] of the N, or null: all of them
                            double temperature, double scale, Softcap cap,
                            RowGradient* gradients,  // [rows]
                            const DeviceResult* result) {
  const int64_t i = blockIdx.x, of_n = rows ? rows[i] : i;
  const RowGradient row = gradients[i];
  if (has_fault(result) || !is_local(row.label)) return;
  const T* const x = logits + i * row_stride;
  const double lse = upstream.lse_of(of_n);
  const UpstreamRow of_row = upstream.row(of_n, temperature / scale);
  const float label_logit = cap.apply(to_float(x[row.label]));
  temperature /= cap.value();  // of t, where the softcap makes t of a logit
  if (!LabelGradient(label_logit, lse, upstream.rounded_lse(), temperature, of_row).confident) return;
  const float scale_log2 = log2_scale(temperature);
  double sum = 0;
  for (int64_t v = threadIdx.x; v < vocab_size; v += kThreads) {
    if (v != row.label) sum += exp2_approx((cap.apply(to_float(x[v])) - row.max) * scale_log2);
  }
  __shared__ double shared[kThreads / kWarp];
  const double others = block_sum(sum, shared) * exp(row.max / temperature - lse);
  if (threadIdx.x == 0) {
    const double d = LabelGradient::complete(log1p(-others), others, of_row);
    gradients[i].label_grad = static_cast<float>(d * cap.slope(label_logit));
  }
}

}  // namespace cuda
}  // namespace sweet
