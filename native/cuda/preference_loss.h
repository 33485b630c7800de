// The preference loss over units, turns or whole trajectories, on the device. Checked before any logit is read,
// computed when the log-probs are there. All pointers but out.scalars are to device memory.
#pragma once

#include "../preference.h"
#include "layout.h"
#include "run.h"

namespace sweet {
namespace cuda {

/** What the kernels work on: the batch, and for each turn and unit what was counted. */
struct PreferenceUnits {
  Turns turns;
  const int32_t* unit_offsets;  // [U+1] turns of a unit, or null: unit k is turn k
  int64_t units;
  Pairs pairs;
  PreferenceOptions options;
  const int32_t* turn_lengths;  // [T]
  int32_t* turn_units;          // [T] the unit of each turn
  int64_t* unit_lengths;        // [U]
};

/** labels (may be null): a token whose checked label is negative is dropped as well. */
PreferenceUnits check_preference(Run& run, const PreferenceBatch& batch, const PreferenceOptions& options, Units units,
                                 const int32_t* labels);

/** out.grad_logps is the gradient of the loss, 0 at dropped tokens; the scalars go to the run's outcome. */
void compute_preference(Run& run, const PreferenceUnits& units, const float* logps, const float* ref_logps,
                        const PreferenceOut& out);

/** Check and compute at once. */
Status preference_of(const PreferenceBatch& batch, const PreferenceOptions& options, Units units, const float* logps,
                     const float* ref_logps, const PreferenceOut& out);

}  // namespace cuda
}  // namespace sweet
