#include "../logps.h"

#include "layout.h"
#include "linear_head.h"

namespace sweet {
namespace cuda {

void head_forward(LaunchContext& context, const Head& head, const int32_t* labels, const CompactedRows& rows,
                  const ForwardOut& out) {
  if (head.logits) return logits_forward(context, head, labels, out);
  LinearPass(context, head, labels, rows).forward(out);
}

}  // namespace cuda

using namespace cuda;

Status logps(const Logps& call) {
  const Head& head = call.head;
  LaunchContext context;
  const int32_t* const labels = check_labels(context, call.labels, head.rows, vocab_shard(head));
  const CompactedRows rows = compacted_rows_of(context, head, labels, false);
  const LogpsOut& out = call.out;
  head_forward(context, head, labels, rows,
               {out.logps, nullptr, out.lse, out.entropy, false, out.argmax, out.sum_squared_probs});
  return context.finish(nullptr);
}

Status logps_backward(const LogpsBackward& call) {
  const Head& head = call.head;
  LaunchContext context;
  const int32_t* const labels = check_labels(context, call.labels, head.rows, vocab_shard(head));
  const CompactedRows rows = compacted_rows_of(context, head, labels, true);
  const Upstream upstream{nullptr, call.lse, call.grad_logps, call.grad_entropy, call.entropy, call.grad_lse};
  if (head.logits) {
    logits_backward(context, head, labels, upstream, call.gradients.logits);
  } else {
    LinearPass(context, head, labels, rows).backward(upstream, call.gradients);
  }
  return context.finish(nullptr);
}

}  // namespace sweet
