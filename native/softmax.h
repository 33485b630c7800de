// The statistics of a row's softmax in the terms in which the kernels of the CPU and of the GPU count: powers of two.
//
//   scale_log2 = log2(e) / temperature,  t_v = (x_v - max) * scale_log2,  e^((x_v - max) / temperature) = 2^t_v
//   sum_exp = sum_v 2^t_v,  sum_t_exp = sum_v t_v 2^t_v
//   lse = max / temperature + log(sum_exp),  entropy = log(sum_exp) - ln(2) * sum_t_exp / sum_exp
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"

namespace sweet {

/** x * log2_scale(temperature) = log2 e^(x / temperature). */
SWEET_HOST_DEVICE inline float log2_scale(double temperature) {
  return static_cast<float>(1.4426950408889634 / temperature);
}

/** Statistics of some or all entries of a row, relative to `max`; {-inf, 0, 0} for an empty set. */
struct SoftmaxStats {
  double max, sum_exp, sum_t_exp;
};

/** Merges the statistics of `count` disjoint parts of a row, part(0) ... part(count - 1), in this order. */
template <class Part>
SWEET_HOST_DEVICE inline SoftmaxStats merge_stats(int64_t count, double temperature, Part part) {
  SoftmaxStats all{-INFINITY, 0, 0};
  for (int64_t s = 0; s < count; s++) {
    if (part(s).max > all.max) all.max = part(s).max;
  }
  const double scale_log2 = log2_scale(temperature);
  for (int64_t s = 0; s < count; s++) {
    const auto& stats = part(s);
    if (stats.sum_exp == 0) continue;  // every entry is -inf: max may be -inf too
    const double t = (stats.max - all.max) * scale_log2, factor = exp2(t);
    all.sum_exp += stats.sum_exp * factor;
    all.sum_t_exp += (stats.sum_t_exp + stats.sum_exp * t) * factor;
  }
  return all;
}

/** Results of the forward pass for one row. */
struct RowResult {
  double lse;
  float logp;     // of the label; 0 where there is none
  float entropy;  // only where sum_t_exp was computed
};

/** The results of a row from the statistics of all of its entries; label_logit counts only where label >= 0. */
SWEET_HOST_DEVICE inline RowResult row_result(const SoftmaxStats& all, int32_t label, float label_logit,
                                              double temperature) {
  // A row of -inf alone and a row with +inf have no distribution: max - max is NaN there, as in the formula.
  const bool none = all.max == INFINITY || all.max == -INFINITY;
  const double log_sum = none ? static_cast<double>(NAN) : log(all.sum_exp);
  return {all.max / temperature + log_sum,
          label >= 0 ? static_cast<float>((label_logit - all.max) / temperature - log_sum) : 0.0f,
          static_cast<float>(log_sum - all.sum_t_exp / all.sum_exp * 0.6931471805599453)};
}

/**
 * The gradient of a row as the kernels compute it: g * p_v = factor * 2^((x_v - max) * scale_log2), where max is
 * lse * temperature rounded to float32. Where p_v is large, x_v is close to max and x_v - max is exact. The
 * factor corrects the rounding of max.
 */
struct SoftmaxGradient {
  float scale_log2, max, factor;

  SWEET_HOST_DEVICE SoftmaxGradient(double lse, double temperature, double g)
      : scale_log2(log2_scale(temperature)),
        max(static_cast<float>(lse * temperature)),
        factor(static_cast<float>(g * exp((max / temperature) - lse))) {
    if (factor != factor) factor = NAN;  // one NaN, with a zero lower half: see the stores in cpu/isa/simd.h
  }
};

/** The label's entry of a gradient row, g * (1 - p_label), computed by expm1 before it is rounded once. */
struct LabelGradient {
  double gradient;

  /**
   * Whether it has fewer than 12 exact bits, as lse is off by up to 2^-24, of a float32 sum, and by 2^-24 |lse| where
   * it was rounded to float32. It is then taken from the other entries, which keep their digits: 1 - p_label = sum_{v
   * != label} p_v.
   */
  bool confident;

  SWEET_HOST_DEVICE LabelGradient(float label_logit, double lse, bool rounded_lse, double temperature, double g) {
    const double other_probs = -expm1(label_logit / temperature - lse);
    confident = other_probs < 0.5 && other_probs < 0x1p-12 * (1 + (rounded_lse ? fabs(lse) : 0));
    gradient = g * other_probs;
    if (gradient != gradient) gradient = NAN;  // one NaN, whatever the compiler multiplies first
  }
};

}  // namespace sweet
