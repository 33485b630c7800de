// The functions of the CPU's addon besides the operations of binding/operations.js.
#pragma once

#include <napi.h>

namespace sweet {

/** In binding/generated/operations.cc, for both addons. */
void register_operations(Napi::Object exports);

Napi::Value bind_backends(const Napi::CallbackInfo& info);
Napi::Value bind_use_backend(const Napi::CallbackInfo& info);
Napi::Value bind_cpus(const Napi::CallbackInfo& info);
Napi::Value bind_threads(const Napi::CallbackInfo& info);
Napi::Value bind_set_threads(const Napi::CallbackInfo& info);
Napi::Value bind_shm_open(const Napi::CallbackInfo& info);
Napi::Value bind_shm_close(const Napi::CallbackInfo& info);
Napi::Value bind_shm_unlink(const Napi::CallbackInfo& info);
Napi::Value bind_is_shm(const Napi::CallbackInfo& info);
Napi::Value bind_addresses(const Napi::CallbackInfo& info);

}  // namespace sweet
