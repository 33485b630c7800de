// Node-API can keep a buffer's object alive, but not its memory: a transfer hands that to another object, which may be
// collected. V8 counts who uses the memory, and functions that it exports for addons make a second buffer that counts.
// They are looked up by name. Other runtimes lack them, as do systems whose standard library gives them other names.
#include "pin.h"

#include <utility>

#ifdef __linux__
#include <dlfcn.h>
#endif

namespace sweet {

namespace {

/**
 * A std::shared_ptr<v8::BackingStore> on its way from one function of V8 to another. Passed and returned as one, since
 * it is not trivial either; what it points to is V8's alone.
 */
struct Store {
  void* object = nullptr;
  void* count = nullptr;

  Store() = default;
  Store(Store&& other) noexcept
      : object(std::exchange(other.object, nullptr)), count(std::exchange(other.count, nullptr)) {}
  Store& operator=(Store&&) = delete;
  ~Store() { count = nullptr; }
};

/** A v8::Local, which is what Node-API's values are. */
struct Local {
  napi_value value;
};

struct Engine {
  void* (*current_isolate)() = nullptr;
  Store (*store_of)(napi_value buffer) = nullptr;
  Local (*buffer_over)(void* isolate, Store store) = nullptr;

  Engine() {
#ifdef __linux__
    find("_ZN2v87Isolate10GetCurrentEv", &current_isolate);
    find("_ZN2v811ArrayBuffer15GetBackingStoreEv", &store_of);
    find("_ZN2v811ArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE", &buffer_over);
#endif
  }

  bool complete() const { return current_isolate && store_of && buffer_over; }

 private:
#ifdef __linux__
  template <class F>
  static void find(const char* name, F* function) {
    *function = reinterpret_cast<F>(dlsym(RTLD_DEFAULT, name));
  }
#endif
};

/**
 * Which versions of Node it was tried with. In 21 to 23, ArrayBuffer.prototype.transfer may reallocate memory in spite
 * of who else uses it; so may that of 20, where a flag adds it. Later ones may pass the arguments otherwise.
 */
bool is_sound(Napi::Env env) {
  const uint32_t major = Napi::VersionManagement::GetNodeVersion(env)->major;
  if (major == 20) return !Napi::ArrayBuffer::New(env, 0).Has("transfer");
  return major >= 24 && major <= 26;
}

}  // namespace

Napi::Value bind_pin(const Napi::CallbackInfo& info) {
  static const Engine engine;
  static const bool usable = engine.complete() && is_sound(info.Env());
  bool detached = true;
  if (napi_is_detached_arraybuffer(info.Env(), info[0], &detached) != napi_ok || detached || !usable) {
    return info.Env().Undefined();
  }
  return Napi::Value(info.Env(), engine.buffer_over(engine.current_isolate(), engine.store_of(info[0])).value);
}

}  // namespace sweet
