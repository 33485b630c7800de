#include "../preference_update.h"

#include "head_update.h"
#include "preference_loss.h"

namespace sweet {

using namespace cuda;

Status preference_update(const PreferenceUpdate& call) {
  const auto check = [&](LaunchContext& context, const int32_t* labels) {
    return check_preference(context, call.batch, call.options, labels);
  };
  const auto compute = [&](LaunchContext& context, const PreferenceInputs& in, const TokenLogps& logps) {
    compute_preference(context, in, call.head.rows, logps, call.out);
  };
  return head_update(call, call.options.use_weighting, call.out.grad_logps, call.out.scalars, check, compute);
}

}  // namespace sweet
