// Passes over n entries of two rows of one type, x of the student and y of the teacher (a and b in the order of the
// KL), each in one read of both. See divergence.h, and native/divergence.h for the formulas.
//
//   pair_row_stats      the statistics of PairStats
//   pair_row_jsd        D and kappa of jsd, where both lse are known
//   pair_row_gradient   out[n] = g * dD/dz; out may be x or y
#pragma once

#include "divergence.h"
#include "softmax_stats.h"

namespace sweet::SWEET_ISA {
namespace {

/** Changes the entries that the sums are relative to. */
inline void raise_pair(PairStats* stats, float max_a, float max_b, float scale_a, float scale_b) {
  const double d_a = (static_cast<double>(stats->max_a) - max_a) * scale_a;
  const double d_b = (static_cast<double>(stats->max_b) - max_b) * scale_b;
  if (stats->sum_a != 0) {
    const double factor = d_a == 0 ? 1 : ::exp2(d_a);
    stats->weighted = (stats->weighted + stats->sum_a * (d_a - d_b)) * factor;
    stats->sum_a *= factor;
  }
  if (stats->sum_b != 0 && d_b != 0) stats->sum_b *= ::exp2(d_b);
  stats->max_a = max_a;
  stats->max_b = max_b;
}

/** Of a row with `rest` elements left. */
template <class T>
V load_rest(const T* p, int64_t rest, float fill) {
  return rest < kLanes ? load_n(p, static_cast<int>(rest), fill) : load(p);
}

/** What a first read of two rows finds; the entries that the sums are relative to are finite. */
struct PairMaxima {
  float a, b;
  bool unsupported;  // b is -inf where a is not
};

template <class T>
PairMaxima pair_maxima(const T* a, const T* b, int64_t n) {
  V max_a = set1(-FLT_MAX), max_b = max_a, alone = set1(-INFINITY);
  for (int64_t i = 0; i < n; i += kLanes) {
    const V of_a = load_rest(a + i, n - i, -INFINITY), of_b = load_rest(b + i, n - i, -INFINITY);
    max_a = max(of_a, max_a);
    max_b = max(of_b, max_b);
    alone = max(choose_less(of_b, set1(-FLT_MAX), of_a, set1(-INFINITY)), alone);
  }
  return {max_lanes(max_a), max_lanes(max_b), max_lanes(alone) > -INFINITY};
}

// A larger sum shows that a pivot is too low: the entries are summed again, relative to the largest. Derived: a call
// has 2^14 entries at most, and t is at most 14, with an error of 2^-21.
constexpr double kMaxPairSum = 0x1p14;

/**
 * Adds n entries to the statistics, relative to stats->max_a and max_b, in strips as in softmax_stats.h; false where
 * that does not do, without kClamped for entries far below these too.
 */
template <bool kClamped, class T>
bool add_pairs(PairStats* stats, const T* a, const T* b, int64_t n, float scale_a, float scale_b) {
  constexpr int kPair = 2 * kLanes;
  const PairAccumulators empty(set1(stats->max_a), set1(stats->max_b), scale_a, scale_b);
  PairAccumulators total = empty;
  int64_t i = 0;
  while (i + kPair <= n) {
    PairAccumulators even = empty, odd = empty;
    for (int k = 0; k < kStrip && i + kPair <= n; k++, i += kPair) {
      V a0, a1, b0, b1;
      if (n >= kLong) prefetch2(a + i), prefetch2(b + i);
      load2(a + i, a0, a1);
      load2(b + i, b0, b1);
      even.add1<kClamped>(a0, b0);
      odd.add1<kClamped>(a1, b1);
    }
    total.merge(even);
    total.merge(odd);
  }
  PairAccumulators last = empty;  // whose padding is -inf
  for (; i < n; i += kLanes) {
    if (!kClamped && any_equal(load_rest(b + i, n - i, 0.0f), set1(-INFINITY))) return false;
    last.add1<true>(load_rest(a + i, n - i, -INFINITY), load_rest(b + i, n - i, -INFINITY));
  }
  const double unit = kClamped ? 1 : scale_a;
  const double sum_a = sum_lanes(add(total.sums().sum_a, last.sums().sum_a));
  const double sum_b = sum_lanes(add(total.sums().sum_b, last.sums().sum_b));
  const double weighted = sum_lanes(total.sums().weighted) * unit + sum_lanes(last.sums().weighted);
  if (!kClamped &&
      (total.out_of_range() || !(sum_a <= kMaxPairSum && sum_b <= kMaxPairSum) || weighted - weighted != 0)) {
    return false;
  }
  stats->sum_a += sum_a;
  stats->sum_b += sum_b;
  stats->weighted += weighted;
  return true;
}

template <class T>
void pair_row_stats(const PairOfRows& pair, PairStats* stats, float scale_a, float scale_b) {
  const T *a = static_cast<const T*>(pair.x), *b = static_cast<const T*>(pair.y);
  const int64_t n = pair.n;
  const auto raise = [&](const PairMaxima& to) {
    raise_pair(stats, to.a > stats->max_a ? to.a : stats->max_a, to.b > stats->max_b ? to.b : stats->max_b, scale_a,
               scale_b);
  };
  if (stats->sum_a == 0 || stats->sum_b == 0) raise(pair_maxima(a, b, n <= kShort ? n : kFirst));
  const float ratio = scale_b / scale_a;
  if (ratio > 0x1p-60f && ratio < 0x1p60f && add_pairs<false>(stats, a, b, n, scale_a, scale_b)) return;
  const PairMaxima all = pair_maxima(a, b, n);
  raise(all);
  stats->unsupported = stats->unsupported || all.unsupported;
  add_pairs<true>(stats, a, b, n, scale_a, scale_b);
}

inline void add_jsd(JsdSums* to, float beta, float other_beta, double of_p, double of_q) {
  to->divergence += static_cast<double>(beta) * of_p + static_cast<double>(other_beta) * of_q;
  to->kappa += of_q;
}

template <class T>
void pair_row_jsd(const PairOfRows& pair, const PairRows& rows, float beta, float other_beta, JsdSums* sums) {
  const T *x = static_cast<const T*>(pair.x), *y = static_cast<const T*>(pair.y);
  const int64_t n = pair.n;
  constexpr int kPair = 2 * kLanes;
  const JsdAccumulators empty(PairColumns(rows, 0), beta, other_beta);
  JsdAccumulators last = empty;  // whose padding adds 0
  V of_p = set1(0.0f), of_q = of_p;
  int64_t i = 0;
  while (i + kPair <= n) {
    JsdAccumulators strip = empty;
    for (int k = 0; k < kStrip && i + kPair <= n; k++, i += kPair) {
      V x0, x1, y0, y1;
      if (n >= kLong) prefetch2(x + i), prefetch2(y + i);
      load2(x + i, x0, x1);
      load2(y + i, y0, y1);
      strip.add1(x0, y0);
      strip.add1(x1, y1);
    }
    of_p = add(of_p, strip.of_p());
    of_q = add(of_q, strip.of_q());
  }
  for (; i < n; i += kLanes) {
    last.add1(load_rest(x + i, n - i, -INFINITY), load_rest(y + i, n - i, -INFINITY));
  }
  add_jsd(sums, beta, other_beta, sum_lanes(add(of_p, last.of_p())), sum_lanes(add(of_q, last.of_q())));
}

/** A pair of vectors, of which `rest` entries count. All entries are stored by store2, which rounds alike. */
template <class T, class Gradient>
void gradient_of_rest(const T* x, const T* y, T* out, int64_t rest, const Gradient& gradient) {
  T padded_x[2 * kLanes] = {}, padded_y[2 * kLanes] = {};
  const size_t bytes = static_cast<size_t>(rest) * sizeof(T);
  memcpy(padded_x, x, bytes);
  memcpy(padded_y, y, bytes);
  V x0, x1, y0, y1;
  load2(padded_x, x0, x1);
  load2(padded_y, y0, y1);
  store2(padded_x, gradient.at(x0, y0), gradient.at(x1, y1));
  memcpy(out, padded_x, bytes);
}

/** The gradient is passed by value: through a reference its terms would be loaded again after every store. */
template <bool kStream, class T, class Gradient>
void write_pair_gradient(const T* x, const T* y, T* out, int64_t n, const Gradient gradient) {
  constexpr int64_t kPair = 2 * kLanes, kBytes = sizeof(T);
  int64_t i = 0;
  const auto vectors_to = [&](int64_t end) {
    for (; i < end; i += end - i < kPair ? end - i : kPair) {
      gradient_of_rest(x + i, y + i, out + i, end - i < kPair ? end - i : kPair, gradient);
    }
  };
  if (kStream) {
    const int64_t aligned = -(reinterpret_cast<intptr_t>(out) / kBytes) & (64 / kBytes - 1);
    vectors_to(aligned < n ? aligned : n);
  }
  for (; i + kPair <= n; i += kPair) {
    V x0, x1, y0, y1;
    if (n >= kLong) prefetch2(x + i), prefetch2(y + i);
    load2(x + i, x0, x1);
    load2(y + i, y0, y1);
    const V even = gradient.at(x0, y0), odd = gradient.at(x1, y1);
    kStream ? store_nontemporal2(out + i, even, odd) : store2(out + i, even, odd);
  }
  if (kStream) fence_nontemporal();
  vectors_to(n);
}

template <class T>
void pair_row_gradient(const PairOfRows& pair, const PairRows& rows, Divergence type, float beta, float other_beta,
                       T* out, bool stream) {
  const T *x = static_cast<const T*>(pair.x), *y = static_cast<const T*>(pair.y);
  with_gradient(rows, 0, type, beta, other_beta, [&](const auto& gradient) {
    stream ? write_pair_gradient<true>(x, y, out, pair.n, gradient)
           : write_pair_gradient<false>(x, y, out, pair.n, gradient);
  });
}

/** n elements, rounded to the storage type. */
template <class T>
void narrow(const float* x, int64_t n, T* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, load(x + i));
  for (; i < n; i++) from_float(x[i], out + i);
}

}  // namespace
}  // namespace sweet::SWEET_ISA
