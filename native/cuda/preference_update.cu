#include "layout.h"
#include "linear.h"
#include "preference.h"
#include "rows.h"
#include "update.h"

namespace sweet {
namespace cuda {

Status run_update(const Update& update, Units units, const UpdateOut& out) {
  const int64_t n = update.head.rows;
  Run run;
  const int32_t* const labels = check_labels(run, update.labels, n, words_of(update.head));
  const PreferenceUnits in = check_preference(run, update.batch, update.options, units, labels);

  // Waits where rows must be counted: then nothing of what follows is refused any more.
  const bool linear = !update.head.logits, linear_reference = !update.ref_logps && !update.reference.logits;
  const KeptRows kept = linear || linear_reference ? keep_rows(run, labels, n, true) : KeptRows{};

  // Reference first: gradLogits may be the logits.
  const float* ref_logps = update.ref_logps;
  if (!ref_logps) {
    float* const room = run.scratch<float>(n);
    const ForwardOut of_reference{room, nullptr, nullptr, nullptr, true};
    const Run::Scope scope(run);
    if (linear_reference) {
      LinearPass(run, update.reference, labels, kept).forward(of_reference);
    } else {
      forward_rows(run, update.reference, labels, of_reference);
    }
    ref_logps = room;
  }
  double* const lse = run.scratch<double>(n);
  const ForwardOut of_head{out.logps, lse, nullptr, nullptr, true};
  if (linear) {
    LinearPass pass(run, update.head, labels, kept);
    pass.forward(of_head);
    compute_preference(run, in, out.logps, ref_logps, out.preference);
    pass.backward(lse, nullptr, out.preference.grad_logps, out.gradients);
  } else {
    forward_rows(run, update.head, labels, of_head);
    compute_preference(run, in, out.logps, ref_logps, out.preference);
    backward_rows(run, update.head, labels, lse, nullptr, out.preference.grad_logps, out.gradients.logits);
  }
  return run.finish(out.preference.scalars);
}

}  // namespace cuda
}  // namespace sweet
