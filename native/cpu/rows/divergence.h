// What is computed at each entry of two rows of logits, x of the student and y of the teacher, by the passes over rows
// (pair_rows.h) and over tiles of linear heads (gemm/pair_tiles.h). See native/divergence.h for the formulas.
//
//   PairAccumulators   the sums of PairStats, relative to given entries
//   JsdAccumulators    the sums of D and kappa of jsd, where both lse are known
//   PairGradient       g * dD/dz
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

/** 2^(y * scale_log2); with kClamped 0 where that is far below 1. Inline: GCC 12 calls it in the loops otherwise. */
template <bool kClamped>
[[gnu::always_inline]] inline V exp2_of(V y, float scale_log2 = 1) {
  RangeTracker range;
  const RowExponent<true> row(0, scale_log2, 0);
  const ReducedExp2 reduced = reduce_exp2(row.argument<kClamped>(y), row.exponent, range);
  return mul(reduced.scale, ScaledExp2<kExp2>()(reduced.r));
}

struct PairVectors {
  V sum_a, sum_b, weighted;  // weighted: without kClamped in units of a, not of t_a
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

  /** Adds the sums of others with the same pivots. */
  void merge(const PairAccumulators& other) {
    sums_ = {add(sums_.sum_a, other.sums_.sum_a), add(sums_.sum_b, other.sums_.sum_b),
             add(sums_.weighted, other.sums_.weighted)};
    out_of_range_ |= other.out_of_range();
  }

  const PairVectors& sums() const { return sums_; }
  bool out_of_range() const { return out_of_range_ || range_.out_of_range(); }

 private:
  const V pivot_a_, pivot_b_, ratio_;
  const RowExponent<true> a_, b_;
  const ScaledExp2<kExp2> polynomial_;
  PairVectors sums_;
  RangeTracker range_;
  bool out_of_range_ = false;
};

/** The probabilities of kLanes columns. */
struct NormalizedColumns {
  V max, shift;
  float scale;

  NormalizedColumns(const float* maxes, const float* shifts, float scale_log2)
      : max(load(maxes)), shift(load(shifts)), scale(scale_log2) {}

  /** log2 of a probability, at least `least`. */
  V log2_prob(V x, float least) const { return SWEET_ISA::max(set1(least), fma(sub(x, max), set1(scale), shift)); }

  /** A probability divided by 2^shift. */
  V scaled_prob(V x) const { return exp2_of<true>(sub(x, max), scale); }
};

struct PairColumns {
  NormalizedColumns student, teacher;

  PairColumns(const PairRows& rows, int64_t first)
      : student(rows.max_x + first, rows.shift_x + first, rows.scale_x),
        teacher(rows.max_y + first, rows.shift_y + first, rows.scale_y) {}
};

constexpr float kLog1p[] = {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                            -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f};

// log2 of a probability of jsd is cut here: the product of its 2^t and any finite number counts 0 beside the others.
constexpr float kLeastOfJsd = -126;

/**
 * log(Q/M) and log(P/M) with the probabilities at which they stand. With L the larger and S the smaller one of P and
 * Q, w the weight of L in M and d = log2(L/S):
 *
 *   M/S = 1 + w (2^d - 1) = 2^k (1 + f),  log(S/M) = -(k log 2 + log1p(f)),  log(L/M) = (d - k) log 2 - log1p(f)
 *
 * The arguments are at least kLeastOfJsd, so that d is at most 126.
 */
struct JsdTerms {
  V q, p, log_q, log_p;

  JsdTerms(V log2_q, V log2_p, V beta, V other_beta) {
    // In this order, since min and max return their second argument where one is a NaN: d is a NaN then.
    const V log2_s = min(log2_p, log2_q), d = sub(max(log2_q, log2_p), log2_s), one = set1(1.0f);
    RangeTracker range;
    const RowExponent<true> row(0, 1, 0);
    const ReducedExp2 reduced = reduce_exp2(d, row.exponent, range);
    V slope = set1(kExp2.c[kExp2.degree - 1]);
    for (int i = kExp2.degree - 2; i >= 0; i--) slope = fma(slope, reduced.r, set1(kExp2.c[i]));
    // The scale of a small d is 1: no digit of 2^d - 1 is lost.
    const V expm1 = fma(mul(reduced.scale, reduced.r), slope, sub(reduced.scale, one));
    const V smaller = exp2_of<false>(log2_s), larger = fma(smaller, expm1, smaller);

    // log(1 + f) = f - f^2/2 + f^3 p(f) for 1 + f from sqrt(1/2) to sqrt(2): the polynomial of Cephes' logf.
    const V weight = choose_less(log2_q, log2_p, beta, other_beta), product = mul(weight, expm1);
    const Mantissa split = split_exponent(add(product, one));
    const V f = choose_less(split.exponent, one, product, sub(split.m, one));
    V r = set1(7.0376836292e-2f);
    for (const float c : kLog1p) r = fma(r, f, set1(c));
    const V square = mul(f, f), log1p = add(f, fma(mul(square, f), r, mul(square, set1(-0.5f))));
    const V of_smaller = sub(mul(split.exponent, set1(-kLn2)), log1p);
    const V of_larger = sub(mul(sub(d, split.exponent), set1(kLn2)), log1p);
    p = choose_less(log2_q, log2_p, larger, smaller);
    q = choose_less(log2_q, log2_p, smaller, larger);
    log_p = choose_less(log2_q, log2_p, of_larger, of_smaller);
    log_q = choose_less(log2_q, log2_p, of_smaller, of_larger);
  }
};

/** JsdSums of kLanes columns. */
class JsdAccumulators {
 public:
  JsdAccumulators(const PairColumns& columns, float beta, float other_beta)
      : columns_(columns), beta_(beta), other_beta_(other_beta), of_p_(set1(0.0f)), of_q_(of_p_) {}

  void add1(V x, V y) {
    const JsdTerms terms(columns_.student.log2_prob(x, kLeastOfJsd), columns_.teacher.log2_prob(y, kLeastOfJsd),
                         set1(beta_), set1(other_beta_));
    of_p_ = fma(terms.p, terms.log_p, of_p_);
    of_q_ = fma(terms.q, terms.log_q, of_q_);
  }

  V of_p() const { return of_p_; }
  V of_q() const { return of_q_; }

 private:
  const PairColumns columns_;
  const float beta_, other_beta_;
  V of_p_, of_q_;
};

/** g * dD/dz of kLanes columns. */
template <Divergence kType>
class PairGradient {
 public:
  PairGradient(const PairColumns& columns, const PairRows& rows, int64_t first, float beta, float other_beta)
      : columns_(columns),
        factor_(load(rows.factor + first)),
        of_student_(mul(factor_, exp2_of<true>(columns.student.shift))),
        of_teacher_(mul(factor_, exp2_of<true>(columns.teacher.shift))),
        kappa_(load(rows.kappa + first)),
        kappa_rest_(load(rows.kappa_rest + first)),
        beta_(beta),
        other_beta_(other_beta) {}

  V at(V x, V y) const {
    const NormalizedColumns &student = columns_.student, &teacher = columns_.teacher;
    if (kType == Divergence::forward_kl) {
      return sub(mul(student.scaled_prob(x), of_student_), mul(teacher.scaled_prob(y), of_teacher_));
    }
    if (kType == Divergence::reverse_kl) {
      // Where Q is close to 1, r is close to kappa: kappa is added to log P before the sum is rounded.
      const V with_kappa = max(set1(kLeastT), fma(sub(y, teacher.max), set1(teacher.scale), kappa_));
      const V r = sub(sub(student.log2_prob(x, kLeastT), with_kappa), kappa_rest_);
      return mul(mul(student.scaled_prob(x), of_student_), mul(r, set1(kLn2)));
    }
    const V log2_q = student.log2_prob(x, kLeastOfJsd);
    const JsdTerms terms(log2_q, teacher.log2_prob(y, kLeastOfJsd), set1(beta_), set1(other_beta_));
    const V q = choose_less(set1(kLeastOfJsd), log2_q, terms.q, set1(0.0f));
    return mul(factor_, mul(q, sub(terms.log_q, kappa_)));
  }

 private:
  const PairColumns columns_;
  const V factor_, of_student_, of_teacher_;  // of_...: factor * 2^shift
  const V kappa_, kappa_rest_;
  const float beta_, other_beta_;
};

/** Calls use(gradient) with the PairGradient of the columns from `first` on. */
template <class Use>
void with_gradient(const PairRows& rows, int64_t first, Divergence type, float beta, float other_beta, Use use) {
  const PairColumns columns(rows, first);
  switch (type) {
    case Divergence::forward_kl:
      return use(PairGradient<Divergence::forward_kl>(columns, rows, first, beta, other_beta));
    case Divergence::reverse_kl:
      return use(PairGradient<Divergence::reverse_kl>(columns, rows, first, beta, other_beta));
    case Divergence::jsd:
      return use(PairGradient<Divergence::jsd>(columns, rows, first, beta, other_beta));
  }
}

}  // namespace
}  // namespace sweet::SWEET_ISA
