// The preference loss over items, turns or trajectories, on the device: checked before any logit is read, computed when
// the log-probs are there. All pointers but out.scalars are to device memory.
#pragma once

#include "../preference_loss.h"
#include "items.h"

namespace sweet {
namespace cuda {

/** What the kernels work on. */
struct PreferenceInputs {
  ItemInputs items;
  Pairs pairs;  // P
  PreferenceOptions options;
};

/** labels: checked, [N], or null; where given, they say which tokens count. */
PreferenceInputs check_preference(LaunchContext& context, const PreferenceBatch& batch,
                                  const PreferenceOptions& options, const int32_t* labels);

/** out.grad_logps is the gradient of the loss, 0 at masked tokens; the scalars go to the context's result. */
void compute_preference(LaunchContext& context, const PreferenceInputs& in, int64_t tokens, const TokenLogps& logps,
                        const PreferenceOut& out);

}  // namespace cuda
}  // namespace sweet
