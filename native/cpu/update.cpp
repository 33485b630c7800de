#include "update.h"

#include "one_pass.h"
#include "rows.h"

namespace sweet {

Status run_update(const Update& update, Units units, const UpdateOut& out) {
  const int64_t n = update.head.rows;
  Scratch<int32_t> labels(n);
  Scratch<double> lse(n), ref_lse(update.ref_logps ? 0 : n);
  Scratch<float> ref_room(update.ref_logps ? 0 : n);
  if (!labels.ok() || !lse.ok() || !ref_lse.ok() || !ref_room.ok()) return {Code::memory};

  Status status = check_labels(update.labels, n, words_of(update.head), labels.get());
  if (!status.ok()) return status;
  Preference preference(update.batch, update.options, units);
  status = preference.check(labels.get());
  if (!status.ok()) return status;

  // Reference first: gradLogits may be the logits, and nothing of the caller's is written until all inputs are read.
  const float* ref_logps = update.ref_logps;
  if (!ref_logps) {
    status = forward_of(update.reference, labels.get(), {ref_room.get(), ref_lse.get(), nullptr, true});
    if (!status.ok()) return status;
    ref_logps = ref_room.get();
  }
  // Where its memory cannot be had, the two passes below still do.
  if (one_pass_pays(update, preference)) {
    status = one_pass(update, preference, labels.get(), ref_logps, out);
    if (status.ok()) {
      preference.compute(out.logps, ref_logps, out.preference);
      return ended();
    }
    if (status.code != Code::memory) return status;
  }
  status = forward_of(update.head, labels.get(), {out.logps, lse.get(), nullptr, true});
  if (!status.ok()) return status;
  preference.compute(out.logps, ref_logps, out.preference);
  return backward_of(update.head, labels.get(), lse.get(), out.preference.grad_logps, out.gradients);
}

}  // namespace sweet
