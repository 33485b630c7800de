#include "layout.h"
#include "preference.h"
#include "rows.h"
#include "update.h"

namespace sweet {
namespace cuda {

Status run_update(const Update& update, Units units, const UpdateOut& out) {
  const int64_t n = update.head.rows;
  Run run;
  const int32_t* const labels = check_labels(run, update.labels, n, update.head.vocab);
  const PreferenceUnits in = check_preference(run, update.batch, update.options, units, labels);

  // Reference first: gradLogits may be the logits.
  const float* ref_logps = update.ref_logps;
  if (!ref_logps) {
    float* const room = run.scratch<float>(n);
    forward_rows(run, update.reference, labels, {room, nullptr, nullptr, nullptr, true});
    ref_logps = room;
  }
  double* const lse = run.scratch<double>(n);
  forward_rows(run, update.head, labels, {out.logps, lse, nullptr, nullptr, true});
  compute_preference(run, in, out.logps, ref_logps, out.preference);
  backward_rows(run, update.head, labels, lse, nullptr, out.preference.grad_logps, out.gradients.logits);
  return run.finish(out.preference.scalars);
}

}  // namespace cuda
}  // namespace sweet
