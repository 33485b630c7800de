#include "args.h"

#include <cstring>
#include <memory>

namespace sweet {

Bytes::Bytes(napi_env env, napi_value value) {
  static const int64_t sizes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};  // in the order of napi_typedarray_type
  napi_typedarray_type type;
  size_t elements = 0;
  void* memory = nullptr;
  // Unlike the classes of node-addon-api, this accepts views of a SharedArrayBuffer.
  is_array = napi_get_typedarray_info(env, value, &type, &elements, &memory, &buffer, nullptr) == napi_ok;
  if (!is_array) return;
  data = static_cast<char*>(memory);
  length = static_cast<int64_t>(elements);
  count = length * (static_cast<size_t>(type) < 11 ? sizes[type] : 2);  // then Float16Array
}

void* Args::pointer(int64_t min_length, bool written) {
  const napi_value value = next();
  const Bytes bytes(env_, value);
  int64_t length = bytes.length;
  void* data = bytes.data;
  if (!bytes.is_array) {
    data = handle_memory(env_, value, &length);
  } else {
    static char empty;
    if (data == nullptr) data = &empty;  // an empty array, unlike a missing one
  }
  napi_valuetype type = napi_undefined;
  if (data == nullptr) napi_typeof(env_, value, &type);
  require(data != nullptr ? length >= min_length : type == napi_undefined);
  return async_ && data != nullptr ? memory_of_call(value, bytes, data, written) : data;
}

/** The same memory where it stays during an async call, or a copy. */
void* Args::memory_of_call(napi_value value, const Bytes& bytes, void* data, bool written) {
  Retained retained = retain_memory(env_, value, data);
  if (retained.release) {
    memory_.retained.push_back(std::move(retained));
    return data;
  }
  bool is_copied = false;  // not of a SharedArrayBuffer
  const size_t size = static_cast<size_t>(bytes.count);
  if (size > 0 && size <= kMaxCopiedBytes) napi_is_arraybuffer(env_, bytes.buffer, &is_copied);
  if (!is_copied) return data;
  for (Copy& copy : memory_.copies) {
    if (copy.array != data || copy.bytes != size) continue;
    copy.written = copy.written || written;  // a result in place of an input
    return copy.memory.get();
  }
  if (memory_.copies.empty()) memory_.copies.reserve(4);
  std::unique_ptr<char[]> memory(new char[size]);
  std::memcpy(memory.get(), data, size);
  memory_.copies.push_back({data, size, written, std::move(memory)});
  return memory_.copies.back().memory.get();
}

double Args::number() {
  double value = 0;
  napi_get_value_double(env_, next(), &value);
  return value;
}

bool Args::boolean() {
  bool value = false;
  napi_get_value_bool(env_, next(), &value);
  return value;
}

Napi::Value status_value(Napi::Env env, const Status& status) {
  if (status.ok()) return env.Undefined();
  Napi::Object fault = Napi::Object::New(env);
  fault.Set("code", fault_name(status.code));
  fault.Set("index", static_cast<double>(status.index));
  fault.Set("value", static_cast<double>(status.value));
  if (status.code == Code::device_gemm) fault.Set("message", status.device.meaning);
  if (status.code != Code::device) return fault;
  fault.Set("operation", status.device.operation);
  fault.Set("name", status.device.name);
  fault.Set("message", status.device.meaning);
  fault.Set("sticky", status.device.sticky);
  return fault;
}

}  // namespace sweet
