// A softcap of the logits, as in Gemma 2: z = s(x) / temperature with s(x) = softcap * tanh(x / softcap). The kernels
// take
//
//   t = tanh(x * inverse),  z = t / (temperature * inverse),  ds/dx = 1 - t^2
//
// so that a row of t is a row of logits with another temperature, and the gradient of it is multiplied by 1 - t^2 at
// the end. x = -inf is masked and stays -inf; t = -1 would give it a probability.
#pragma once

#include <cmath>

#include "host_device.h"

namespace sweet {

struct Softcap {
  float inverse;  // 1 / softcap; 0 without one

  SWEET_HOST_DEVICE explicit Softcap(double softcap) : inverse(softcap > 0 ? static_cast<float>(1 / softcap) : 0) {}

  SWEET_HOST_DEVICE bool is_on() const { return inverse > 0; }
  /** s(x) = value * t: the softcap, up to the rounding of its inverse; 1 without one. */
  SWEET_HOST_DEVICE double value() const { return is_on() ? 1.0 / inverse : 1.0; }
  /** ds/dx at t; 1 without a softcap. */
  SWEET_HOST_DEVICE double slope(float t) const {
    return !is_on() ? 1.0 : t == -INFINITY ? 0.0 : 1.0 - static_cast<double>(t) * t;
  }
};

}  // namespace sweet
