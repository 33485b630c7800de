#include "../native/shm.h"

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "addon.h"

namespace sweet {

namespace {

Napi::Value fault(Napi::Env env, const SharedMemory& memory) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("step", memory.step);
  out.Set("errno", memory.error);
  out.Set("bytes", static_cast<double>(memory.bytes));
  return out;
}

/**
 * Mapped memory with a reference count: of the ArrayBuffer and of the async calls that use it. The buffer may be closed
 * or collected during a call; the memory is unmapped when the count is 0.
 */
struct Mapping {
  void* data;
  int64_t bytes;
  int count = 1;
  bool finalized = false;  // the finalizer of the buffer has run: only async calls refer to this struct
};

std::mutex mutex;  // guards `mappings` and the counts
std::vector<Mapping*> mappings;

void release(Mapping* mapping) {
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (--mapping->count > 0) return;
    mappings.erase(std::find(mappings.begin(), mappings.end(), mapping));
  }
  unmap_shared(mapping->data, mapping->bytes);
  mapping->data = nullptr;
  if (mapping->finalized) delete mapping;
}

/**
 * A worker that ends runs this hook after its last statement, when its async calls have ended. Some versions of Node
 * run the finalizer after it, others not at all.
 */
void at_exit(void* mapping) { release(static_cast<Mapping*>(mapping)); }

void finalize(napi_env env, void*, void* hint) {
  Mapping* const mapping = static_cast<Mapping*>(hint);
  if (mapping->data == nullptr) {
    delete mapping;
    return;
  }
  mapping->finalized = true;
  napi_remove_env_cleanup_hook(env, at_exit, mapping);
  release(mapping);
}

}  // namespace

/** { name, bytes (0: all of it), create, maxBytes }; returns an ArrayBuffer or a fault. */
Napi::Value bind_shm_open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object given = info[0].As<Napi::Object>();
  const SharedMemory memory =
      map_shared(given.Get("name").ToString().Utf8Value().c_str(), given.Get("bytes").ToNumber().Int64Value(),
                 given.Get("create").ToBoolean().Value());
  if (memory.step) return fault(env, memory);
  napi_value buffer = nullptr;
  Mapping* const mapping = new Mapping{memory.data, memory.bytes};
  const bool fits = memory.bytes <= given.Get("maxBytes").ToNumber().Int64Value();
  if (!fits || napi_create_external_arraybuffer(env, memory.data, static_cast<size_t>(memory.bytes), finalize, mapping,
                                                &buffer) != napi_ok) {
    unmap_shared(memory.data, memory.bytes);
    delete mapping;
    return fault(env, {nullptr, memory.bytes, 0, "buffer"});
  }
  napi_add_env_cleanup_hook(env, at_exit, mapping);
  const std::lock_guard<std::mutex> lock(mutex);
  mappings.push_back(mapping);
  return Napi::Value(env, buffer);
}

/** Takes an attached ArrayBuffer; returns the argument of shmRelease, or undefined if it is not a mapping. */
Napi::Value bind_shm_retain(const Napi::CallbackInfo& info) {
  void* data = nullptr;
  size_t bytes = 0;
  if (napi_get_arraybuffer_info(info.Env(), info[0], &data, &bytes) != napi_ok) return info.Env().Undefined();
  const std::lock_guard<std::mutex> lock(mutex);
  for (Mapping* const mapping : mappings) {
    if (mapping->data != data) continue;
    mapping->count++;
    return Napi::External<Mapping>::New(info.Env(), mapping);
  }
  return info.Env().Undefined();
}

Napi::Value bind_shm_release(const Napi::CallbackInfo& info) {
  release(info[0].As<Napi::External<Mapping>>().Data());
  return info.Env().Undefined();
}

/** Every view gets length 0; the memory is unmapped when the engine finalizes the buffer. */
Napi::Value bind_shm_close(const Napi::CallbackInfo& info) {
  napi_detach_arraybuffer(info.Env(), info[0]);
  return info.Env().Undefined();
}

Napi::Value bind_shm_unlink(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), unlink_shared(info[0].ToString().Utf8Value().c_str()));
}

}  // namespace sweet
