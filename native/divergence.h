// Divergences of whole distributions, for distillation: of a student's head Q and a teacher P, row by row.
//
//   Q_v = e^(z_v - lse_z) of the student's logits z, P_v = e^(y_v - lse_y) of the teacher's y, both after temperature
//   M = beta P + (1 - beta) Q,  r_v = log Q_v - log P_v, of jsd log Q_v - log M_v
//
//                D                                          dD/dz_v                  kappa
//   forward_kl   sum_v P_v (log P_v - log Q_v)              Q_v - P_v                0
//   reverse_kl   sum_v Q_v (log Q_v - log P_v)              Q_v (r_v - kappa)        D
//   jsd          beta KL(P||M) + (1 - beta) KL(Q||M)        (1 - beta) Q_v (r_v - kappa)   KL(Q||M)
//
// 0 log 0 = 0. A KL is +inf where the left distribution has an entry that is masked (-inf) in the right one; jsd is
// finite. D is cut at 0 from below; rows of equal bits give exactly 0.
//
// A top-k teacher has P_k at K distinct entries. With topKTail 'bucket' all other entries are one: P_T = max(1 - sum
// P_k, 1e-7), q_T = sum of the other Q_v, from a logsumexp of its own; dD/dz_v outside the support is Q_v (sum P - P_T
// / q_T), Q_v (r_T - kappa) or (1 - beta) Q_v (r_T - kappa): Q_v / q_T times the gradient of the bucket as one entry,
// which is finite for any q_T. With 'renormalize', P and Q are distributions over the K
// entries.
//
// A dropped row, masked or ignored by its label, is not read: D is 0, its gradient 0. There is no gradient at the
// teacher.
#pragma once

#include <cmath>

#include "head.h"
#include "pair_stats.h"
#include "softmax.h"

namespace sweet {

/** A head with the rows and the vocabulary of the student's, or, where it has neither logits nor a weight, top-k. */
struct Teacher {
  Head head;
  int64_t k;  // entries of a row; 0: a head
  TopKTail tail;
  const int32_t* indices;  // [N, K]
  const float* logps;      // [N, K]

  bool is_top_k() const { return k > 0; }
};

/** What the backward pass needs of a row; 0 each of a dropped row. */
struct SavedRow {
  double lse_z, lse_y;
  double kappa;
  double log_q_tail;  // log q_T of a top-k teacher with a bucket, else 0
};
constexpr int64_t kSavedSize = sizeof(SavedRow) / sizeof(double);

struct HeadDivergence {
  Head head;
  Labels labels;  // which rows are dropped; may have no data
  Teacher teacher;
  Divergence type;
  double jsd_beta;
  float* divergence;  // [N]
  double* saved;      // [N, kSavedSize]
};

struct HeadDivergenceBackward {
  Head head;
  Labels labels;
  Teacher teacher;
  Divergence type;
  double jsd_beta;
  const double* saved;           // [N, kSavedSize]
  const float* grad_divergence;  // [N]
  HeadGradients gradients;
};

/** Whether the teacher is a head of the same kind, rows and vocabulary, or top-k. */
inline bool fits_teacher(const Head& head, const Teacher& teacher) {
  const Head& other = teacher.head;
  return teacher.is_top_k() ||
         (other.rows == head.rows && other.vocab_size == head.vocab_size && !other.logits == !head.logits);
}

Status head_divergence(const HeadDivergence& call);
Status head_divergence_backward(const HeadDivergenceBackward& call);

/** KL(a||b), so that of forward_kl the teacher is a and the student b; of the others the student is a. */
SWEET_HOST_DEVICE inline bool teacher_first(Divergence divergence) { return divergence == Divergence::forward_kl; }

/** Makes the sums relative to other entries. */
SWEET_HOST_DEVICE inline void raise_pair_stats(PairStats* stats, float max_a, float max_b, double scale_a,
                                               double scale_b) {
  const double d_a = (static_cast<double>(stats->max_a) - max_a) * scale_a;
  const double d_b = (static_cast<double>(stats->max_b) - max_b) * scale_b;
  if (stats->sum_a != 0) {
    const double factor = exp2(d_a);
    stats->weighted = (stats->weighted + stats->sum_a * (d_a - d_b)) * factor;
    stats->sum_a *= factor;
  }
  if (stats->sum_b != 0) stats->sum_b *= exp2(d_b);
  stats->max_a = max_a;
  stats->max_b = max_b;
}

/** Adds the statistics of further entries of the same rows. */
SWEET_HOST_DEVICE inline void merge_pair(PairStats* all, const PairStats& part, double scale_a, double scale_b) {
  const float max_a = part.max_a > all->max_a ? part.max_a : all->max_a;
  const float max_b = part.max_b > all->max_b ? part.max_b : all->max_b;
  PairStats raised = part;
  raise_pair_stats(all, max_a, max_b, scale_a, scale_b);
  raise_pair_stats(&raised, max_a, max_b, scale_a, scale_b);
  all->sum_a += raised.sum_a;
  all->sum_b += raised.sum_b;
  all->weighted += raised.weighted;
  all->unsupported = all->unsupported || raised.unsupported;
}

/** NaN for a row without a distribution: of -inf alone, with +inf or with a NaN. */
SWEET_HOST_DEVICE inline double lse_of(float max, double sum_exp, double temperature) {
  if (!(sum_exp > 0) || max == INFINITY) return static_cast<double>(NAN);
  return max / temperature + log(sum_exp);
}

SWEET_HOST_DEVICE inline double cut_at_0(double divergence) { return divergence < 0 ? 0 : divergence; }

/** KL(a||b) from the statistics of all entries. */
SWEET_HOST_DEVICE inline double kl_of(const PairStats& stats) {
  if (!(stats.sum_a > 0 && stats.sum_b > 0) || stats.max_a == INFINITY || stats.max_b == INFINITY) {
    return static_cast<double>(NAN);
  }
  if (stats.unsupported) return static_cast<double>(INFINITY);
  const double kl = 0.6931471805599453 * (stats.weighted / stats.sum_a) - (log(stats.sum_a) - log(stats.sum_b));
  return cut_at_0(kl);
}

/** What a row has after its statistics are complete. */
struct RowDivergence {
  double divergence;  // 0 of jsd, which needs another pass, as for kappa
  SavedRow saved;
};

/** The statistics are those of the order of teacher_first(). */
SWEET_HOST_DEVICE inline RowDivergence row_of_stats(Divergence type, const PairStats& stats, double temperature,
                                                    double teacher_temperature) {
  const bool swapped = teacher_first(type);
  const double lse_a = lse_of(stats.max_a, stats.sum_a, swapped ? teacher_temperature : temperature);
  const double lse_b = lse_of(stats.max_b, stats.sum_b, swapped ? temperature : teacher_temperature);
  const double kl = type == Divergence::jsd ? 0 : kl_of(stats);
  const double kappa = type == Divergence::reverse_kl ? kl : 0;
  return {kl, {swapped ? lse_b : lse_a, swapped ? lse_a : lse_b, kappa, 0}};
}

/** Whether the entries of a row's gradient are computed; else all of them are NaN. */
SWEET_HOST_DEVICE inline bool has_gradient(const SavedRow& row, double factor) {
  const double sum = row.lse_z + row.lse_y + row.kappa;
  return sum - sum == 0 && factor == factor;
}

/** dD/dz is multiplied by it; of jsd, that without 1 - beta. */
SWEET_HOST_DEVICE inline double gradient_factor(Divergence type, double beta, double grad_divergence,
                                                double temperature) {
  return (type == Divergence::jsd ? 1 - beta : 1) * grad_divergence / temperature;
}

/** 2^((x - max) * scale_log2 + shift) = e^(x / temperature - lse), where max is lse * temperature in float32. */
struct NormalizedRow {
  float max, shift;

  SWEET_HOST_DEVICE NormalizedRow(double lse, double temperature)
      : max(static_cast<float>(lse * temperature)),
        shift(static_cast<float>((max / temperature - lse) * 1.4426950408889634)) {}
};

// -- top-k teachers: K entries, and with a bucket one more, all in float64

/** log(P/M) and log(Q/M) of jsd. d = log P - log Q; where d is infinite, the infinite one is at probability 0. */
struct JsdLogs {
  double p, q;

  SWEET_HOST_DEVICE JsdLogs(double d, double beta) {
    const bool p_larger = d > 0;
    const double other = -log1p((p_larger ? 1 - beta : beta) * expm1(-fabs(d)));
    p = p_larger ? other : d + other;
    q = p_larger ? other - d : other;
  }
};

/** p * log_ratio, 0 where p is 0. */
SWEET_HOST_DEVICE inline double weighted_log(double p, double log_ratio) { return p == 0 ? 0.0 : p * log_ratio; }

/** D and kappa of discrete distributions, entry by entry. */
struct DivergenceSum {
  double divergence, kappa;

  SWEET_HOST_DEVICE void add(Divergence type, double beta, double log_p, double log_q) {
    const double p = exp(log_p), q = exp(log_q);
    switch (type) {
      case Divergence::forward_kl:
        divergence += weighted_log(p, log_p - log_q);
        return;
      case Divergence::reverse_kl:
        divergence += weighted_log(q, log_q - log_p);
        return;
      case Divergence::jsd:
        const JsdLogs logs(log_p - log_q, beta);
        divergence += beta * weighted_log(p, logs.p) + (1 - beta) * weighted_log(q, logs.q);
        kappa += weighted_log(q, logs.q);
    }
  }
};

/** dD/dz of an entry with q = e^log_q, divided by q: sum P - P/Q, or w (r - kappa). */
SWEET_HOST_DEVICE inline double entry_slope(Divergence type, double beta, double log_p, double log_q, double sum_p,
                                            double kappa) {
  switch (type) {
    case Divergence::forward_kl:
      return sum_p - exp(log_p - log_q);
    case Divergence::reverse_kl:
      return log_q - log_p - kappa;
    case Divergence::jsd:
      break;
  }
  return (1 - beta) * (JsdLogs(log_p - log_q, beta).q - kappa);
}

/** dD/dz of an entry; 0 where q is 0 in all but forward_kl. */
SWEET_HOST_DEVICE inline double entry_gradient(Divergence type, double beta, double log_p, double log_q, double sum_p,
                                               double kappa) {
  const double q = exp(log_q);
  if (type == Divergence::forward_kl) return q * sum_p - exp(log_p);
  return q == 0 && kappa < INFINITY ? 0 : q * entry_slope(type, beta, log_p, log_q, sum_p, kappa);
}

// The least probability of the bucket, and the largest of the support: log-probs are rounded.
constexpr double kMinTail = 1e-7, kMaxTopKSum = 1.001;

/** Whether probabilities of this sum can be those of a support; complete: all V entries, which have no bucket. */
SWEET_HOST_DEVICE inline bool valid_support(double sum, bool complete) {
  return !(sum > kMaxTopKSum) && !(complete && sum < 2 - kMaxTopKSum);
}

/** P of a row: log P_k = teacher_logps_k - log_norm, and log P_T. */
struct TopKProbs {
  double log_norm, log_tail, sum;  // sum: of all entries

  /** support: sum of the e^teacher_logps_k */
  SWEET_HOST_DEVICE TopKProbs(double support, bool renormalize, bool bucket)
      : log_norm(renormalize ? log(support) : 0.0), log_tail(-INFINITY), sum(renormalize ? 1.0 : support) {
    if (!bucket) return;
    const double tail = 1 - support < kMinTail ? kMinTail : 1 - support;
    log_tail = log(tail);
    sum += tail;
  }
};

/** dD/dz of a row times `factor`. */
struct TopKGradient {
  TopKProbs probs;
  SavedRow saved;
  double temperature, beta, factor;
  Divergence type;
  bool bucket;

  SWEET_HOST_DEVICE TopKGradient(const TopKProbs& of_teacher, bool has_bucket, const SavedRow& row, double of_student,
                                 Divergence divergence, double jsd_beta, double grad)
      : probs(of_teacher),
        saved(row),
        temperature(of_student),
        beta(jsd_beta),
        factor(has_gradient(row, grad) ? grad : static_cast<double>(NAN)),
        type(divergence),
        bucket(has_bucket) {}

  SWEET_HOST_DEVICE float of_support(float logp, float logit) const {
    const double log_p = logp - probs.log_norm, log_q = logit / temperature - saved.lse_z;
    return static_cast<float>(factor * entry_gradient(type, beta, log_p, log_q, probs.sum, saved.kappa));
  }

  /** Outside the support: the gradient of the bucket, shared in the proportions of its entries. */
  SWEET_HOST_DEVICE SoftmaxGradient outside() const {
    const bool empty = !bucket || saved.log_q_tail == -INFINITY;  // of masked entries; NaN if the whole row is
    const double of_bucket = entry_gradient(type, beta, probs.log_tail, saved.log_q_tail, probs.sum, saved.kappa);
    const double g = !empty ? factor * of_bucket : factor == factor ? 0 : factor;
    return softmax_gradient(saved.lse_z + (empty ? 0 : saved.log_q_tail), temperature, {-g, 0, 0, 0});
  }
};

}  // namespace sweet
