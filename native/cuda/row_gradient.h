// What both heads compute of a row before they write its gradient.
#pragma once

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
                                           int32_t label, double lse, double temperature, double g) {
  const SoftmaxGradient softmax(lse, temperature, -g);
  const float label_logit = is_local(label) ? to_float(logits[label]) : 0.0f;
  return {softmax.max, softmax.factor, static_cast<float>(label_gradient(label_logit, lse, temperature, g)), label};
}

}  // namespace cuda
}  // namespace sweet
