// The softcap of a part of a row, as native/softcap.h defines it:
//
//   softcap       t = tanh(x * inverse);  -inf stays -inf, a NaN a NaN
//   times_slope   out = d (1 - t^2);  0 where t = -inf
#pragma once

#include "../../softcap.h"
#include "../isa/simd.h"

namespace sweet::reference {

template <class T>
static void softcap(const T* x, int64_t n, double inverse, double* out) {
  for (int64_t i = 0; i < n; i++) {
    const double xi = to_float(x[i]);
    out[i] = xi == -INFINITY ? xi : ::tanh(xi * inverse);
  }
}

static inline double times_slope(double d, double t) { return t == -INFINITY ? 0 : d * (1 - t * t); }

}  // namespace sweet::reference

namespace sweet::SWEET_ISA {
namespace {

inline V tanh_of(V x, V inverse) {
  // min and max return their second argument where one is a NaN.
  const V u = max(set1(-kTanhRange), min(set1(kTanhRange), mul(x, inverse)));
  const V w = mul(u, u);
  V p = set1(kTanhP[4]), q = set1(kTanhQ[4]);
  for (int i = 3; i >= 0; i--) p = fma(p, w, set1(kTanhP[i])), q = fma(q, w, set1(kTanhQ[i]));
  const V t = max(set1(-1.0f), min(set1(1.0f), div(mul(u, p), q)));
  // -inf where x is -inf: x * 2^-126 + 5 is at least 1 where x is finite.
  return min(fma(x, set1(0x1p-126f), set1(5.0f)), t);
}

template <class T>
void softcap(const T* x, int64_t n, float inverse, float* out) {
  const V factor = set1(inverse);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, tanh_of(load(x + i), factor));
  if (i < n) store_n(out + i, tanh_of(load_n(x + i, static_cast<int>(n - i), 0.0f), factor), static_cast<int>(n - i));
}

inline V with_slope(V d, V t) {
  // t = -inf: the clamp makes 1 - t^2 zero.
  t = max(set1(-1.0f), t);
  return mul(d, fma(mul(set1(-1.0f), t), t, set1(1.0f)));
}

template <class T>
void times_slope(const float* d, const float* t, int64_t n, T* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, with_slope(load(d + i), load(t + i)));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) store_n(out + i, with_slope(load_n(d + i, rest, 0.0f), load_n(t + i, rest, 0.0f)), rest);
}

}  // namespace
}  // namespace sweet::SWEET_ISA
