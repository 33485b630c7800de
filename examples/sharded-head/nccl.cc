// NCCL for this example, loaded at run time: an all-gather between devices on the default stream. Its declarations are
// repeated here, because a library from PyTorch comes without headers.
#include <dlfcn.h>
#include <napi.h>

#include <cstdint>
#include <cstring>
#include <string>

namespace {

struct UniqueId {
  char bytes[128];
};
using Comm = void*;
constexpr int kSuccess = 0, kInt8 = 0;

struct Nccl {
  const char* (*error_string)(int);
  int (*unique_id)(UniqueId*);
  int (*init)(Comm*, int, UniqueId, int);
  int (*all_gather)(const void*, void*, size_t, int, Comm, void*);
  int (*destroy)(Comm);
} nccl;
Comm comm = nullptr;

void must(Napi::Env env, int error, const char* what) {
  if (error != kSuccess) throw Napi::Error::New(env, std::string(what) + " failed: " + nccl.error_string(error));
}

template <class F>
void find(Napi::Env env, void* library, const char* name, F* function) {
  *function = reinterpret_cast<F>(dlsym(library, name));
  if (*function == nullptr)
    throw Napi::Error::New(env, std::string("Expected ") + name + " in NCCL but it is not there");
}

/** load(files): loads the first file that can be loaded; the error lists all. */
Napi::Value load(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Array files = info[0].As<Napi::Array>();
  std::string tried;
  for (uint32_t i = 0; i < files.Length(); i++) {
    const std::string file = files.Get(i).ToString();
    void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      tried += std::string("\n  ") + dlerror();
      continue;
    }
    find(env, library, "ncclGetErrorString", &nccl.error_string);
    find(env, library, "ncclGetUniqueId", &nccl.unique_id);
    find(env, library, "ncclCommInitRank", &nccl.init);
    find(env, library, "ncclAllGather", &nccl.all_gather);
    find(env, library, "ncclCommDestroy", &nccl.destroy);
    return Napi::String::New(env, file);
  }
  throw Napi::Error::New(env,
                         "NCCL was not found (SWEET_RL_NCCL names its file; pip install nvidia-nccl-cu13):" + tried);
}

/** uniqueId(id): one rank creates it, all ranks need it. */
void unique_id(const Napi::CallbackInfo& info) {
  UniqueId id;
  must(info.Env(), nccl.unique_id(&id), "ncclGetUniqueId");
  memcpy(info[0].As<Napi::Uint8Array>().Data(), id.bytes, sizeof(id.bytes));
}

/** init(size, id, rank): waits for all ranks, one per device. */
void init(const Napi::CallbackInfo& info) {
  UniqueId id;
  memcpy(id.bytes, info[1].As<Napi::Uint8Array>().Data(), sizeof(id.bytes));
  must(info.Env(), nccl.init(&comm, info[0].ToNumber(), id, info[2].ToNumber()), "ncclCommInitRank");
}

void* pointer(const Napi::Value& value) {
  bool lossless = false;
  return reinterpret_cast<void*>(value.As<Napi::BigInt>().Uint64Value(&lossless));
}

/** allGather(own, all, bytes): device addresses. Asynchronous, on the default stream. */
void all_gather(const Napi::CallbackInfo& info) {
  const size_t bytes = static_cast<size_t>(info[2].ToNumber().Int64Value());
  must(info.Env(), nccl.all_gather(pointer(info[0]), pointer(info[1]), bytes, kInt8, comm, nullptr), "ncclAllGather");
}

void destroy(const Napi::CallbackInfo& info) { must(info.Env(), nccl.destroy(comm), "ncclCommDestroy"); }

Napi::Object register_all(Napi::Env env, Napi::Object exports) {
  exports.Set("load", Napi::Function::New(env, load));
  exports.Set("uniqueId", Napi::Function::New(env, unique_id));
  exports.Set("init", Napi::Function::New(env, init));
  exports.Set("allGather", Napi::Function::New(env, all_gather));
  exports.Set("destroy", Napi::Function::New(env, destroy));
  return exports;
}

}  // namespace

NODE_API_MODULE(nccl, register_all)
