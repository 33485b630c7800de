// What a row of logits comes down to, in the terms that the kernels of the CPU and of the GPU count in: powers of two
// around a pivot.
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"

namespace sweet {

/** x * slope = log2 e^(x / temperature). */
SWEET_HOST_DEVICE inline float slope_of(double temperature) {
  return static_cast<float>(1.4426950408889634 / temperature);
}

struct RowEnd {
  double lse;
  float logp;     // of the label; 0 where there is none
  float entropy;  // of meaning only if the sums were weighted
};

/** What words, all of a row or some, come down to: sum = sum 2^t, weighted = sum t * 2^t with t = (x - pivot) * slope.
 */
struct Sums64 {
  double pivot, sum, weighted;
};

/** Joins parts of a row, which have the same three, in the order in which part(s) gives them. */
template <class Part>
SWEET_HOST_DEVICE inline Sums64 join(int64_t count, double temperature, Part part) {
  Sums64 all{-INFINITY, 0, 0};
  for (int64_t s = 0; s < count; s++) {
    if (part(s).pivot > all.pivot) all.pivot = part(s).pivot;
  }
  const double slope = slope_of(temperature);
  for (int64_t s = 0; s < count; s++) {
    const auto& own = part(s);
    if (own.sum == 0) continue;  // masked words alone: their pivot may be -inf
    const double d = (own.pivot - all.pivot) * slope, factor = exp2(d);
    all.sum += own.sum * factor;
    all.weighted += (own.weighted + own.sum * d) * factor;
  }
  return all;
}

/** The results of a row of which these are all words; label_logit counts only where the label does. */
SWEET_HOST_DEVICE inline RowEnd end_of_row(const Sums64& all, int32_t label, float label_logit, double temperature) {
  // A row of -inf alone has no distribution, nor has one with +inf: -inf - -inf makes the lse NaN, as the formula does.
  const bool none = all.pivot == INFINITY || all.pivot == -INFINITY;
  const double log_sum = none ? static_cast<double>(NAN) : log(all.sum);
  return {all.pivot / temperature + log_sum,
          label >= 0 ? static_cast<float>((label_logit - all.pivot) / temperature - log_sum) : 0.0f,
          static_cast<float>(log_sum - all.weighted / all.sum * 0.6931471805599453)};
}

/**
 * g * p as the kernels take it: factor * 2^((x - pivot) * slope). Near the pivot, where p is large, x - pivot is exact;
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

/** The label's entry of a gradient row, complete before it is rounded: g * (1 - p). */
SWEET_HOST_DEVICE inline double label_gradient(float label_logit, double lse, double temperature, double g) {
  return -g * expm1(label_logit / temperature - lse);
}

}  // namespace sweet
