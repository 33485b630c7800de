#include "../preference_update.h"

#include "head_backward.h"
#include "one_pass_update.h"

namespace sweet {

Status preference_update(const PreferenceUpdate& call) {
  const int64_t n = call.head.rows;
  const bool has_ref_logps = call.reference.logps != nullptr;
  Scratch<int32_t> labels(n);
  Scratch<double> lse(n), ref_lse(has_ref_logps ? 0 : n);
  Scratch<float> computed_ref_logps(has_ref_logps ? 0 : n);
  if (!labels.ok() || !lse.ok() || !ref_lse.ok() || !computed_ref_logps.ok()) return {Code::memory};

  Status status = check_labels(call.labels, n, vocab_shard(call.head), labels.get());
  if (!status.ok()) return status;
  PreferenceComputation preference(call.batch, call.options);
  status = preference.check(labels.get());
  if (!status.ok()) return status;

  // The reference is computed first: the gradient may overwrite the logits, and no output is written before all inputs
  // are read.
  const float* ref_logps = call.reference.logps;
  if (!ref_logps) {
    ref_logps = computed_ref_logps.get();
    status = head_forward(call.reference.head, labels.get(), {computed_ref_logps.get(), ref_lse.get(), nullptr, true});
    if (!status.ok()) return status;
  }
  // If the scratch of one pass cannot be allocated, two passes follow.
  if (one_pass_pays(call, preference)) {
    status = one_pass_update(call, preference, labels.get(), ref_logps);
    if (status.code != Code::memory) return status;
  }
  HeadBackward backward(call.head, labels.get(), call.gradients);
  if (!backward.ok()) return {Code::memory};
  status = head_forward(call.head, labels.get(), update_forward_out(call, lse.get()));
  if (!status.ok()) return status;
  preference.compute(call.logps, ref_logps, call.out);
  return backward.run({lse.get(), false, call.out.grad_logps});
}

}  // namespace sweet
