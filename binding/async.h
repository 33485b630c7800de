// Async calls: one thread of the process runs them one after the other, round robin over the environments (the main
// thread and workers of Node) that have waiting calls, in the order of the calls within each.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../native/status.h"

namespace sweet {

/** Reads and writes the memory that its arguments point to; uses no JavaScript value. */
using Call = std::function<Status()>;

/**
 * Keeps memory of an argument until `release` is called, with the end of the call, on the thread of its environment. No
 * shared_ptr, which would need glibc 2.32.
 */
struct Retained {
  std::function<void()> release;
};

/**
 * Typed arrays of an ArrayBuffer have copies in native memory up to this size, lib/runtime makes those of larger ones.
 * Other sizes not measured.
 */
constexpr size_t kMaxCopiedBytes = 4096;

/** Memory of a call in place of a small array. */
struct Copy {
  void* array;
  size_t bytes;
  bool written;  // copied back if the status of the call is ok
  std::unique_ptr<char[]> memory;
};

/** What a call works on besides memory that stays. */
struct CallMemory {
  std::vector<Retained> retained;
  std::vector<Copy> copies;
};

/**
 * Queues the call and later, on the thread of the environment, copies its small results back and calls done(undefined
 * or fault); what done throws is an uncaught exception. The caller keeps all memory that the call writes, and all other
 * memory, alive until then. An environment that ends cancels its calls and waits for the running one. Returns the
 * number of the call, which another one may have after `done`.
 */
Napi::Value run_async(Napi::Env env, Call call, CallMemory memory, napi_value done);

/** Its address marks the async forms, as the data of their functions. */
extern const char kAsync;

/** Registers an operation as `name` and, if it has an async form, as `nameAsync`. */
void add_operation(Napi::Object exports, const std::string& name, Napi::Value (*call)(const Napi::CallbackInfo&),
                   bool async);

/** Adds `cancel`, which takes the number of a call, and `copiedBytes`, kMaxCopiedBytes. */
void add_async(Napi::Object exports);

}  // namespace sweet
