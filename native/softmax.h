// The statistics of a row's softmax in the terms in which the kernels of the CPU and of the GPU count: powers of two.
//
//   scale_log2 = log2(e) / temperature,  t_v = (x_v - max) * scale_log2,  e^((x_v - max) / temperature) = 2^t_v
//   sum_exp = sum_v 2^t_v,  sum_t_exp = sum_v t_v 2^t_v,  sum_squares = sum_v 2^(2 t_v)
//   lse = max / temperature + log(sum_exp),  entropy = log(sum_exp) - ln(2) * sum_t_exp / sum_exp
//   sum_v p_v^2 = sum_squares / sum_exp^2,  argmax = the lowest v of the largest x_v
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"
#include "segment.h"

namespace sweet {

/** x * log2_scale(temperature) = log2 e^(x / temperature). */
SWEET_HOST_DEVICE inline float log2_scale(double temperature) {
  return static_cast<float>(1.4426950408889634 / temperature);
}

/** Statistics of some or all entries of a row, relative to `max`; {-inf, 0, 0} for an empty set. */
struct SoftmaxStats {
  double max, sum_exp, sum_t_exp;
  double sum_squares = 0, largest = -INFINITY;
  int64_t argmax = -1;  // of `largest`
};

/** Merges the statistics of `count` disjoint parts of a row, part(0) ... part(count - 1), in the order of their
 * entries. */
template <class Part>
SWEET_HOST_DEVICE inline SoftmaxStats merge_stats(int64_t count, double temperature, Part part) {
  SoftmaxStats all{-INFINITY, 0, 0};
  for (int64_t s = 0; s < count; s++) {
    if (part(s).max > all.max) all.max = part(s).max;
    if (part(s).largest > all.largest) all.largest = part(s).largest, all.argmax = part(s).argmax;
  }
  const double scale_log2 = log2_scale(temperature);
  for (int64_t s = 0; s < count; s++) {
    const auto& stats = part(s);
    if (stats.sum_exp == 0) continue;  // every entry is -inf: max may be -inf too
    const double t = (stats.max - all.max) * scale_log2, factor = t == 0 ? 1 : exp2(t);
    all.sum_exp += stats.sum_exp * factor;
    all.sum_t_exp += (stats.sum_t_exp + stats.sum_exp * t) * factor;
    all.sum_squares += stats.sum_squares * factor * factor;
  }
  return all;
}

/** Results of the forward pass for one row. */
struct RowResult {
  double lse;
  float logp;     // of the label; 0 where there is none
  float entropy;  // only where sum_t_exp was computed, the others where they were
  float sum_squared_probs = 0;
  int32_t argmax = -1;  // where lse is NaN too
};

/** The results of a row from the statistics of all of its entries; label_logit counts only where label >= 0. */
SWEET_HOST_DEVICE inline RowResult row_result(const SoftmaxStats& all, int32_t label, double label_logit,
                                              double temperature) {
  // A row of -inf alone and a row with +inf have no distribution: max - max is NaN there, as in the formula.
  const bool none = all.max == INFINITY || all.max == -INFINITY;
  const double log_sum = none ? static_cast<double>(NAN) : log(all.sum_exp);
  const double lse = all.max / temperature + log_sum;
  return {lse, label >= 0 ? static_cast<float>((label_logit - all.max) / temperature - log_sum) : 0.0f,
          static_cast<float>(log_sum - all.sum_t_exp / all.sum_exp * 0.6931471805599453),
          static_cast<float>(lse == lse ? all.sum_squares / (all.sum_exp * all.sum_exp) : lse),
          lse == lse ? static_cast<int32_t>(all.argmax) : -1};
}

/**
 * What a row's gradient is made of: the gradients at its log-prob, its entropy and its lse, divided by the temperature.
 *
 *   l_v = z_v - lse,  p_v = e^l_v,  dloss/dx_v = p_v (b + c l_v) + 1[v = label] grad_logp
 *   b = grad_lse - grad_logp - grad_entropy * entropy,  c = -grad_entropy
 */
struct UpstreamRow {
  double grad_logp, grad_entropy, entropy, grad_lse;
};

/**
 * The gradient as the kernels compute it, where max is lse * temperature rounded to float32. Where p_v is large, x_v is
 * close to max and x_v - max is exact. With d = max / temperature - lse, the rounding of max:
 *
 *   p_v (b + c l_v) = 2^t_v e^d (b + c (d + ln(2) t_v))
 */
SWEET_HOST_DEVICE inline SoftmaxGradient softmax_gradient(double lse, double temperature, const UpstreamRow& row) {
  const float max = static_cast<float>(lse * temperature);
  const double d = max / temperature - lse, c = -row.grad_entropy;
  double b = -row.grad_logp;
  if (row.grad_lse != 0) b += row.grad_lse;
  if (c != 0) b += c * (row.entropy + d);
  const double rounding = exp(d);
  SoftmaxGradient gradient{log2_scale(temperature), max, static_cast<float>(b * rounding),
                           static_cast<float>(c * 0.6931471805599453 * rounding)};
  // One NaN, with a zero lower half: see the stores in cpu/isa/simd.h.
  if (gradient.factor != gradient.factor) gradient.factor = NAN;
  if (gradient.slope != gradient.slope) gradient.slope = NAN;
  return gradient;
}

/** The label's entry of a gradient row, complete before it is rounded once: 1 - p_label keeps its digits. */
struct LabelGradient {
  double gradient;

  /**
   * Whether 1 - p_label may have fewer than 12 exact bits: lse comes from sums in float32, whose additions are off by
   * some 2^-24 (four of them are allowed for), and is off by 2^-24 |lse| where it was rounded to float32. It is then
   * taken from the other entries, which keep their digits:
   *
   *   1 - p_label = sum_{v != label} p_v
   */
  bool confident;

  SWEET_HOST_DEVICE LabelGradient(float label_logit, double lse, bool rounded_lse, double temperature,
                                  const UpstreamRow& row) {
    const double l = label_logit / temperature - lse, p = exp(l);
    const double other_probs = p < 0.5 ? 1 - p : -expm1(l);  // expm1 takes a third of the time of a short row
    confident = other_probs < 0.5 && other_probs < 0x1p-12 * (4 + (rounded_lse ? fabs(lse) : 0));
    gradient = complete(l, other_probs, row);
  }

  /** The entry with this 1 - p_label. */
  SWEET_HOST_DEVICE static double complete(double l, double other_probs, const UpstreamRow& row) {
    double gradient = row.grad_logp * other_probs;
    if (row.grad_lse != 0 || row.grad_entropy != 0) {
      const double p = exp(l);
      if (p > 0) gradient += p * (row.grad_lse - row.grad_entropy * (row.entropy + l));
    }
    return gradient == gradient ? gradient : static_cast<double>(NAN);  // one NaN, whatever the compiler does first
  }
};

}  // namespace sweet
