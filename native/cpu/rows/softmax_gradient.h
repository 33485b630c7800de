// Backward pass over a segment of a row x[n] into out[n], which may be x:
//
//   out_i = 2^t_i (factor + slope t_i),  t_i = (x_i - max) * scale_log2,  0 where 2^t_i is 0
//
// With max = lse * temperature and factor = -g / temperature this is -g * p_i / temperature, the gradient of a log-prob
// at every entry but the label's. A slope comes with the gradient of an entropy; see softmax_gradient() in
// native/softmax.h.
#pragma once

#include <type_traits>

#include "exp2.h"

namespace sweet::reference {

template <class T>
static void softmax_gradient(const T* x, double* out, int64_t n, double scale_log2, double max, double factor,
                             double slope) {
  for (int64_t i = 0; i < n; i++) {
    const double t = (to_float(x[i]) - max) * scale_log2, p = ::exp2(t);
    out[i] = p * (slope == 0 || p == 0 ? factor : factor + slope * t);
  }
}

}  // namespace sweet::reference

namespace sweet::SWEET_ISA {
namespace {

/** Without a slope. */
template <bool kFolded, class T>
class RowGradient {
 public:
  RowGradient(const RowExponent<kFolded>& exponent, float factor)
      : row_(exponent), polynomial_(static_cast<float>(factor * ::exp2(exponent.residual))) {}

  template <bool kClamped>
  V at(V x, RangeTracker& range) const {
    const ReducedExp2 reduced = reduce_exp2(row_.template argument<kClamped>(x), row_.exponent, range);
    return mul(reduced.scale, polynomial_(reduced.r));
  }

 private:
  const RowExponent<kFolded> row_;
  const ScaledExp2<kGradientExp2<T>> polynomial_;
};

/**
 * With one. The exponent is not folded: near the max, factor and slope * t may nearly cancel, and t must be exact
 * there. It is computed once more without the `bias` of the exponent, whose rounding it would have.
 */
template <class T>
class SlopedGradient {
 public:
  SlopedGradient(const RowExponent<false>& exponent, float factor, float slope)
      : row_(exponent), factor_(factor), slope_(slope) {}

  template <bool kClamped>
  V at(V x, RangeTracker& range) const {
    const V y = row_.template argument<kClamped>(x);
    const ReducedExp2 reduced = reduce_exp2(y, row_.exponent, range);
    // x = -inf has 2^t = 0 and t = -inf; the clamp makes their product 0.
    const V t = max(set1(-512.0f), mul(y, set1(row_.exponent.scale_log2)));
    return mul(mul(reduced.scale, polynomial_(reduced.r)), fma(t, set1(slope_), set1(factor_)));
  }

 private:
  const RowExponent<false> row_;
  const ScaledExp2<kGradientExp2<T>> polynomial_;
  const float factor_, slope_;
};

/** Clamped, one vector at a time: the tail of a row, and its head before `out` is aligned. */
template <class T, class Gradient>
void gradient_vectors(const T* x, T* out, int64_t n, const Gradient& gradient) {
  RangeTracker range;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int rest = static_cast<int>(n - i);
    if (rest >= kLanes) {
      store(out + i, gradient.template at<true>(load(x + i), range));
    } else {
      store_n(out + i, gradient.template at<true>(load_n(x + i, rest, 0.0f), range), rest);
    }
  }
}

/** Copies what load2 loads, a whole register at a time. */
template <class T>
void copy2(const T* from, T* to) {
  for (int i = 0; i < 2 * kLanes; i += sizeof(V) / sizeof(T)) {
    V packed;
    memcpy(&packed, from + i, sizeof(V));
    memcpy(to + i, &packed, sizeof(V));
  }
}

/**
 * Whole strips; returns the number of elements written. A strip with elements out of range is computed again, clamped,
 * from a copy of its elements, since out may be x. kStream: non-temporal stores, out aligned to 64 bytes. The gradient
 * is passed by value: through a reference its constants would be loaded again after every store.
 */
template <bool kStream, bool kLongRow, class T, class Gradient>
int64_t gradient_strips(const T* x, T* out, int64_t n, const Gradient gradient) {
  constexpr int kPair = 2 * kLanes;
  int64_t i = 0;
  for (; i + kStrip * kPair <= n; i += kStrip * kPair) {
    T copy[kExp2Saturates ? 1 : kStrip * kPair];
    RangeTracker range;
    for (int k = 0; k < kStrip * kPair; k += kPairsAtOnce * kPair) {
      V a[kPairsAtOnce], b[kPairsAtOnce];
      for (int j = 0; j < kPairsAtOnce; j++) {
        const T* const p = x + i + k + j * kPair;
        if (kLongRow) prefetch2(p);
        load2(p, a[j], b[j]);
        if (!kExp2Saturates) copy2(p, copy + k + j * kPair);
      }
      for (int j = 0; j < kPairsAtOnce; j++) {
        a[j] = gradient.template at<false>(a[j], range);
        b[j] = gradient.template at<false>(b[j], range);
      }
      for (int j = 0; j < kPairsAtOnce; j++) {
        T* const p = out + i + k + j * kPair;
        kStream ? store_nontemporal2(p, a[j], b[j]) : store2(p, a[j], b[j]);
      }
    }
    if (!range.out_of_range()) continue;
    if (kStream) fence_nontemporal();
    for (int k = 0; k < kStrip * kPair; k += kPair) {
      V a, b;
      load2(copy + k, a, b);
      store2(out + i + k, gradient.template at<true>(a, range), gradient.template at<true>(b, range));
    }
  }
  if (kStream) fence_nontemporal();
  return i;
}

template <bool kLongRow, class T, class Gradient>
void write_row(const T* x, T* out, int64_t n, const Gradient& gradient, bool stream) {
  int64_t i = 0;
  if (stream && kLongRow) {
    constexpr int64_t kBytes = sizeof(T);
    i = -(reinterpret_cast<intptr_t>(out) / kBytes) & (64 / kBytes - 1);  // up to the first aligned element
    gradient_vectors(x, out, i, gradient);
    i += gradient_strips<true, kLongRow>(x + i, out + i, n - i, gradient);
  } else {
    i = gradient_strips<false, kLongRow>(x, out, n, gradient);
  }
  gradient_vectors(x + i, out + i, n - i, gradient);
}

template <class T>
void softmax_gradient(const T* x, T* out, int64_t n, const SoftmaxGradient& row, bool stream) {
  // A 2^t without saturation reaches down to 2^-127 only, but float32 gradients may be subnormal. So 2^t is taken 2^64
  // times too large and the factor 2^64 times too small; the factor's own exponent is added to the bias. A factor above
  // 2^60 needs none of this.
  float factor = row.factor, slope = row.slope;
  int bias = 0;
  if (!kExp2Saturates && factor - factor == 0 && slope - slope == 0) {
    const float largest = ::fabsf(factor) > ::fabsf(slope) ? factor : slope;
    (void)::frexpf(largest, &bias);
    factor = ::ldexpf(factor, -bias), slope = ::ldexpf(slope, -bias);
    if (bias <= 60) bias += 64, factor *= 0x1p-64f, slope *= 0x1p-64f;
  }
  if (slope != 0) {
    const SlopedGradient<T> gradient(RowExponent<false>(row.max, row.scale_log2, bias), factor, slope);
    return n < kLong ? write_row<false>(x, out, n, gradient, stream) : write_row<true>(x, out, n, gradient, stream);
  }
  with_exponent(row.max, row.scale_log2, bias, n, [&](const auto& exponent) {
    constexpr bool kFolded = std::is_same<const RowExponent<true>&, decltype(exponent)>::value;
    write_row<kFolded>(x, out, n, RowGradient<kFolded, T>(exponent, factor), stream);
  });
}

}  // namespace
}  // namespace sweet::SWEET_ISA
