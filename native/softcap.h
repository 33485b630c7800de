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

// tanh(u) = u P(u^2) / Q(u^2), an odd function: its error stays relative to small u, where P = Q = 1. P and Q are a
// minimax fit of tanh(u) / u up to 8.4, relative error 2^-26, with coefficients of float32 adjusted to the rounding of
// Horner's rule: over 11 million u the error is at most 5.6 * 2^-24 (u above 8), in 99.99 % of them 4 * 2^-24. From 8.7
// on the quotient is above 1 and cut: the slope 1 - t^2 becomes 0. Beyond the range u is cut.
constexpr float kTanhRange = 9.1f;
constexpr float kTanhP[] = {1, 1.34221226e-1f, 3.54459579e-3f, 2.14272695e-5f, 1.45212216e-8f};
constexpr float kTanhQ[] = {1, 4.6755445e-1f, 2.60628778e-2f, 3.36623023e-4f, 8.24639244e-7f};

struct Softcap {
  float inverse;  // 1 / softcap; 0 without one

  SWEET_HOST_DEVICE Softcap() : inverse(0) {}
  SWEET_HOST_DEVICE explicit Softcap(double softcap) : inverse(softcap > 0 ? static_cast<float>(1 / softcap) : 0) {}

  SWEET_HOST_DEVICE bool is_on() const { return inverse > 0; }
  /** s(x) = value * t: the softcap, up to the rounding of its inverse; 1 without one. */
  SWEET_HOST_DEVICE double value() const { return is_on() ? 1.0 / inverse : 1.0; }
  /** t of a logit, as a GPU computes it; the logit itself without a softcap. cpu/rows/softcap.h has it in vectors. */
  SWEET_HOST_DEVICE float apply(float x) const {
    if (!is_on() || x == -INFINITY) return x;
    float u = x * inverse;  // a NaN stays one: fminf and fmaxf would drop it
    u = u > kTanhRange ? kTanhRange : u < -kTanhRange ? -kTanhRange : u;
    const float w = u * u;
    constexpr float kP[] = {kTanhP[0], kTanhP[1], kTanhP[2], kTanhP[3], kTanhP[4]};  // usable in device code
    constexpr float kQ[] = {kTanhQ[0], kTanhQ[1], kTanhQ[2], kTanhQ[3], kTanhQ[4]};
    float p = kP[4], q = kQ[4];
    for (int i = 3; i >= 0; i--) p = fmaf(p, w, kP[i]), q = fmaf(q, w, kQ[i]);
#ifdef __CUDA_ARCH__
    const float t = __fdividef(u * p, q);
#else
    const float t = u * p / q;
#endif
    return t > 1 ? 1.0f : t < -1 ? -1.0f : t;
  }
  /** d at t as that at x: 0 at a masked entry, where d is 0. */
  SWEET_HOST_DEVICE static float times_slope(float d, float t) {
    const float tanh = t < -1 ? -1.0f : t;
    return d * fmaf(-tanh, tanh, 1.0f);
  }
  /** ds/dx at t; 1 without a softcap. */
  SWEET_HOST_DEVICE double slope(float t) const {
    return !is_on() ? 1.0 : t == -INFINITY ? 0.0 : 1.0 - static_cast<double>(t) * t;
  }
};

}  // namespace sweet
