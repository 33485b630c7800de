#include "head_update.h"

#include "head_backward.h"
#include "one_pass_update.h"

namespace sweet {

Status head_update(const HeadUpdate& call, TokenLoss& loss) {
  const int64_t n = call.head.rows;
  const bool ref_head = call.reference.is_head();
  const bool squares = loss.needs_sum_squared_probs() && !call.sum_squared_probs;
  Scratch<int32_t> labels(n);
  Scratch<double> lse(n), ref_lse(ref_head ? n : 0);
  Scratch<float> computed_ref_logps(ref_head ? n : 0), sum_squared_probs(squares ? n : 0);
  if (!labels.ok() || !lse.ok() || !ref_lse.ok() || !computed_ref_logps.ok() || !sum_squared_probs.ok()) {
    return {Code::memory};
  }

  Status status = check_labels(call.labels, n, vocab_shard(call.head), labels.get());
  if (!status.ok()) return status;
  status = loss.check(labels.get());
  if (!status.ok()) return status;

  // The reference is computed first: the gradient may overwrite the logits, and no output is written before all inputs
  // are read.
  const float* ref_logps = call.reference.logps;
  if (ref_head) {
    ref_logps = computed_ref_logps.get();
    status = head_forward(call.reference.head, labels.get(), {computed_ref_logps.get(), ref_lse.get(), nullptr, true});
    if (!status.ok()) return status;
  }
  float* const of_squares = squares ? sum_squared_probs.get() : call.sum_squared_probs;
  const TokenLogps logps{call.logps, ref_logps, of_squares};
  const ForwardOut forward{call.logps, lse.get(), call.entropy, true, call.argmax, of_squares};
  const OnePassUpdate update{call.head, call.gradients, labels.get(), logps, forward};
  // If the scratch of one pass cannot be allocated, two passes follow.
  if (one_pass_pays(call.head, call.gradients, loss)) {
    status = one_pass_update(update, loss);
    if (status.code != Code::memory) return status;
  }
  HeadBackward backward(call.head, labels.get(), call.gradients);
  if (!backward.ok()) return {Code::memory};
  status = head_forward(call.head, labels.get(), forward);
  if (!status.ok()) return status;
  loss.compute(logps);
  return backward.run(upstream_of(update, loss));
}

}  // namespace sweet
