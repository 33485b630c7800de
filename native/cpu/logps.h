// The forward pass of a head of either kind, for logps, vocab_parallel_stats and preference_update; the backward pass
// of logits. See head_backward.h for that of both kinds.
#pragma once

#include <cstdint>

#include "../head.h"
#include "../vocab_parallel.h"
#include "kernels.h"

namespace sweet {

/**
 * Results of the forward pass, [N] each. lse is kept in float64 for a backward pass of the same call. With
 * shard_stats, these replace all other results.
 */
struct ForwardOut {
  float* logps;
  double* lse;
  float* entropy;     // or null
  bool skip_ignored;  // do not read the rows of ignored labels; their lse is 0 then
  int32_t* argmax = nullptr;
  float* sum_squared_probs = nullptr;
  double* shard_stats = nullptr;  // records of ShardFormat `shard`
  ShardFormat shard = {};

  bool with_argmax() const { return argmax != nullptr || shard.argmax; }
  Statistics statistics() const {
    return {entropy != nullptr || shard.entropy, with_argmax(), sum_squared_probs != nullptr || shard.sum_squares};
  }
};

/** Merges the segments of row i in their order and writes its results; label_logit is used if is_local(label), and
 * with a softcap it is t of native/softcap.h, as the logits of the segments. */
void finish_row(const Head& head, const SegmentStats* segments, int64_t count, int32_t label, float label_logit,
                const ForwardOut& out, int64_t i);

/** Writes the results of a row that is not read. */
void skip_row(const ForwardOut& out, int64_t i);

/** What a backward pass is given of each row, [N]. */
struct Upstream {
  const double* lse;
  bool rounded_lse;         // to float32
  const float* grad_logps;  // or null, as the others
  const float *grad_entropy = nullptr, *entropy = nullptr, *grad_lse = nullptr;

  UpstreamRow row(int64_t i, double temperature) const {
    return {value(grad_logps, i, temperature), value(grad_entropy, i, temperature), value(entropy, i, 1),
            value(grad_lse, i, temperature)};
  }

 private:
  static double value(const float* of_rows, int64_t i, double divisor) { return of_rows ? of_rows[i] / divisor : 0.0; }
};

Status logits_forward(const Head& head, const int32_t* labels, const ForwardOut& out);
/** label_grads: scratch memory, [N]. */
Status logits_backward(const Head& head, const int32_t* labels, const Upstream& upstream, double* label_grads,
                       const HeadGradients& gradients);

Status linear_forward(const Head& head, const int32_t* labels, const ForwardOut& out);
/** Where memory cannot be allocated, nothing is written. */
inline Status head_forward(const Head& head, const int32_t* labels, const ForwardOut& out) {
  return head.logits ? logits_forward(head, labels, out) : linear_forward(head, labels, out);
}

}  // namespace sweet
