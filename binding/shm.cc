#include "../native/shm.h"

#include <cstdint>
#include <string>

#include "addon.h"
#include "args.h"

namespace sweet {

namespace {

Napi::Value fault(Napi::Env env, const SharedMemory& memory) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("step", memory.step);
  out.Set("errno", memory.error);
  out.Set("bytes", static_cast<double>(memory.bytes));
  return out;
}

/** The size travels as the hint, so that nothing is allocated for it. */
void unmap(napi_env, void* data, void* hint) {
  unmap_shared(data, static_cast<int64_t>(reinterpret_cast<intptr_t>(hint)));
}

}  // namespace

Napi::Value bind_shm_open(const Napi::CallbackInfo& info) {
  const std::string name = info[0].ToString().Utf8Value();
  const int64_t bytes = info[1].ToNumber().Int64Value();
  const SharedMemory memory = map_shared(name.c_str(), bytes, info[2].ToBoolean().Value());
  if (memory.step) return fault(info.Env(), memory);
  napi_value buffer = nullptr;
  void* const hint = reinterpret_cast<void*>(static_cast<intptr_t>(memory.bytes));
  const napi_status status = napi_create_external_arraybuffer(info.Env(), memory.data,
                                                              static_cast<size_t>(memory.bytes), unmap, hint, &buffer);
  if (status == napi_ok) return Napi::Value(info.Env(), buffer);
  unmap_shared(memory.data, memory.bytes);
  return fault(info.Env(), {nullptr, memory.bytes, 0, "buffer"});
}

/** Every view gets length 0 at once; the engine unmaps the memory when it lets go of it. */
Napi::Value bind_shm_close(const Napi::CallbackInfo& info) {
  napi_detach_arraybuffer(info.Env(), info[0]);
  return info.Env().Undefined();
}

Napi::Value bind_shm_unlink(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), unlink_shared(info[0].ToString().Utf8Value().c_str()));
}

}  // namespace sweet
