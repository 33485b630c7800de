// Passes over two rows of logits, or over the tiles of two linear heads, x of the student and y of the teacher. Both
// are tiles of float32: a row is a tile [n / 16][16], whose 16 columns are parts of one row. See native/divergence.h.
//
//   pair_stats  the statistics of PairStats, relative to the largest entries
//   jsd_sums    D and kappa of jsd, where both lse are known
//   gradient    g * dD/dz
//
// With the terms of PairRows, log2 of a probability is t = (x - max) * scale_log2 + shift. A masked entry has t = -inf,
// which is cut at kLeastT: differences of two t stay finite, and the probability is 0 all the same.
#pragma once

#include "../kernels.h"
#include "exp2.h"

namespace sweet::reference {

/** Of column `column`, in float64. */
static inline PairStats pair_stats(const PairTile& tile, int64_t column, double scale_a, double scale_b) {
  PairStats stats = kEmptyPair;
  const auto at = [&](const float* x, int64_t v) { return x[v * tile.row_stride + column]; };
  for (int64_t v = 0; v < tile.entries; v++) {
    if (at(tile.x, v) > stats.max_a) stats.max_a = at(tile.x, v);
    if (at(tile.y, v) > stats.max_b) stats.max_b = at(tile.y, v);
  }
  for (int64_t v = 0; v < tile.entries; v++) {
    const double t_a = (static_cast<double>(at(tile.x, v)) - stats.max_a) * scale_a;
    const double t_b = (static_cast<double>(at(tile.y, v)) - stats.max_b) * scale_b;
    stats.sum_a += ::exp2(t_a);
    stats.sum_b += ::exp2(t_b);
    if (t_a == -INFINITY) continue;
    stats.unsupported = stats.unsupported || t_b == -INFINITY;
    if (t_b > -INFINITY || t_b != t_b) stats.weighted += ::exp2(t_a) * (t_a - t_b);
  }
  return stats;
}

/** log2 of a probability. */
static inline double log2_prob(float x, float max, float shift, double scale) {
  return (static_cast<double>(x) - max) * scale + shift;
}

static inline double jsd_ratio(double log2_p, double log2_q, double beta, bool of_q) {
  const double p = ::exp2(log2_p), q = ::exp2(log2_q), m = beta * p + (1 - beta) * q;
  return of_q ? ::log(q / m) : ::log(p / m);
}

/** Of column `column`, in float64. */
static inline JsdSums jsd_sums(const PairTile& tile, const PairRows& rows, int64_t column, double beta) {
  JsdSums sums{0, 0};
  for (int64_t v = 0; v < tile.entries; v++) {
    const int64_t at = v * tile.row_stride + column;
    const double q = log2_prob(tile.x[at], rows.max_x[column], rows.shift_x[column], rows.scale_x);
    const double p = log2_prob(tile.y[at], rows.max_y[column], rows.shift_y[column], rows.scale_y);
    const double of_p = ::exp2(p) > 0 ? ::exp2(p) * jsd_ratio(p, q, beta, false) : 0;
    const double of_q = ::exp2(q) > 0 ? ::exp2(q) * jsd_ratio(p, q, beta, true) : 0;
    sums.divergence += beta * of_p + (1 - beta) * of_q;
    sums.kappa += of_q;
  }
  return sums;
}

/** In nats. */
static inline double kappa_of(const PairRows& rows, int64_t column, Divergence type) {
  const double kappa = rows.kappa[column];
  if (type != Divergence::reverse_kl) return kappa;
  return ::log(2) * (kappa + rows.kappa_rest[column] - rows.shift_y[column]);
}

/** Of column `column` into out [entries], in float64. */
static inline void divergence_gradient(const PairTile& tile, const PairRows& rows, int64_t column, Divergence type,
                                       double beta, double* out) {
  for (int64_t v = 0; v < tile.entries; v++) {
    const int64_t at = v * tile.row_stride + column;
    const double log2_q = log2_prob(tile.x[at], rows.max_x[column], rows.shift_x[column], rows.scale_x);
    const double log2_p = log2_prob(tile.y[at], rows.max_y[column], rows.shift_y[column], rows.scale_y);
    const double q = ::exp2(log2_q), p = ::exp2(log2_p), kappa = kappa_of(rows, column, type);
    const double r = type == Divergence::jsd ? jsd_ratio(log2_p, log2_q, beta, true) : ::log(2) * (log2_q - log2_p);
    out[v] = rows.factor[column] * (type == Divergence::forward_kl ? q - p : q > 0 ? q * (r - kappa) : 0);
  }
}

}  // namespace sweet::reference

namespace sweet::SWEET_ISA {
namespace {

// Below every t of logits whose differences times log2(e) / temperature are less than 1e30.
constexpr float kLeastT = -0x1p100f;
constexpr float kLn2 = 0.693147182f;

/** 2^t, 0 where t is far below 0. */
template <bool kClamped>
V exp2_of(V t) {
  RangeTracker range;
  const RowExponent<true> row(0, 1, 0);
  const ReducedExp2 reduced = reduce_exp2(row.argument<kClamped>(t), row.exponent, range);
  return mul(reduced.scale, ScaledExp2<kExp2>()(reduced.r));
}

struct PairVectors {
  V sum_a, sum_b, weighted;  // weighted: of pairs_in_range() in units of a, not of t_a
};

/** The sums of PairStats over some entries of kLanes columns. */
class PairAccumulators {
 public:
  PairAccumulators(V pivot_a, V pivot_b, float scale_a, float scale_b)
      : pivot_a_(pivot_a), pivot_b_(pivot_b), ratio_(set1(-scale_b / scale_a)), a_(0, scale_a, 0), b_(0, scale_b, 0) {
    sums_.sum_a = sums_.sum_b = sums_.weighted = set1(0.0f);
  }

  /** kClamped: t_a and t_b may be far below 0 or -inf. */
  template <bool kClamped>
  void add1(V a, V b) {
    const V y_a = sub(a, pivot_a_), y_b = sub(b, pivot_b_);
    const ReducedExp2 of_a = reduce_exp2(a_.argument<kClamped>(y_a), a_.exponent, range_);
    const ReducedExp2 of_b = reduce_exp2(b_.argument<kClamped>(y_b), b_.exponent, range_);
    const V p_a = polynomial_(of_a.r), p_b = polynomial_(of_b.r);
    // The same operations for both, so that rows of equal bits have equal sums and no difference.
    V difference = fma(y_b, ratio_, y_a);
    if (kClamped) {
      const V t_a = mul(y_a, set1(a_.exponent.scale_log2)), t_b = mul(y_b, set1(b_.exponent.scale_log2));
      difference = sub(max(set1(kLeastT), t_a), max(set1(kLeastT), t_b));
    }
    sums_.sum_a = fma(of_a.scale, p_a, sums_.sum_a);
    sums_.sum_b = fma(of_b.scale, p_b, sums_.sum_b);
    sums_.weighted = fma(mul(of_a.scale, p_a), difference, sums_.weighted);
  }

  const PairVectors& sums() const { return sums_; }
  bool out_of_range() const { return range_.out_of_range(); }

 private:
  const V pivot_a_, pivot_b_, ratio_;
  const RowExponent<true> a_, b_;
  const ScaledExp2<kExp2> polynomial_;
  PairVectors sums_;
  RangeTracker range_;
};

/** False where an entry is out of range. */
template <bool kClamped>
bool pair_sums(const PairTile& tile, int64_t first, V pivot_a, V pivot_b, float scale_a, float scale_b,
               PairVectors* sums) {
  PairAccumulators even(pivot_a, pivot_b, scale_a, scale_b), odd = even;
  const float *a = tile.x + first, *b = tile.y + first;
  int64_t v = 0;
  for (; v + 1 < tile.entries; v += 2, a += 2 * tile.row_stride, b += 2 * tile.row_stride) {
    even.add1<kClamped>(load(a), load(b));
    odd.add1<kClamped>(load(a + tile.row_stride), load(b + tile.row_stride));
  }
  if (v < tile.entries) even.add1<kClamped>(load(a), load(b));
  *sums = {add(even.sums().sum_a, odd.sums().sum_a), add(even.sums().sum_b, odd.sums().sum_b),
           add(even.sums().weighted, odd.sums().weighted)};
  return !even.out_of_range() && !odd.out_of_range();
}

// A larger sum of a block shows that a pivot is too low: the block is summed again, relative to its own largest
// entries. Derived: blocks have 2^11 entries, and t is at most 14, with an error of 2^-21.
constexpr double kMaxBlockSum = 0x1p14;

/** Of columns of one row, relative to the largest entries of earlier blocks; false where that does not do. */
inline bool add_in_range(const PairTile& tile, int64_t first, PairStats* stats, float scale_a, float scale_b) {
  const float ratio = scale_b / scale_a;
  if (stats->sum_a == 0 || stats->sum_b == 0 || !(ratio > 0x1p-60f && ratio < 0x1p60f)) return false;
  PairVectors sums;
  if (!pair_sums<false>(tile, first, set1(stats->max_a), set1(stats->max_b), scale_a, scale_b, &sums)) return false;
  const double sum_a = sum_lanes(sums.sum_a), sum_b = sum_lanes(sums.sum_b), weighted = sum_lanes(sums.weighted);
  if (!(sum_a <= kMaxBlockSum && sum_b <= kMaxBlockSum && weighted - weighted == 0)) return false;
  stats->sum_a += sum_a;
  stats->sum_b += sum_b;
  stats->weighted += weighted * scale_a;
  return true;
}

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

/** Whether a column has an entry that is -inf in y alone. */
inline bool has_unsupported(const PairTile& tile, int64_t column) {
  for (int64_t v = 0; v < tile.entries; v++) {
    const int64_t at = v * tile.row_stride + column;
    if (tile.y[at] == -INFINITY && tile.x[at] != -INFINITY) return true;
  }
  return false;
}

/** Of kLanes columns from `first` on, of which `columns` count. Those of one row share the statistics of the first. */
inline void pair_columns(const PairTile& tile, int64_t first, int columns, PairStats* stats, float scale_a,
                         float scale_b, bool one_row) {
  if (one_row && add_in_range(tile, first, stats, scale_a, scale_b)) return;
  V max_a = set1(-FLT_MAX), max_b = max_a, min_b = set1(FLT_MAX);
  for (int64_t v = 0; v < tile.entries; v++) {
    const V a = load(tile.x + v * tile.row_stride + first), b = load(tile.y + v * tile.row_stride + first);
    max_a = max(a, max_a);
    max_b = max(b, max_b), min_b = min(b, min_b);
  }
  if (one_row) max_a = set1(max_lanes(max_a)), max_b = set1(max_lanes(max_b));
  float pivots_a[kLanes], pivots_b[kLanes], least_b[kLanes];
  store(pivots_a, max_a);
  store(pivots_b, max_b);
  store(least_b, min_b);
  for (int i = 0; i < columns; i++) {
    PairStats& of_row = stats[one_row ? 0 : i];
    if (i == 0 || !one_row) {
      const float to_a = pivots_a[i] > of_row.max_a ? pivots_a[i] : of_row.max_a;
      const float to_b = pivots_b[i] > of_row.max_b ? pivots_b[i] : of_row.max_b;
      raise_pair(&of_row, to_a, to_b, scale_a, scale_b);
    }
    pivots_a[i] = of_row.max_a, pivots_b[i] = of_row.max_b;
    if (least_b[i] == -INFINITY && !of_row.unsupported) of_row.unsupported = has_unsupported(tile, first + i);
  }
  PairVectors sums;
  pair_sums<true>(tile, first, load(pivots_a), load(pivots_b), scale_a, scale_b, &sums);
  if (one_row) {
    stats->sum_a += sum_lanes(sums.sum_a);
    stats->sum_b += sum_lanes(sums.sum_b);
    stats->weighted += sum_lanes(sums.weighted);
    return;
  }
  float sums_a[kLanes], sums_b[kLanes], sums_weighted[kLanes];
  store(sums_a, sums.sum_a);
  store(sums_b, sums.sum_b);
  store(sums_weighted, sums.weighted);
  for (int i = 0; i < columns; i++) {
    stats[i].sum_a += sums_a[i];
    stats[i].sum_b += sums_b[i];
    stats[i].weighted += sums_weighted[i];
  }
}

inline int columns_from(const PairTile& tile, int64_t first) {
  return static_cast<int>(tile.tokens - first < kLanes ? tile.tokens - first : kLanes);
}

inline void pair_stats(const PairTile& tile, PairStats* stats, float scale_a, float scale_b, bool one_row) {
  for (int64_t i = 0; i < tile.tokens; i += kLanes) {
    pair_columns(tile, i, columns_from(tile, i), stats + i, scale_a, scale_b, one_row);
  }
}

/** log2 of the probabilities of kLanes columns. */
struct NormalizedColumns {
  V max, shift, scale;

  NormalizedColumns(const float* maxes, const float* shifts, float scale_log2)
      : max(load(maxes)), shift(load(shifts)), scale(set1(scale_log2)) {}

  V log2_prob(V x) const { return SWEET_ISA::max(set1(kLeastT), fma(sub(x, max), scale, shift)); }
};

constexpr float kExpm1[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f};
constexpr float kLog1p[] = {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                            -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f};

/**
 * -log1p(weight * expm1(-|d|)) of d = log P - log Q: minus the logarithm of M over the larger of P and Q, whose weight
 * in M is 1 - weight. d in units of log2, e = 2^-|d|.
 */
inline V jsd_log(V abs_d, V e, V weight, V other_weight) {
  // expm1(w) = w + w^2 (1/2 + w/6 + ...) for a small w: the next term is 2e-8 of it at 0.35.
  const V w = mul(abs_d, set1(-kLn2));
  V p = set1(1.0f / 5040);
  for (const float c : kExpm1) p = fma(p, w, set1(c));
  const V expm1 = choose_less(w, set1(-0.35f), sub(e, set1(1.0f)), fma(mul(w, w), p, w));

  // log(1 + f) = f - f^2/2 + f^3 p(f) for 1 + f from sqrt(1/2) to sqrt(2): the polynomial of Cephes' logf.
  const V product = mul(weight, expm1), q = fma(weight, e, other_weight);
  const Mantissa split = split_exponent(q);
  const V f = choose_less(q, set1(0.70710678f), sub(split.m, set1(1.0f)), product);
  const V k = choose_less(q, set1(0.70710678f), split.exponent, set1(0.0f));
  V r = set1(7.0376836292e-2f);
  for (const float c : kLog1p) r = fma(r, f, set1(c));
  const V square = mul(f, f);
  const V log = add(f, fma(mul(square, f), r, mul(square, set1(-0.5f))));
  return sub(set1(0.0f), fma(k, set1(kLn2), log));
}

/** log(Q/M) and log(P/M) with the probabilities at which they stand. */
struct JsdTerms {
  V q, p, log_q, log_p;

  JsdTerms(V log2_q, V log2_p, V beta, V other_beta) {
    const V zero = set1(0.0f), d = sub(log2_p, log2_q), abs_d = max(d, sub(zero, d));
    const V e = exp2_of<true>(sub(zero, abs_d)), larger = exp2_of<true>(max(log2_p, log2_q)), smaller = mul(larger, e);
    const V weight = choose_less(zero, d, other_beta, beta), rest = choose_less(zero, d, beta, other_beta);
    const V of_larger = jsd_log(abs_d, e, weight, rest), of_smaller = fma(abs_d, set1(-kLn2), of_larger);
    p = choose_less(zero, d, larger, smaller);
    q = choose_less(zero, d, smaller, larger);
    log_p = choose_less(zero, d, of_larger, of_smaller);
    log_q = choose_less(zero, d, of_smaller, of_larger);
  }
};

inline void jsd_sums(const PairTile& tile, const PairRows& rows, float beta, float other_beta, JsdSums* sums) {
  for (int64_t i = 0; i < tile.tokens; i += kLanes) {
    const NormalizedColumns student(rows.max_x + i, rows.shift_x + i, rows.scale_x);
    const NormalizedColumns teacher(rows.max_y + i, rows.shift_y + i, rows.scale_y);
    V of_p = set1(0.0f), of_q = of_p;
    for (int64_t v = 0; v < tile.entries; v++) {
      const int64_t at = v * tile.row_stride + i;
      const JsdTerms terms(student.log2_prob(load(tile.x + at)), teacher.log2_prob(load(tile.y + at)), set1(beta),
                           set1(other_beta));
      of_p = fma(terms.p, terms.log_p, of_p);
      of_q = fma(terms.q, terms.log_q, of_q);
    }
    float sums_p[kLanes], sums_q[kLanes];
    store(sums_p, of_p);
    store(sums_q, of_q);
    for (int c = 0; c < columns_from(tile, i); c++) {
      sums[i + c].divergence += static_cast<double>(beta) * sums_p[c] + static_cast<double>(other_beta) * sums_q[c];
      sums[i + c].kappa += sums_q[c];
    }
  }
}

template <Divergence kType>
void gradient_of(const PairTile& tile, const PairRows& rows, float beta, float other_beta, float* out) {
  for (int64_t i = 0; i < tile.tokens; i += kLanes) {
    const NormalizedColumns student(rows.max_x + i, rows.shift_x + i, rows.scale_x);
    const NormalizedColumns teacher(rows.max_y + i, rows.shift_y + i, rows.scale_y);
    const V factor = load(rows.factor + i), kappa = load(rows.kappa + i), kappa_rest = load(rows.kappa_rest + i);
    for (int64_t v = 0; v < tile.entries; v++) {
      const int64_t at = v * tile.row_stride + i;
      const V log2_q = student.log2_prob(load(tile.x + at));
      const V log2_p = kType == Divergence::reverse_kl ? set1(0.0f) : teacher.log2_prob(load(tile.y + at));
      V slope;
      if (kType == Divergence::forward_kl) {
        slope = sub(exp2_of<true>(log2_q), exp2_of<true>(log2_p));
      } else if (kType == Divergence::reverse_kl) {
        // Where Q is close to 1, r is close to kappa: kappa is added to log P before the sum is rounded.
        const V with_kappa = max(set1(kLeastT), fma(sub(load(tile.y + at), teacher.max), teacher.scale, kappa));
        slope = mul(exp2_of<true>(log2_q), mul(sub(sub(log2_q, with_kappa), kappa_rest), set1(kLn2)));
      } else {
        const JsdTerms terms(log2_q, log2_p, set1(beta), set1(other_beta));
        slope = mul(terms.q, sub(terms.log_q, kappa));
      }
      store(out + at, mul(factor, slope));
    }
  }
}

inline void divergence_gradient(const PairTile& tile, const PairRows& rows, Divergence type, float beta,
                                float other_beta, float* out) {
  switch (type) {
    case Divergence::forward_kl:
      return gradient_of<Divergence::forward_kl>(tile, rows, beta, other_beta, out);
    case Divergence::reverse_kl:
      return gradient_of<Divergence::reverse_kl>(tile, rows, beta, other_beta, out);
    case Divergence::jsd:
      return gradient_of<Divergence::jsd>(tile, rows, beta, other_beta, out);
  }
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
