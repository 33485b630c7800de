// The arguments of a call of Node-API. Since getters of the caller may have run after the checks of lib/, or another
// thread may have resized a buffer, the memory of every array is read here.
#pragma once

#include <napi.h>

#include <string>
#include <utility>

#include "../native/status.h"
#include "async.h"
#include "checked_args.h"

namespace sweet {

/** The memory of a typed array, which may view a SharedArrayBuffer. */
struct Bytes {
  char* data = nullptr;
  int64_t count = 0;
  int64_t length = 0;
  bool is_array = false;
  napi_value buffer = nullptr;

  Bytes(napi_env env, napi_value value);
};

/** The memory and the length of an object that is not a typed array, or null. Defined by each addon. */
void* handle_memory(napi_env env, napi_value value, int64_t* length);

/** Of the memory of an argument that the caller may free during an async call, else empty. Defined by each addon. */
Retained retain_memory(napi_env env, napi_value value, const void* data);

/** Wraps a call so that another thread can run it for this thread. Defined by each addon. */
Call for_another_thread(Call call);

// The names by which generated/operations.cc knows Node-API.
using CallInfo = Napi::CallbackInfo;
using CallResult = Napi::Value;
using Exports = Napi::Object;

class Args : public CheckedArgs<Args> {
 public:
  explicit Args(const CallInfo& info) : info_(info), env_(info.Env()), async_(info.Data() == &kAsync) {}

  double number();
  bool boolean();
  void* pointer(int64_t min_length, bool written);

  /** Runs the call and returns its status; the async form reads one more argument, `done`, and calls run_async. */
  template <class F>
  CallResult perform(const F& call);

  /** Runs the call and returns its number. */
  template <class F>
  CallResult compute(const F& call, double otherwise) {
    return Napi::Number::New(info_.Env(), valid() ? static_cast<double>(call()) : otherwise);
  }

 private:
  void* memory_of_call(napi_value value, const Bytes& bytes, void* data, bool written);
  napi_value next() { return info_[next_++]; }

  const CallInfo& info_;
  const napi_env env_;
  const bool async_;
  size_t next_ = 0;
  CallMemory memory_;
};

/** In binding/generated/operations.cc. */
const char* fault_name(Code code);

/** undefined, or the { code, index, value } of an error, see lib/addon/faults.ts. */
Napi::Value status_value(Napi::Env env, const Status& status);

template <class F>
Napi::Value Args::perform(const F& call) {
  if (async_) {
    Call checked = valid() ? Call(call) : Call([] { return Status{Code::shape}; });
    return run_async(env_, for_another_thread(std::move(checked)), std::move(memory_), next());
  }
  return status_value(env_, valid() ? call() : Status{Code::shape});
}

}  // namespace sweet
