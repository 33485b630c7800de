// What both heads compute of a row before they write its gradient.
#pragma once

#include "../head.h"
#include "../softmax.h"
#include "device.h"

namespace sweet {
namespace cuda {

/** The gradient of a row is factor * 2^((x_v - max) * scale_log2), but label_grad at its label. */
struct RowGradient {
  float max, factor, label_grad;
  int32_t label;
};

/** g: the gradient at the log-prob, divided by the temperature. */
template <class T>
__device__ inline RowGradient row_gradient(const T* logits,  // [V] of the row
                                           int32_t label, double lse, bool rounded_lse, double temperature, double g) {
  const SoftmaxGradient softmax(lse, temperature, -g);
  const float label_logit = is_local(label) ? to_float(logits[label]) : 0.0f;
  return {softmax.max, softmax.factor,
          static_cast<float>(LabelGradient(label_logit, lse, rounded_lse, temperature, g).gradient), label};
}

/**
 * A block per row: the label's entry of a confident token (LabelGradient of softmax.h), from all others. After the
 * gradients of the rows are prepared, while the logits are there.
 */
template <class T, int kThreads>
__global__ void __launch_bounds__(kThreads)
    confident_labels_kernel(const T* logits,  // [rows, V]
                            int64_t vocab_size, int64_t row_stride,
                            const double* lse,                           // [N] or null
                            const float* lse32,                          // [N] where lse is null
                            const int64_t* rows,                         // [rows] of the N, or null: all of them
                            double temperature, RowGradient* gradients,  // [rows]
                            const DeviceResult* result) {
  const int64_t i = blockIdx.x;
  const RowGradient row = gradients[i];
  if (has_fault(result) || !is_local(row.label)) return;
  const T* const x = logits + i * row_stride;
  const int64_t of_n = rows ? rows[i] : i;
  const double row_lse = lse ? lse[of_n] : lse32[of_n];
  if (!LabelGradient(to_float(x[row.label]), row_lse, !lse, temperature, 1).confident) return;
  const float scale_log2 = log2_scale(temperature);
  double sum = 0;
  for (int64_t v = threadIdx.x; v < vocab_size; v += kThreads) {
    if (v != row.label) sum += exp2_approx((to_float(x[v]) - row.max) * scale_log2);
  }
  __shared__ double shared[kThreads / kWarp];
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) gradients[i].label_grad = static_cast<float>(-row.factor * sum);
}

/** Whether a backward pass corrects confident tokens: a shard of the vocabulary does not have all other entries. */
inline bool corrects_confident_labels(const Head& head) { return vocab_shard(head).size == vocab_shard(head).total; }

}  // namespace cuda
}  // namespace sweet
