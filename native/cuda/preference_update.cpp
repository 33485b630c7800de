#include "../preference_update.h"

#include "linear_head.h"
#include "preference_loss.h"

namespace sweet {

using namespace cuda;

Status preference_update(const PreferenceUpdate& call) {
  const Head &head = call.head, &reference = call.reference.head;
  const int64_t n = head.rows;
  LaunchContext context;
  const int32_t* const labels = check_labels(context, call.labels, n, vocab_shard(head));
  const PreferenceInputs in = check_preference(context, call.batch, call.options, labels);

  // Linear heads share the rows. Once they are counted, nothing below finds a fault any more.
  const bool linear = !head.logits || (!call.reference.logps && !reference.logits);
  const CompactedRows rows = linear ? compact_rows(context, labels, n, true) : CompactedRows{};

  // The reference comes first: the gradient may overwrite the logits.
  const float* ref_logps = call.reference.logps;
  if (!ref_logps) {
    float* const computed = context.scratch<float>(n);
    const LaunchContext::ScratchScope scope(context);
    head_forward(context, reference, labels, rows, {computed, nullptr, nullptr, nullptr, true});
    ref_logps = computed;
  }
  double* const lse = context.scratch<double>(n);
  const Upstream upstream{lse, nullptr, call.out.grad_logps, nullptr, nullptr, nullptr};
  const ForwardOut forward{call.logps, lse, nullptr, nullptr, true};
  if (head.logits) {
    logits_forward(context, head, labels, forward);
    compute_preference(context, in, call.logps, ref_logps, call.out);
    logits_backward(context, head, labels, upstream, call.gradients.logits);
  } else {
    LinearPass pass(context, head, labels, rows);
    pass.forward(forward);
    compute_preference(context, in, call.logps, ref_logps, call.out);
    pass.backward(upstream, call.gradients);
  }
  return context.finish(call.out.scalars);
}

}  // namespace sweet
