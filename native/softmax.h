// What a row of logits comes down to, in the terms that the kernels of the CPU and of the GPU count in: powers of two
// around a pivot.
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"

namespace sweet {

/** x · slope = log2 e^(x / temperature). */
SWEET_HOST_DEVICE inline float slope_of(double temperature) {
  return static_cast<float>(1.4426950408889634 / temperature);
}

struct RowEnd {
  double lse;
  float logp;     // of the label; 0 where there is none
  float entropy;  // of meaning only if the sums were weighted
};

/**
 * Joins the segments of a row in their order. A segment has pivot, sum = Σ 2^t and weighted = Σ t · 2^t with
 * t = (x − pivot) · slope. label_logit counts only where the label does.
 */
template <class Sums>
SWEET_HOST_DEVICE inline RowEnd end_of_row(const Sums* segments, int64_t count, int32_t label, float label_logit,
                                           double temperature) {
  double pivot = -INFINITY;
  for (int64_t s = 0; s < count; s++) {
    if (segments[s].pivot > pivot) pivot = segments[s].pivot;
  }
  const double slope = slope_of(temperature);
  double sum = 0, weighted = 0;
  for (int64_t s = 0; s < count; s++) {
    const Sums& part = segments[s];
    if (part.sum == 0) continue;  // masked words alone: their pivot may be −∞
    const double d = (part.pivot - pivot) * slope, factor = exp2(d);
    sum += part.sum * factor;
    weighted += (part.weighted + part.sum * d) * factor;
  }
  // A row of −∞ alone has no distribution, nor has one with +∞: −∞ − −∞ makes the lse NaN, as the formula does.
  const double log_sum = pivot == INFINITY || pivot == -INFINITY ? static_cast<double>(NAN) : log(sum);
  return {pivot / temperature + log_sum,
          label >= 0 ? static_cast<float>((label_logit - pivot) / temperature - log_sum) : 0.0f,
          static_cast<float>(log_sum - weighted / sum * 0.6931471805599453)};
}

/**
 * g · p as the kernels take it: factor · 2^((x − pivot) · slope). Near the pivot, where p is large, x − pivot is exact;
 * what the lse loses by becoming a float32 pivot goes into the factor.
 */
struct Softmax {
  float slope, pivot, factor;

  SWEET_HOST_DEVICE Softmax(double lse, double temperature, double g)
      : slope(slope_of(temperature)),
        pivot(static_cast<float>(lse * temperature)),
        factor(static_cast<float>(g * exp((pivot / temperature) - lse))) {
    if (factor != factor) factor = NAN;  // whatever bits came with it: see the stores of cpu/simd.h
  }
};

/** The label's entry of a gradient row, complete before it is rounded: g · (1 − p). */
SWEET_HOST_DEVICE inline double label_gradient(float label_logit, double lse, double temperature, double g) {
  return -g * expm1(label_logit / temperature - lse);
}

}  // namespace sweet
