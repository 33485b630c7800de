#include "addon.h"

#include "async.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, call, name));
  };
  sweet::register_operations(exports);
  sweet::add_async(exports);
  add("backends", sweet::bind_backends);
  add("useBackend", sweet::bind_use_backend);
  add("cpus", sweet::bind_cpus);
  add("threads", sweet::bind_threads);
  add("setThreads", sweet::bind_set_threads);
  add("shmOpen", sweet::bind_shm_open);
  add("shmClose", sweet::bind_shm_close);
  add("shmUnlink", sweet::bind_shm_unlink);
  add("isShm", sweet::bind_is_shm);
  add("addresses", sweet::bind_addresses);
  return exports;
}

}  // namespace

NODE_API_MODULE(sweet_rl, init)
