// Forward pass over a segment of a row x[n]: the softmax statistics, relative to a max m.
//
//   t_i = (x_i - m) * scale_log2,  sum_exp = sum_i 2^t_i,  sum_t_exp = sum_i t_i 2^t_i,  sum_squares = sum_i 2^(2 t_i)
//
// The online softmax rescales its sums at every new maximum. The kernel rescales at most once: it takes m from the
// first elements and adds up all terms relative to it in one read of memory. Terms are in float32, in kStrip additions
// a lane; if one is out of range or a sum grows too large, the segment is summed again relative to its true maximum.
#pragma once

#include "../kernels.h"
#include "exp2.h"

namespace sweet::reference {

/** Online softmax in float64, of n elements that are `stride` apart. */
template <class T>
static SegmentStats softmax_stats(const T* x, int64_t n, double scale_log2, int64_t stride = 1) {
  double m = -INFINITY, sum = 0, t_sum = 0, squares = 0;
  int64_t argmax = -1;
  for (int64_t i = 0; i < n; i++) {
    const double xi = to_float(x[i * stride]);
    if (xi == -INFINITY) continue;  // 2^t = 0
    if (xi > m) {
      const double d = (m - xi) * scale_log2, factor = ::exp2(d);
      t_sum = sum > 0 ? (t_sum + sum * d) * factor : 0;
      sum *= factor;
      squares *= factor * factor;
      m = xi;
      argmax = i;
    }
    const double t = (xi - m) * scale_log2, p = ::exp2(t);
    sum += p;
    t_sum += p > 0 ? t * p : p;  // of a NaN, NaN
    squares += p * p;
  }
  return {static_cast<float>(m), sum, t_sum, squares, static_cast<float>(m), static_cast<int32_t>(argmax)};
}

}  // namespace sweet::reference

namespace sweet::SWEET_ISA {
namespace {

// Up to this size m is the maximum of the segment, so that the term of a confident token is exactly 1. That costs a
// second read: with 512, 1024 elements take 0.70 (AVX2 0.79); with 2048, 2048 elements take 1.46 (1.37).
constexpr int kShort = 1024;

// Of a longer segment, m is the maximum of the first elements; the fewer they are, the more often the segment is summed
// twice. Of 4096 elements, 64 takes 0.97, 128 0.98, 512 1.05 (AVX2 1.04), 1024 1.17 (1.09).
constexpr int kFirst = 256;

// A larger sum shows that m is too low. Derived: float32 sums stay far from 2^128, and t is at most 64, with an error
// of at most 2^-18. Not varied.
constexpr double kMaxSum = 0x1p64;

// With a larger sum, 2^(2 t) of an m that is too low may overflow float32: the squares are then summed again. Derived.
constexpr double kMaxSumOfSquares = 0x1p60;

/** The largest of n elements. */
template <class T>
float max_of(const T* x, int64_t n) {
  V m = set1(-INFINITY);
  for (int64_t i = 0; i < n; i += kLanes) {
    m = max(m, n - i < kLanes ? load_n(x + i, static_cast<int>(n - i), -INFINITY) : load(x + i));
  }
  return max_lanes(m);
}

/** The lowest index of n elements that equals `value`, one of them. */
template <class T>
int64_t find(const T* x, int64_t n, float value) {
  int64_t i = 0;
  while (i + kLanes <= n && !any_equal(load(x + i), set1(value))) i += kLanes;
  while (i + 1 < n && to_float(x[i]) != value) i++;
  return i;
}

/** Calls use(entropy, argmax, squares) with these flags as constants. */
template <bool kFlag>
struct Constant {
  static constexpr bool value = kFlag;
};
template <class Use>
void with_flags(const Statistics& which, Use use) {
  const auto with_flag = [](bool flag, auto with) { flag ? with(Constant<true>()) : with(Constant<false>()); };
  with_flag(which.entropy, [&](auto entropy) {
    with_flag(which.argmax,
              [&](auto argmax) { with_flag(which.squares, [&](auto squares) { use(entropy, argmax, squares); }); });
  });
}

struct Sums {
  double sum_exp, sum_t_exp, sum_squares;
  float largest;
  int64_t argmax;
};

/**
 * sum_exp, sum_t_exp and sum_squares of a strip, and the largest elements of its two streams. Two independent
 * accumulators each hide the latency of the FMA.
 */
template <bool kEntropy, bool kArgmax, bool kSquares, bool kClamped, bool kFolded, class T>
class Accumulators {
 public:
  explicit Accumulators(const RowExponent<kFolded>& exponent) : row_(exponent) {
    sum_exp_[0] = sum_exp_[1] = sum_t_exp_[0] = sum_t_exp_[1] = sum_squares_[0] = sum_squares_[1] = set1(0.0f);
    largest_[0] = largest_[1] = set1(-INFINITY);
  }

  void add2(const T* p, int stream) {
    V a, b;
    load2(p, a, b);
    track(a, stream);
    track(b, stream);
    add1(a, 0);
    add1(b, 1);
  }

  void add1(V x, int k) { accumulate<kClamped>(x, k); }

  /** Of the first stream. */
  void track(V x, int stream = 0) {
    if (kArgmax) largest_[stream] = max(x, largest_[stream]);  // a NaN is passed over
  }

  /** Fewer than kLanes elements. The padding lanes are -inf, which is not to be reported as out of range. */
  void add_tail(const T* p, int n) {
    const V x = load_n(p, n, -INFINITY);
    track(x);
    accumulate<true>(x, 0);
  }

  bool out_of_range() const { return range_.out_of_range(); }
  V sum_exp() const { return add(sum_exp_[0], sum_exp_[1]); }
  V sum_t_exp() const { return add(sum_t_exp_[0], sum_t_exp_[1]); }
  V sum_squares() const { return add(sum_squares_[0], sum_squares_[1]); }
  V largest(int stream) const { return largest_[stream]; }

 private:
  template <bool kClamp>
  void accumulate(V x, int k) {
    const V y = row_.template argument<kClamp>(x);
    const ReducedExp2 reduced = reduce_exp2(y, row_.exponent, range_);
    const V p = polynomial_(reduced.r);
    sum_exp_[k] = fma(reduced.scale, p, sum_exp_[k]);
    if (kSquares) {
      const V power = mul(reduced.scale, p);
      sum_squares_[k] = fma(power, power, sum_squares_[k]);
    }
    if (!kEntropy) return;
    // x = -inf has 2^t = 0 and t = -inf; the clamp makes their product 0.
    const V t = max(set1(-127.0f), fma(y, set1(row_.exponent.scale_log2), set1(row_.exponent.bias)));
    sum_t_exp_[k] = fma(mul(reduced.scale, t), p, sum_t_exp_[k]);
  }

  const RowExponent<kFolded> row_;
  const ScaledExp2<kExp2> polynomial_;
  V sum_exp_[2], sum_t_exp_[2], sum_squares_[2], largest_[2];
  RangeTracker range_;
};

/**
 * One pass over n elements; NaN if some are out of range. Most of them are read as two streams, the second from the
 * middle, which is faster than one. The sums of a strip are added to a total lane by lane, the lanes at the end in
 * float64.
 */
template <bool kEntropy, bool kArgmax, bool kSquares, bool kClamped, bool kFolded, class T>
Sums sum_pass(const T* x, int64_t n, const RowExponent<kFolded>& exponent) {
  using Strip = Accumulators<kEntropy, kArgmax, kSquares, kClamped, kFolded, T>;
  constexpr int kPair = 2 * kLanes;
  V sum_exp = set1(0.0f), sum_t_exp = sum_exp, sum_squares = sum_exp;
  bool out_of_range = false;
  const auto add_strip = [&](const Strip& strip) {
    out_of_range |= strip.out_of_range();
    sum_exp = add(sum_exp, strip.sum_exp());
    if (kEntropy) sum_t_exp = add(sum_t_exp, strip.sum_t_exp());
    if (kSquares) sum_squares = add(sum_squares, strip.sum_squares());
  };
  // Of the two streams and of the rest: the largest element, and where the first strip that has it starts.
  float largest[3] = {-INFINITY, -INFINITY, -INFINITY};
  int64_t start[3] = {0, 0, 0};
  const auto compare = [&](V of_strip, int part, int64_t at) {
    if (kArgmax && any_greater(of_strip, set1(largest[part]))) largest[part] = max_lanes(of_strip), start[part] = at;
  };
  const int64_t half = n / (2 * kStrip * kPair) * kStrip * kPair;
  int64_t i = 0;
  while (i < half) {
    Strip strip(exponent);
    for (int k = 0; k < kStrip; k++, i += kPair) {
      if (kFolded) prefetch2(x + i), prefetch2(x + half + i);
      strip.add2(x + i, 0);
      strip.add2(x + half + i, 1);
    }
    add_strip(strip);
    compare(strip.largest(0), 0, i - kStrip * kPair);
    compare(strip.largest(1), 1, half + i - kStrip * kPair);
  }
  Strip strip(exponent);
  for (i = 2 * half; i + kPair <= n; i += kPair) strip.add2(x + i, 0);
  for (; i + kLanes <= n; i += kLanes) {
    const V a = load(x + i);
    strip.track(a);
    strip.add1(a, 0);
  }
  if (i < n) strip.add_tail(x + i, static_cast<int>(n - i));
  add_strip(strip);
  if (!kClamped && out_of_range) return {NAN, NAN, NAN, -INFINITY, -1};
  Sums sums{sum_lanes(sum_exp), kEntropy ? sum_lanes(sum_t_exp) : 0.0, kSquares ? sum_lanes(sum_squares) : 0.0,
            -INFINITY, -1};
  compare(strip.largest(0), 2, 2 * half);
  for (int part = 0; kArgmax && part < 3; part++) {
    if (largest[part] > sums.largest) sums.largest = largest[part], sums.argmax = start[part];
  }
  if (sums.argmax >= 0) sums.argmax += find(x + sums.argmax, n - sums.argmax, sums.largest);
  if (!kFolded) return sums;
  const double factor = ::exp2(exponent.residual);
  sums.sum_t_exp = (sums.sum_t_exp + exponent.residual * sums.sum_exp) * factor;
  sums.sum_exp *= factor;
  sums.sum_squares *= factor * factor;
  return sums;
}

/** Changes the max that the sums are relative to. */
inline void rescale(SegmentStats* stats, float row_max, float scale_log2) {
  if (stats->sum_exp != 0) {  // else both sums are 0, and the old max may be -inf
    const double d = (static_cast<double>(stats->max) - row_max) * scale_log2, factor = ::exp2(d);
    stats->sum_t_exp = (stats->sum_t_exp + stats->sum_exp * d) * factor;
    stats->sum_exp *= factor;
    stats->sum_squares *= factor * factor;
  }
  stats->max = row_max;
}

template <class T>
float initial_max(const T* x, int64_t n) {
  const float first = max_of(x, n <= kShort ? n : kFirst);
  return first > -INFINITY ? first : max_of(x, n);
}

template <bool kEntropy, bool kArgmax, bool kSquares, bool kClamped, class T>
Sums sums_relative_to(float row_max, const T* x, int64_t n, float scale_log2) {
  // The max of masked entries alone is -inf. Relative to 0 their terms are 0, and a NaN among them remains.
  return with_exponent(row_max == -INFINITY ? 0.0f : row_max, scale_log2, 0, n, [&](const auto& exponent) {
    return sum_pass<kEntropy, kArgmax, kSquares, kClamped>(x, n, exponent);
  });
}

template <bool kEntropy, bool kArgmax, bool kSquares, class T>
void softmax_stats(SegmentStats* stats, const T* x, int64_t n, float scale_log2) {
  if (stats->max == -INFINITY) rescale(stats, initial_max(x, n), scale_log2);
  Sums sums = sums_relative_to<kEntropy, kArgmax, kSquares, false>(stats->max, x, n, scale_log2);
  if (!(sums.sum_exp <= kMaxSum)) {  // the max is too low, or elements are far below it, or there is a NaN
    const float true_max = max_of(x, n);
    if (true_max > stats->max) rescale(stats, true_max, scale_log2);
    sums = sums_relative_to<kEntropy, kArgmax, kSquares, true>(stats->max, x, n, scale_log2);
  }
  if (kSquares && sums.sum_exp > kMaxSumOfSquares) {
    const float true_max = max_of(x, n);
    const double t = (static_cast<double>(true_max) - stats->max) * scale_log2;
    sums.sum_squares =
        sums_relative_to<false, false, true, true>(true_max, x, n, scale_log2).sum_squares * ::exp2(2 * t);
  }
  stats->sum_exp += sums.sum_exp;
  stats->sum_t_exp += sums.sum_t_exp;
  stats->sum_squares += sums.sum_squares;
  if (sums.largest > stats->largest) {
    stats->largest = sums.largest;
    stats->argmax = static_cast<int32_t>(sums.argmax);
  }
}

}  // namespace
}  // namespace sweet::SWEET_ISA
