#include "../unpaired_update.h"

#include "head_update.h"
#include "unpaired_loss.h"

namespace sweet {

using namespace cuda;

Status unpaired_update(const UnpairedUpdate& call) {
  const auto check = [&](LaunchContext& context, const int32_t* labels) {
    return check_unpaired(context, call.batch, call.options, labels);
  };
  const auto compute = [&](LaunchContext& context, const UnpairedInputs& in, const TokenLogps& logps) {
    compute_unpaired(context, in, logps, call.out);
  };
  return head_update(call, false, call.out.grad_logps, call.out.scalars, check, compute);
}

}  // namespace sweet
