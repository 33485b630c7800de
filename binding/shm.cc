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

struct Mapping {
  void* data;
  int64_t bytes;
};

/** A worker that ends runs no finalizer of its buffers: this lets go of the memory after its last line. */
void at_exit(void* argument) {
  Mapping* const mapping = static_cast<Mapping*>(argument);
  unmap_shared(mapping->data, mapping->bytes);
  mapping->data = nullptr;
}

void finalize(napi_env env, void*, void* hint) {
  Mapping* const mapping = static_cast<Mapping*>(hint);
  if (mapping->data) {
    napi_remove_env_cleanup_hook(env, at_exit, mapping);
    unmap_shared(mapping->data, mapping->bytes);
  }
  delete mapping;
}

}  // namespace

Napi::Value bind_shm_open(const Napi::CallbackInfo& info) {
  const std::string name = info[0].ToString().Utf8Value();
  const int64_t bytes = info[1].ToNumber().Int64Value();
  const SharedMemory memory = map_shared(name.c_str(), bytes, info[2].ToBoolean().Value());
  if (memory.step) return fault(info.Env(), memory);
  if (memory.bytes > info[3].ToNumber().Int64Value()) {
    unmap_shared(memory.data, memory.bytes);
    return fault(info.Env(), {nullptr, memory.bytes, 0, "buffer"});
  }
  Mapping* const mapping = new Mapping{memory.data, memory.bytes};
  napi_value buffer = nullptr;
  const napi_status status = napi_create_external_arraybuffer(
      info.Env(), memory.data, static_cast<size_t>(memory.bytes), finalize, mapping, &buffer);
  if (status == napi_ok) {
    napi_add_env_cleanup_hook(info.Env(), at_exit, mapping);
    return Napi::Value(info.Env(), buffer);
  }
  unmap_shared(memory.data, memory.bytes);
  delete mapping;
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
