#include "args.h"

namespace sweet {

Bytes::Bytes(napi_env env, napi_value value) {
  static const int64_t sizes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};  // in the order of napi_typedarray_type
  napi_typedarray_type type;
  size_t length = 0;
  void* memory = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &memory, nullptr, nullptr) != napi_ok) return;
  data = static_cast<char*>(memory);
  count = static_cast<int64_t>(length) * (static_cast<size_t>(type) < 11 ? sizes[type] : 2);  // then Float16Array
}

void* Args::pointer(int64_t min_length) {
  const napi_value value = next();
  size_t count = 0;
  int64_t length = 0;
  void* data = nullptr;
  // Unlike the classes of node-addon-api, this accepts views of a SharedArrayBuffer.
  if (napi_get_typedarray_info(env_, value, nullptr, &count, &data, nullptr, nullptr) != napi_ok) {
    data = handle_memory(env_, value, &length);
  } else {
    static char empty;
    length = static_cast<int64_t>(count);
    if (data == nullptr) data = &empty;  // an empty array, unlike a missing one
  }
  napi_valuetype type = napi_undefined;
  if (data == nullptr) napi_typeof(env_, value, &type);
  require(data != nullptr ? length >= min_length : type == napi_undefined);
  if (async_ && data != nullptr) {
    Retained retained = retain_memory(env_, value, data);
    if (retained.release) retained_.push_back(std::move(retained));
  }
  return data;
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
