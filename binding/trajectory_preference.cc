#include "../native/trajectory_preference.h"

#include "addon.h"
#include "args.h"

namespace sweet {

Napi::Value bind_trajectory_preference(const Napi::CallbackInfo& info) {
  Args args(info);
  const PreferenceBatch batch = args.batch();
  const PreferenceOptions options = args.preference_options();
  const float* const logps = args.array<const float>();
  const float* const ref_logps = args.array<const float>();
  const PreferenceOut out = args.preference_out();
  return args.perform([=] { return trajectory_preference(batch, options, logps, ref_logps, out); });
}

}  // namespace sweet
