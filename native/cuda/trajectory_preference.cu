#include "../trajectory_preference.h"
#include "preference.h"

namespace sweet {

Status trajectory_preference(const PreferenceBatch& batch, const PreferenceOptions& options, const float* logps,
                             const float* ref_logps, const PreferenceOut& out) {
  return cuda::preference_of(batch, options, Units::trajectories, logps, ref_logps, out);
}

}  // namespace sweet
