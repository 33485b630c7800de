#include "../turn_preference.h"
#include "preference.h"

namespace sweet {

Status turn_preference(const PreferenceBatch& batch, const PreferenceOptions& options, const float* logps,
                       const float* ref_logps, const PreferenceOut& out) {
  return cuda::preference_of(batch, options, Units::turns, logps, ref_logps, out);
}

}  // namespace sweet
