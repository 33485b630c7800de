#include "../native/policy_update.h"

#include "addon.h"
#include "args.h"

namespace sweet {

Napi::Value bind_policy_update(const Napi::CallbackInfo& info) {
  Args args(info);
  const Update update = args.update();
  const UpdateOut out = args.update_out();
  return args.perform([=] { return policy_update(update, out); });
}

}  // namespace sweet
