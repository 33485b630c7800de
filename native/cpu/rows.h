// What the logits of a row come down to, whichever head they come from, and the join of a row's segments.
#pragma once

#include <cmath>
#include <cstdint>

#include "../head.h"
#include "kernels.h"

namespace sweet {

/**
 * Results of the forward pass, [N] each. lse is kept in float64 for a backward pass in the same call. entropy may be
 * null. With skip_ignored, rows dropped by their label are not read either and their lse is left 0.
 */
struct RowsOut {
  float* logps;
  double* lse;
  float* entropy;
  bool skip_ignored;
};

/** Whether the forward pass needs this row's logits. */
inline bool is_read(int32_t label, bool skip_ignored) { return label >= 0 || (label == kIgnored && !skip_ignored); }

/** Joins the segments of row i in their order and writes its results; label_logit counts only where the label does. */
void finish_row(const RowSums* segments, int64_t count, int32_t label, float label_logit, double temperature,
                const RowsOut& out, int64_t i);

/** x · slope = log2 e^(x / temperature): what the kernels count in. */
inline float slope_of(double temperature) { return static_cast<float>(1.4426950408889634 / temperature); }

/**
 * g · p as the kernels take it: factor · 2^((x − pivot) · slope). Near the pivot, where p is large, x − pivot is exact;
 * what the lse loses by becoming a float32 pivot goes into the factor.
 */
struct Softmax {
  float slope, pivot, factor;

  Softmax(double lse, double temperature, double g)
      : slope(slope_of(temperature)),
        pivot(static_cast<float>(lse * temperature)),
        factor(static_cast<float>(g * std::exp((pivot / temperature) - lse))) {
    if (std::isnan(factor)) factor = NAN;  // whatever bits came with it: see the stores of simd.h
  }
};

/** The label's entry of a gradient row, complete before it is rounded: g · (1 − p). */
double label_gradient(float label_logit, double lse, double temperature, double g);

Status logits_forward(const Head& head, const int32_t* labels, const RowsOut& out);
Status logits_backward(const Head& head, const int32_t* labels, const double* lse, const float* grad_logps,
                       const HeadGradients& out);

Status linear_forward(const Head& head, const int32_t* labels, const RowsOut& out);
Status linear_backward(const Head& head, const int32_t* labels, const double* lse, const float* grad_logps,
                       const HeadGradients& out);

/** The two halves of token_logps and linear_logps: checked labels, then the rows of that head. */
Status logps_of(const Head& head, const Labels& labels, const LogpsOut& out);
Status logps_backward_of(const Head& head, const Labels& labels, const LogpsBackward& backward);

inline Status forward_of(const Head& head, const int32_t* labels, const RowsOut& out) {
  return head.logits ? logits_forward(head, labels, out) : linear_forward(head, labels, out);
}

inline Status backward_of(const Head& head, const int32_t* labels, const double* lse, const float* grad_logps,
                          const HeadGradients& out) {
  return head.logits ? logits_backward(head, labels, lse, grad_logps, out)
                     : linear_backward(head, labels, lse, grad_logps, out);
}

}  // namespace sweet
