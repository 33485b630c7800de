// An update on the device: head -> log-probs -> a loss of them -> gradient at the head.
#pragma once

#include "../head_update.h"
#include "../item_batch.h"
#include "layout.h"
#include "linear_head.h"
#include "row_compaction.h"

namespace sweet {
namespace cuda {

/**
 * A linear head's log-probs, loss and gradients. With a frozen weight the gradient at a row's hidden states is g_i
 * times one for g_i = 1, so that several chunks are computed once, before g_i is known.
 */
template <class Loss>
void update_linear(LaunchContext& context, const HeadUpdate& call, LinearPass& pass, const CompactedRows& rows,
                   const ForwardOut& forward, const Upstream& upstream, Loss compute_loss) {
  const Head& head = call.head;
  const HeadGradients& gradients = call.gradients;
  if (gradients.weight || pass.is_one_chunk()) {
    pass.forward(forward);
    compute_loss();
    return pass.backward(upstream, gradients);
  }
  const int64_t elements = head.rows * head.hidden_size;
  float* const unscaled = gradients.accumulate ? context.scratch<float>(elements) : gradients.hidden;
  if (!gradients.accumulate) context.set_zero(gradients.hidden, 4 * elements);
  pass.forward(forward, unscaled);
  compute_loss();
  scale_rows(context, unscaled, upstream.grad_logps, rows, head.hidden_size, gradients.accumulate, gradients.hidden);
}

/**
 * check(context, labels) enqueues the checks of the loss and returns what compute(context, checked, logps) takes, which
 * writes the gradient at the log-probs, grad_logps. needs_squares: compute reads sum_v p_iv^2.
 */
template <class Check, class Compute>
Status head_update(const HeadUpdate& call, bool needs_squares, const float* grad_logps, double* scalars, Check check,
                   Compute compute) {
  const Head &head = call.head, &reference = call.reference.head;
  const int64_t n = head.rows;
  LaunchContext context;
  const int32_t* const labels = check_labels(context, call.labels, n, vocab_shard(head));
  const auto checked = check(context, labels);

  // Linear heads share the rows. Once they are counted, nothing below finds a fault any more.
  const bool ref_head = call.reference.is_head();
  const bool linear = !head.logits || (ref_head && !reference.logits);
  const CompactedRows rows = linear ? compact_rows(context, labels, n, true) : CompactedRows{};

  // The reference comes first: the gradient may overwrite the logits.
  const float* ref_logps = call.reference.logps;
  if (ref_head) {
    float* const computed = context.scratch<float>(n);
    const LaunchContext::ScratchScope scope(context);
    head_forward(context, reference, labels, rows, {computed, nullptr, nullptr, nullptr, true});
    ref_logps = computed;
  }
  double* const lse = context.scratch<double>(n);
  const Upstream upstream{lse, nullptr, grad_logps};
  float* squares = call.sum_squared_probs;
  if (!squares && needs_squares) squares = context.scratch<float>(n);
  const ForwardOut forward{call.logps, lse, nullptr, call.entropy, true, call.argmax, squares};
  const auto compute_loss = [&] { compute(context, checked, TokenLogps{call.logps, ref_logps, squares}); };
  if (head.logits) {
    logits_forward(context, head, labels, forward);
    compute_loss();
    logits_backward(context, head, labels, upstream, call.gradients.logits);
  } else {
    LinearPass pass(context, head, labels, rows);
    update_linear(context, call, pass, rows, forward, upstream, compute_loss);
  }
  return context.finish(scalars);
}

}  // namespace cuda
}  // namespace sweet
