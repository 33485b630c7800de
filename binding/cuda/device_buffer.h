// The functions of the CUDA addon besides the operations: devices, and the memory of DeviceBuffers.
#pragma once

#include <napi.h>

namespace sweet {

Napi::Value bind_devices(const Napi::CallbackInfo& info);
Napi::Value bind_use_device(const Napi::CallbackInfo& info);
Napi::Value bind_allocate(const Napi::CallbackInfo& info);
Napi::Value bind_view(const Napi::CallbackInfo& info);
Napi::Value bind_part(const Napi::CallbackInfo& info);
Napi::Value bind_open_shared(const Napi::CallbackInfo& info);
Napi::Value bind_share(const Napi::CallbackInfo& info);
Napi::Value bind_locate(const Napi::CallbackInfo& info);
Napi::Value bind_address(const Napi::CallbackInfo& info);
Napi::Value bind_follow(const Napi::CallbackInfo& info);
Napi::Value bind_set_zero(const Napi::CallbackInfo& info);
Napi::Value bind_dispose(const Napi::CallbackInfo& info);
Napi::Value bind_write(const Napi::CallbackInfo& info);
Napi::Value bind_read(const Napi::CallbackInfo& info);
Napi::Value bind_write_async(const Napi::CallbackInfo& info);
Napi::Value bind_read_async(const Napi::CallbackInfo& info);

/** Registers the operations and all of the above. */
Napi::Object register_cuda(Napi::Env env, Napi::Object exports);

}  // namespace sweet
