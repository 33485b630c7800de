// Powers of two of a row, as both passes over rows take them: t = (x - max) * scale_log2 and 2^t.
//
//   t = k + r, k an integer, |r| <= 1/2        range reduction
//   2^t = 2^k * (1 + c_0 r + c_1 r^2 + ...)     minimax polynomial, see isa/simd.h
//
// With a table of 2^(i/8) or 2^(i/32), k is a multiple of 1/8 or 1/32 and the polynomial is shorter.
#pragma once

#include <math.h>

#include "../isa/simd.h"

namespace sweet::reference {

/** 2^t */
static inline float exp2(float t) {
  const float k = ::rintf(t), r = t - k;
  float p = 0;
  for (int i = kExp2Degree6.degree - 1; i >= 0; i--) p = p * r + kExp2Degree6.c[i];
  return ::ldexpf(1 + p * r, static_cast<int>(k));
}

}  // namespace sweet::reference

namespace sweet::SWEET_ISA {
namespace {

// Figures of tuned constants are times relative to the constant's, measured on one core of an AMD Zen 5 with AVX-512,
// or AVX2 where it is named.

// Pairs of vectors of a strip. The range is checked once a strip, and so many terms are added to a lane in float32
// before the sum goes into a total. In cache 8 takes 0.97 to 1.05, 32 takes 0.96 to 1.09; a float32 gradient in memory
// takes 1.15 with 8.
constexpr int kStrip = 16;

// Segments of at least so many elements use the folded exponent and prefetches. With 8192, 4096 elements take 1.02 to
// 1.15; with 2048, 2048 elements take 0.95 to 1.02 forward (AVX2 0.92 to 0.94); with 1024, 1024 elements take 1.07 to
// 1.11 forward and 0.98 to 1.00 backward (AVX2 0.98 to 1.01 and 0.92).
constexpr int kLong = 4096;

// The largest |max * scale_log2| of a folded exponent. Derived: the bias must not take reduce_exp2()'s magic number, at
// least 1.5 * 2^20, out of its binade, or t is rounded more coarsely.
constexpr float kMaxFoldedBias = 0x1p16f;

template <class T>
constexpr Exp2Polynomial kGradientExp2 = kExp2;
template <>
constexpr Exp2Polynomial kGradientExp2<bf16> = kExp2Bf16;

/** factor * 2^r */
template <const Exp2Polynomial& kPolynomial>
class ScaledExp2 {
 public:
  explicit ScaledExp2(float factor = 1) : factor_(factor) {
    for (int i = 0; i < kPolynomial.degree; i++) c_[i] = kPolynomial.c[i] * factor;
  }

  V operator()(V r) const {
    V e = set1(c_[kPolynomial.degree - 1]);
    for (int i = kPolynomial.degree - 2; i >= 0; i--) e = fma(e, r, set1(c_[i]));
    return fma(e, r, set1(factor_));
  }

 private:
  float factor_, c_[kPolynomial.degree];
};

/**
 * t = (x - max) * scale_log2 + bias for an integer bias. x - max is exact near the max. kFolded saves the subtraction:
 * t = x * scale_log2 + (bias - max * scale_log2), with the term in brackets rounded to an integer. The residual is what
 * the rounding removed: the caller multiplies its results by 2^residual.
 */
template <bool kFolded>
struct RowExponent {
  float row_max;
  Exponent exponent;
  double residual;

  RowExponent(float at, float scale_log2, int bias) : row_max(at), residual(0) {
    double folded = bias;
    if (kFolded) {
      folded = ::floor(bias - static_cast<double>(at) * scale_log2 + 0.5);
      residual = bias - static_cast<double>(at) * scale_log2 - folded;
    }
    exponent = {scale_log2, static_cast<float>(folded), static_cast<float>((-127 - folded) / scale_log2),
                static_cast<float>((128 - folded) / scale_log2)};
  }

  /** The y of reduce_exp2(). With kClamped, 2^t is 0 for t < -127 and infinite for t >= 128. */
  template <bool kClamped>
  V argument(V x) const {
    const V y = kFolded ? x : sub(x, set1(row_max));
    return kClamped && !kExp2Saturates ? min(set1(exponent.high), max(set1(exponent.low), y)) : y;
  }
};

/** Calls use(exponent) with the folded exponent where it is faster and precise enough. */
template <class Use>
auto with_exponent(float row_max, float scale_log2, int bias, int64_t n, Use use) {
  if (kHasFma && n >= kLong && ::fabsf(row_max * scale_log2) < kMaxFoldedBias) {
    return use(RowExponent<true>(row_max, scale_log2, bias));
  }
  return use(RowExponent<false>(row_max, scale_log2, bias));
}

}  // namespace
}  // namespace sweet::SWEET_ISA
