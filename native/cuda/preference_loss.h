// The preference loss over items, turns or trajectories, on the device: checked before any logit is read, computed when
// the log-probs are there. All pointers but out.scalars are to device memory.
#pragma once

#include "../preference_loss.h"
#include "layout.h"

namespace sweet {
namespace cuda {

/** What the kernels work on: the batch, and the weights of each turn and item. */
struct PreferenceInputs {
  Turns turns;
  const int32_t* item_offsets;  // [K+1] into turns, or null: item k is turn k
  int64_t items;                // K
  Pairs pairs;                  // P
  PreferenceOptions options;
  const double* turn_weights;  // [T] sum over the tokens
  int32_t* turn_items;         // [T] the item of each turn
  double* item_weights;        // [K] sum over the tokens
};

/** labels: checked, [N], or null; where given, they say which tokens count. */
PreferenceInputs check_preference(LaunchContext& context, const PreferenceBatch& batch,
                                  const PreferenceOptions& options, const int32_t* labels);

/** out.grad_logps is the gradient of the loss, 0 at masked tokens; the scalars go to the context's result. */
void compute_preference(LaunchContext& context, const PreferenceInputs& in, const float* logps, const float* ref_logps,
                        const PreferenceOut& out);

}  // namespace cuda
}  // namespace sweet
