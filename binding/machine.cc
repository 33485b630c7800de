#include <string>

#include "../native/backend.h"
#include "../native/cpus.h"
#include "addon.h"

namespace sweet {

Napi::Value bind_backends(const Napi::CallbackInfo& info) {
  Napi::Array list = Napi::Array::New(info.Env(), kBackends);
  for (uint32_t i = 0; i < kBackends; i++) {
    const Backend entry = backend(static_cast<int>(i));
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("name", entry.name);
    out.Set("available", entry.unavailable == nullptr);
    out.Set("active", entry.active);
    if (entry.unavailable) out.Set("reason", entry.unavailable);
    list.Set(i, out);
  }
  return list;
}

Napi::Value bind_use_backend(const Napi::CallbackInfo& info) {
  const std::string name = info[0].ToString().Utf8Value();
  return Napi::Boolean::New(info.Env(), use_backend(name.c_str()));
}

Napi::Value bind_threads(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), threads()); }

/** { affinity, quota, usable }; the root of the file system, for tests. */
Napi::Value bind_cpus(const Napi::CallbackInfo& info) {
  const double quota = quota_cpus(info[0].ToString().Utf8Value());
  Napi::Object cpus = Napi::Object::New(info.Env());
  cpus.Set("affinity", affinity_cpus());
  cpus.Set("quota", quota);
  cpus.Set("usable", usable_cpus(quota));
  return cpus;
}

Napi::Value bind_set_threads(const Napi::CallbackInfo& info) {
  set_threads(info[0].ToNumber().Int32Value());
  return info.Env().Undefined();
}

}  // namespace sweet
