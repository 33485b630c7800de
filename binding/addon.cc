// Registers every operation; one file each.
#include "addon.h"

#include "later.h"
#include "pin.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, call, name));
  };
  sweet::add_operation(exports, "tokenLogps", sweet::bind_token_logps);
  sweet::add_operation(exports, "tokenLogpsBackward", sweet::bind_token_logps_backward);
  sweet::add_operation(exports, "linearLogps", sweet::bind_linear_logps);
  sweet::add_operation(exports, "linearLogpsBackward", sweet::bind_linear_logps_backward);
  sweet::add_operation(exports, "partials", sweet::bind_partials);
  add("mergePartials", sweet::bind_merge_partials);
  add("turnAdvantages", sweet::bind_turn_advantages);
  add("turnAdvantagesBackward", sweet::bind_turn_advantages_backward);
  add("trajectoryPreference", sweet::bind_trajectory_preference);
  add("turnPreference", sweet::bind_turn_preference);
  sweet::add_operation(exports, "criticUpdate", sweet::bind_critic_update);
  sweet::add_operation(exports, "policyUpdate", sweet::bind_policy_update);
  add("cancel", sweet::bind_cancel);
  add("pin", sweet::bind_pin);
  add("firstNotFinite", sweet::bind_first_not_finite);
  add("backends", sweet::bind_backends);
  add("useBackend", sweet::bind_use_backend);
  add("threads", sweet::bind_threads);
  add("setThreads", sweet::bind_set_threads);
  add("shmOpen", sweet::bind_shm_open);
  add("shmClose", sweet::bind_shm_close);
  add("shmUnlink", sweet::bind_shm_unlink);
  return exports;
}

}  // namespace

NODE_API_MODULE(sweet_rl, init)
