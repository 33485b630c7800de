// Reads the arguments of a call, in the order of binding/operations.js, and returns its status. lib/ has checked
// classes, lengths and options; the operation checks the values inside the arrays. Since getters of the caller may have
// run after the checks of lib/, or another thread may have resized a buffer, the memory of every array is read here,
// and its length is checked against the shapes of the call again.
#pragma once

#include <napi.h>

#include <string>
#include <type_traits>
#include <utility>

#include "../native/status.h"
#include "async.h"

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

class Args {
 public:
  explicit Args(const Napi::CallbackInfo& info) : info_(info), env_(info.Env()), async_(info.Data() == &kAsync) {}

  /** The memory of a typed array (at its offset) or of a DeviceBuffer, with at least `min_length` elements. */
  template <class T>
  T* array(int64_t min_length) {
    T* const data = optional_array<T>(min_length);
    require(data != nullptr);
    return data;
  }

  /** The same, or null for undefined. */
  template <class T>
  T* optional_array(int64_t min_length) {
    return static_cast<T*>(pointer(min_length, !std::is_const_v<T>));
  }

  /** If the condition is false, the call is not run and its status is Code::shape. */
  void require(bool condition) { valid_ = valid_ && condition; }
  bool valid() const { return valid_; }

  double number();
  int64_t integer() { return static_cast<int64_t>(number()); }
  bool boolean();

  /** The length of a list of at most `most` groups. */
  int64_t count(int64_t most) {
    const int64_t length = integer();
    require(length >= 0 && length <= most);
    return valid_ ? length : 0;
  }

  /** An enum with `count` values, passed as a number. */
  template <class E>
  E choice(int count) {
    const double value = number();
    require(value >= 0 && value < count);
    return static_cast<E>(static_cast<int32_t>(value));
  }

  /** Runs the call and returns its status; the async form reads one more argument, `done`, and calls run_async. */
  template <class F>
  Napi::Value perform(const F& call);

 private:
  void* pointer(int64_t min_length, bool written);
  void* memory_of_call(napi_value value, const Bytes& bytes, void* data, bool written);
  napi_value next() { return info_[next_++]; }

  const Napi::CallbackInfo& info_;
  const napi_env env_;
  const bool async_;
  size_t next_ = 0;
  bool valid_ = true;
  CallMemory memory_;
};

/** In binding/generated/operations.cc. */
const char* fault_name(Code code);

/** undefined, or the { code, index, value } of an error, see lib/addon/faults.ts. */
Napi::Value status_value(Napi::Env env, const Status& status);

template <class F>
Napi::Value Args::perform(const F& call) {
  if (async_) {
    Call checked = valid_ ? Call(call) : Call([] { return Status{Code::shape}; });
    return run_async(env_, for_another_thread(std::move(checked)), std::move(memory_), next());
  }
  return status_value(env_, valid_ ? call() : Status{Code::shape});
}

}  // namespace sweet
