// The unpaired loss on the device: checked before any logit is read, computed when the log-probs are there. All
// pointers but out.scalars are to device memory.
#pragma once

#include "../unpaired_loss.h"
#include "items.h"

namespace sweet {
namespace cuda {

/** What the kernels work on. */
struct UnpairedInputs {
  ItemInputs items;           // K
  const uint8_t* desirable;   // [K]
  const float* unit_weights;  // [K] or null
  UnpairedOptions options;
};

/** labels: checked, [N], or null; where given, they say which tokens count. */
UnpairedInputs check_unpaired(LaunchContext& context, const UnpairedBatch& batch, const UnpairedOptions& options,
                              const int32_t* labels);

/** out.grad_logps is the gradient of the loss, 0 at masked tokens; the scalars go to the context's result. */
void compute_unpaired(LaunchContext& context, const UnpairedInputs& in, const TokenLogps& logps,
                      const UnpairedOut& out);

}  // namespace cuda
}  // namespace sweet
