// The operations under the names that the CPU's addon has them by, and the memory they work on.
#include <atomic>

#include "../../native/device_memory.h"
#include "../../native/products.h"
#include "../addon.h"
#include "../later.h"
#include "device_buffer.h"

namespace sweet {

namespace {

std::atomic<int> environments{0};

Napi::Value bind_products(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), device::gemm_library()); }

Napi::Value bind_take_peak_scratch(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(device::take_peak_scratch()));
}

void end_of_environment() {
  device::end_thread();
  if (--environments == 0) device::end_process();
}

}  // namespace

Napi::Object register_cuda(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, call, name));
  };
  add_operation(exports, "tokenLogps", bind_token_logps);
  add_operation(exports, "tokenLogpsBackward", bind_token_logps_backward);
  add_operation(exports, "linearLogps", bind_linear_logps);
  add_operation(exports, "linearLogpsBackward", bind_linear_logps_backward);
  add_operation(exports, "partials", bind_partials);
  add("mergePartials", bind_merge_partials);
  add("turnAdvantages", bind_turn_advantages);
  add("turnAdvantagesBackward", bind_turn_advantages_backward);
  add("trajectoryPreference", bind_trajectory_preference);
  add("turnPreference", bind_turn_preference);
  add_operation(exports, "criticUpdate", bind_critic_update);
  add_operation(exports, "policyUpdate", bind_policy_update);
  add("cancel", bind_cancel);
  add("hold", bind_hold);
  add("letGo", bind_let_go);
  add("devices", bind_devices);
  add("products", bind_products);
  add("takePeakScratch", bind_take_peak_scratch);
  add("useDevice", bind_use_device);
  add("allocate", bind_allocate);
  add("view", bind_view);
  add("part", bind_part);
  add("openShared", bind_open_shared);
  add("share", bind_share);
  add("locate", bind_locate);
  add("address", bind_address);
  add("follow", bind_follow);
  add("setZero", bind_set_zero);
  add("dispose", bind_dispose);
  add("write", bind_write);
  add("read", bind_read);
  add("writeAsync", bind_write_async);
  add("readAsync", bind_read_async);
  exports.Set("version", SWEET_VERSION);
  environments++;
  env.AddCleanupHook(end_of_environment);
  return exports;
}

}  // namespace sweet
