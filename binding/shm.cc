#include "../native/shm.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

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

/** Mapped memory and its users: the ArrayBuffer, and the async calls that work on it. */
struct Mapping {
  SharedMemory memory;
  int users = 1;
  bool has_buffer = true;

  int64_t offset(const void* data) const { return static_cast<const char*>(data) - static_cast<char*>(memory.data); }
  bool contains(const void* data) const { return has_buffer && offset(data) >= 0 && offset(data) < memory.bytes; }
};

using Mappings = std::map<uintptr_t, Mapping>;

std::mutex mutex;   // guards `mappings`
Mappings mappings;  // of the process, by numbers that are not used again

/** With the lock. */
Mappings::iterator find_mapping(const void* data) {
  auto entry = mappings.begin();
  while (entry != mappings.end() && !entry->second.contains(data)) ++entry;
  return entry;
}

/** Removes a user, of which the last one unmaps the memory. False if the buffer was removed before. */
bool release(uintptr_t number, bool buffer) {
  SharedMemory unused;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto entry = mappings.find(number);
    if (entry == mappings.end()) return false;
    if (buffer && !std::exchange(entry->second.has_buffer, false)) return false;
    if (--entry->second.users > 0) return true;
    unused = entry->second.memory;
    mappings.erase(entry);
  }
  unmap_shared(unused.data, unused.bytes);
  return true;
}

/**
 * A worker that ends runs this hook after its last statement. Some versions of Node run the finalizer after it, others
 * not at all.
 */
void at_exit(void* number) { release(reinterpret_cast<uintptr_t>(number), true); }

void finalize(napi_env env, void*, void* number) {
  if (release(reinterpret_cast<uintptr_t>(number), true)) napi_remove_env_cleanup_hook(env, at_exit, number);
}

}  // namespace

Retained retain_memory(napi_env, napi_value, const void* data) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto entry = find_mapping(data);
  if (entry == mappings.end()) return {};
  entry->second.users++;
  return {[number = entry->first] { release(number, false); }};
}

/** { name, bytes (0: all of it), create, maxBytes }; returns { buffer, number } or a fault. */
Napi::Value bind_shm_open(const Napi::CallbackInfo& info) {
  static std::atomic<uintptr_t> last_number{0};
  const Napi::Env env = info.Env();
  const Napi::Object given = info[0].As<Napi::Object>();
  const SharedMemory memory =
      map_shared(given.Get("name").ToString().Utf8Value().c_str(), given.Get("bytes").ToNumber().Int64Value(),
                 given.Get("create").ToBoolean().Value());
  if (memory.step) return fault(env, memory);
  const uintptr_t number = ++last_number;
  void* const hint = reinterpret_cast<void*>(number);
  napi_value buffer = nullptr;
  const bool fits = memory.bytes <= given.Get("maxBytes").ToNumber().Int64Value();
  if (!fits || napi_create_external_arraybuffer(env, memory.data, static_cast<size_t>(memory.bytes), finalize, hint,
                                                &buffer) != napi_ok) {
    unmap_shared(memory.data, memory.bytes);
    return fault(env, {nullptr, memory.bytes, 0, "buffer"});
  }
  napi_add_env_cleanup_hook(env, at_exit, hint);
  const std::lock_guard<std::mutex> lock(mutex);
  mappings[number].memory = memory;
  Napi::Object opened = Napi::Object::New(env);
  opened.Set("buffer", buffer);
  opened.Set("number", static_cast<double>(number));
  return opened;
}

/** Whether an attached ArrayBuffer is a mapping. */
Napi::Value bind_is_shm(const Napi::CallbackInfo& info) {
  void* data = nullptr;
  size_t bytes = 0;
  if (napi_get_arraybuffer_info(info.Env(), info[0], &data, &bytes) != napi_ok) return info.Env().Undefined();
  const std::lock_guard<std::mutex> lock(mutex);
  return Napi::Boolean::New(info.Env(), find_mapping(data) != mappings.end());
}

/** { buffer, number }; every view of the buffer gets length 0. Returns whether the memory is unmapped. */
Napi::Value bind_shm_close(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object given = info[0].As<Napi::Object>();
  const uintptr_t number = static_cast<uintptr_t>(given.Get("number").ToNumber().Int64Value());
  const napi_value buffer = given.Get("buffer");
  void* data = nullptr;
  size_t bytes = 0;
  // If the buffer was transferred, its memory belongs to another one.
  const bool attached = napi_get_arraybuffer_info(env, buffer, &data, &bytes) == napi_ok && bytes > 0;
  if (attached && napi_detach_arraybuffer(env, buffer) == napi_ok) {
    finalize(env, nullptr, reinterpret_cast<void*>(number));
  }
  const std::lock_guard<std::mutex> lock(mutex);
  return Napi::Boolean::New(env, mappings.count(number) == 0);
}

/**
 * A Float64Array [n, 3] and n typed arrays or undefined. Writes for each array a number of its shared memory and the
 * range of its bytes there, or 0 and the range of its addresses. Two mappings of the same memory have the same number.
 */
Napi::Value bind_addresses(const Napi::CallbackInfo& info) {
  double* out = reinterpret_cast<double*>(Bytes(info.Env(), info[0]).data);
  const std::lock_guard<std::mutex> lock(mutex);
  for (size_t i = 1; i < info.Length(); i++, out += 3) {
    const Bytes array(info.Env(), info[i]);
    const auto entry = mappings.empty() ? mappings.end() : find_mapping(array.data);
    uintptr_t number = 0;
    int64_t from = static_cast<int64_t>(reinterpret_cast<uintptr_t>(array.data));
    if (entry != mappings.end()) {
      from = entry->second.offset(array.data);
      number = entry->first;
      for (const auto& [other, mapping] : mappings) {
        if (!mapping.memory.same_object(entry->second.memory)) continue;
        number = other;
        break;
      }
    }
    out[0] = static_cast<double>(number);
    out[1] = static_cast<double>(from);
    out[2] = static_cast<double>(from + array.count);
  }
  return info.Env().Undefined();
}

Napi::Value bind_shm_unlink(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), unlink_shared(info[0].ToString().Utf8Value().c_str()));
}

}  // namespace sweet
