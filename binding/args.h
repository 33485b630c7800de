// Reads a call's arguments in the order in which lib/ passes them and answers its status. lib/ has checked classes and
// lengths; values inside the arrays are the operations' to check.
#pragma once

#include <napi.h>

#include "../native/update.h"

namespace sweet {

/** The memory behind an object that is no typed array, and its elements; null where there is none. Each addon has its
 * own. */
void* handle_memory(napi_env env, napi_value value, int64_t* length);

class Args {
 public:
  explicit Args(const Napi::CallbackInfo& info) : info_(info), env_(info.Env()) {}

  /**
   * The memory of a typed array, at its offset, or of a DeviceBuffer; null for undefined. T is const where the call
   * only reads.
   */
  template <class T>
  T* array() {
    return static_cast<T*>(pointer(nullptr));
  }

  /** Likewise, with its number of elements. */
  template <class T>
  T* array(int64_t* length) {
    return static_cast<T*>(pointer(length));
  }

  double number();
  bool boolean();
  napi_value object() { return next(); }

  /** An enum that lib/ passes as its number. */
  template <class E>
  E choice() {
    return static_cast<E>(static_cast<int32_t>(number()));
  }

  // Groups of arguments that several operations take, in the order of lib/native.cts.
  Head logits_head();
  Head linear_head();
  Head head();
  Labels labels();
  PreferenceBatch batch();
  PreferenceOptions preference_options();
  PreferenceOut preference_out();
  HeadGradients linear_gradients();
  Update update();
  UpdateOut update_out();

  /** Runs the call, which holds copies of what was read, and answers its status. */
  template <class Call>
  Napi::Value perform(const Call& call) const;

 private:
  void* pointer(int64_t* length);
  napi_value next();

  const Napi::CallbackInfo& info_;
  const napi_env env_;
  size_t at_ = 0;
};

/** undefined, or { code, index, value } for lib/errors.ts. */
Napi::Value answer(Napi::Env env, const Status& status);

template <class Call>
Napi::Value Args::perform(const Call& call) const {
  return answer(env_, call());
}

}  // namespace sweet
