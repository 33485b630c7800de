// Reads a call's arguments in the order in which lib/ passes them and answers its status. lib/ has checked classes and
// lengths; values inside the arrays are the operations' to check. But between those checks and this reading code of the
// caller's may have run (getters among the options) or another thread have let a shared buffer grow: so every array
// must still have the elements that the call's shapes ask for, whatever lib/ saw.
#pragma once

#include <napi.h>

#include "../native/update.h"
#include "later.h"

namespace sweet {

/** The memory behind an object that is no typed array, and its elements; null where there is none. Each addon has its
 * own. */
void* handle_memory(napi_env env, napi_value value, int64_t* length);

/** The call as another thread must run it for this thread's sake. Each addon has its own. */
Call for_another_thread(Call call);

class Args {
 public:
  explicit Args(const Napi::CallbackInfo& info) : info_(info), env_(info.Env()), later_(info.Data() == &kLater) {}

  /**
   * The memory of a typed array, at its offset, or of a DeviceBuffer, with at least so many elements; null for
   * undefined. T is const where the call only reads.
   */
  template <class T>
  T* array(int64_t least) {
    int64_t length = 0;
    T* const data = array<T>(&length);
    require(data == nullptr || length >= least);
    return data;
  }

  /** Likewise, with its number of elements. */
  template <class T>
  T* array(int64_t* length) {
    return static_cast<T*>(pointer(length));
  }

  /** Else the call is not run. */
  void require(bool holds) { sound_ = sound_ && holds; }

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
  void shard(Head* head);
  Labels labels(int64_t rows);
  PreferenceBatch batch();
  PreferenceOptions preference_options();
  PreferenceOut preference_out(const PreferenceBatch& batch);
  void* grad_logits(const Head& head);
  HeadGradients linear_gradients(const Head& head);
  Update update();
  UpdateOut update_out(const Update& update);

  /**
   * The end of every operation, with a copy of what was read. Runs the call and answers its status; or, under another
   * name, takes one more argument and leaves both to run_later().
   */
  template <class F>
  Napi::Value perform(const F& call);

 private:
  void* pointer(int64_t* length);
  napi_value next();

  const Napi::CallbackInfo& info_;
  const napi_env env_;
  const bool later_;
  size_t at_ = 0;
  bool sound_ = true;
};

/** undefined, or { code, index, value } for lib/errors.ts. */
Napi::Value answer(Napi::Env env, const Status& status);

template <class F>
Napi::Value Args::perform(const F& call) {
  if (later_) {
    const Call checked = sound_ ? Call(call) : Call([] { return Status{Code::shape}; });
    return run_later(env_, for_another_thread(checked), next());
  }
  return answer(env_, sound_ ? call() : Status{Code::shape});
}

}  // namespace sweet
