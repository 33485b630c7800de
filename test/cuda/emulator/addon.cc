// The addon of sweet-rl-cuda on the emulator, with the emulator's own controls.
#include "../../../binding/cuda/device_buffer.h"
#include "control.h"

namespace {

Napi::Value set_seed(const Napi::CallbackInfo& info) {
  emulator::set_seed(static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value()));
  return info.Env().Undefined();
}

Napi::Value set_devices(const Napi::CallbackInfo& info) {
  emulator::set_devices(info[0].As<Napi::Number>().Int32Value());
  return info.Env().Undefined();
}

/** n, the error's number */
Napi::Value fail_call(const Napi::CallbackInfo& info) {
  emulator::fail_call(info[0].As<Napi::Number>().Int32Value(),
                      static_cast<cudaError_t>(info[1].As<Napi::Number>().Int32Value()));
  return info.Env().Undefined();
}

Napi::Value report(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), emulator::report()); }

Napi::Value reset(const Napi::CallbackInfo& info) {
  emulator::reset();
  return info.Env().Undefined();
}

Napi::Value live_objects(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(emulator::live_objects()));
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, call, name));
  };
  add("setSeed", set_seed);
  add("setDevices", set_devices);
  add("failCall", fail_call);
  add("report", report);
  add("reset", reset);
  add("liveObjects", live_objects);
  return sweet::register_cuda(env, exports);
}

}  // namespace

NODE_API_MODULE(sweet_rl_cuda, init)
