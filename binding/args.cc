#include "args.h"

namespace sweet {

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
