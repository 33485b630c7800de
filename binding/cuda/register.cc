// Registers the operations, under the names of the CPU's addon, and the functions of device memory.
#include <atomic>

#include "../../native/device_gemm.h"
#include "../../native/device_memory.h"
#include "../addon.h"
#include "../args.h"
#include "../async.h"
#include "device_buffer.h"

namespace sweet {

namespace {

std::atomic<int> environments{0};

Napi::Value bind_gemm_library(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), device::gemm_library());
}

Napi::Value bind_take_peak_scratch(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(device::take_peak_scratch()));
}

/** A fault or the number of freed bytes. */
Napi::Value bind_free_cached(const Napi::CallbackInfo& info) {
  int64_t freed = 0;
  if (const Status status = device::free_cached(&freed); !status.ok()) return status_value(info.Env(), status);
  return Napi::Number::New(info.Env(), static_cast<double>(freed));
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
  register_operations(exports);
  add_async(exports);
  add("devices", bind_devices);
  add("gemmLibrary", bind_gemm_library);
  add("takePeakScratch", bind_take_peak_scratch);
  add("freeCached", bind_free_cached);
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
