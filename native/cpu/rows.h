// What the logits of a row come down to, whichever head they come from, and the join of a row's segments.
#pragma once

#include <cstdint>

#include "../head.h"
#include "../partials.h"
#include "kernels.h"

namespace sweet {

/**
 * Results of the forward pass, [N] each. lse is kept in float64 for a backward pass in the same call. entropy may be
 * null. With skip_ignored, rows dropped by their label are not read either and their lse is left 0. With partials,
 * these take the place of all other results, and `weighted` says whether the entropy will be asked for.
 */
struct RowsOut {
  float* logps;
  double* lse;
  float* entropy;
  bool skip_ignored;
  Partial* partials = nullptr;
  bool weighted = false;

  bool with_entropy() const { return entropy != nullptr || weighted; }
};

/**
 * Joins the segments of row i in their order and writes its results; label_logit counts only where the label does and
 * is one of the head's words.
 */
void finish_row(const RowSums* segments, int64_t count, int32_t label, float label_logit, double temperature,
                const RowsOut& out, int64_t i);

/** Writes the results of a row that is not read. */
void drop_row(const RowsOut& out, int64_t i);

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
