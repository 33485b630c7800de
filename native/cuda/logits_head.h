// Rows of logits on the device, as token_logps and both updates need them. All pointers are to device memory.
#pragma once

#include "../partials.h"
#include "run.h"

namespace sweet {
namespace cuda {

/**
 * [N] each; entropy may be null, lse32 as well. lse is kept in float64 for a backward pass in the same run. With
 * partials, these take the place of all other results.
 */
struct ForwardOut {
  float* logps;
  double* lse;
  float *lse32, *entropy;
  bool skip_ignored;  // rows dropped by their label are not read either and their lse is left 0
  ShardStats* partials = nullptr;
  bool weighted = false;  // partials for the entropy too

  bool with_entropy() const { return entropy != nullptr || weighted; }
};

void forward_rows(Run& run, const Head& head, const int32_t* labels, const ForwardOut& out);

/** lse or, if that is null, lse32, [N]. out may be head.logits. */
void backward_rows(Run& run, const Head& head, const int32_t* labels, const double* lse, const float* lse32,
                   const float* grad_logps, void* out);

}  // namespace cuda
}  // namespace sweet
