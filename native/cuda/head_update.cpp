#include "head_update.h"

#include "layout.h"
#include "linear_head.h"
#include "row_compaction.h"

namespace sweet {
namespace cuda {
namespace {

/** A linear head's log-probs, loss and gradients; several chunks are computed once where their gradients allow it. */
void update_linear(LaunchContext& context, const HeadUpdate& call, LinearPass& pass, const CompactedRows& rows,
                   const ForwardOut& forward, const Upstream& upstream, const TokenLogps& logps, TokenLoss& loss) {
  const Head& head = call.head;
  const HeadGradients& gradients = call.gradients;
  if (loss.by_token()) {
    pass.forward_backward(forward, upstream, gradients, [&](const int64_t* tokens, int64_t count) {
      loss.compute_tokens(context, logps, tokens, count);
    });
    return loss.compute(context, logps);
  }
  if (gradients.weight || pass.is_one_chunk() || upstream.grad_entropy) {
    pass.forward(forward);
    loss.compute(context, logps);
    return pass.backward(upstream, gradients);
  }
  // With a frozen weight the gradient at a row's hidden states is g_i times one for g_i = 1.
  const int64_t elements = head.rows * head.hidden_size;
  float* const unscaled = gradients.accumulate ? context.scratch<float>(elements) : gradients.hidden;
  if (!gradients.accumulate) context.set_zero(gradients.hidden, 4 * elements);
  pass.forward(forward, unscaled);
  loss.compute(context, logps);
  scale_rows(context, unscaled, upstream.grad_logps, rows, head.hidden_size, gradients.accumulate, gradients.hidden);
}

}  // namespace

Status head_update(const HeadUpdate& call, TokenLoss& loss) {
  const Head &head = call.head, &reference = call.reference.head;
  const int64_t n = head.rows;
  LaunchContext context;
  const int32_t* const labels = check_labels(context, call.labels, n, vocab_shard(head));
  loss.check(context, labels);

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
  float* squares = call.sum_squared_probs;
  if (!squares && loss.needs_sum_squared_probs()) squares = context.scratch<float>(n);
  const ForwardOut forward{call.logps, lse, nullptr, call.entropy, true, call.argmax, squares};
  const TokenLogps logps{call.logps, ref_logps, squares};
  const float* const grad_entropy = loss.grad_entropy();
  const Upstream upstream{lse, nullptr, loss.grad_logps(), grad_entropy, grad_entropy ? call.entropy : nullptr};
  if (head.logits) {
    logits_forward(context, head, labels, forward);
    loss.compute(context, logps);
    logits_backward(context, head, labels, upstream, call.gradients.logits);
  } else {
    LinearPass pass(context, head, labels, rows);
    update_linear(context, call, pass, rows, forward, upstream, logps, loss);
  }
  return context.finish(loss.scalars(), loss.scalar_count());
}

}  // namespace cuda
}  // namespace sweet
