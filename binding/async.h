// Async calls: one thread of the process runs them one after the other, round robin over the environments (the main
// thread and workers of Node) that have waiting calls, in the order of the calls within each.
#pragma once

#include <napi.h>

#include <functional>
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
 * Queues the call and later calls done(undefined or fault) on the thread of the environment; what done throws is an
 * uncaught exception. The caller keeps all other memory alive until then. An environment that ends cancels its calls
 * and waits for the running one. Returns the number of the call.
 */
Napi::Value run_async(Napi::Env env, Call call, std::vector<Retained> retained, napi_value done);

/** Its address marks the async forms, as the data of their functions. */
extern const char kAsync;

/** Registers an operation as `name` and, if it has an async form, as `nameAsync`. */
void add_operation(Napi::Object exports, const std::string& name, Napi::Value (*call)(const Napi::CallbackInfo&),
                   bool async);

/** Takes the number of a call, which then ends with Code::cancelled. */
Napi::Value bind_cancel(const Napi::CallbackInfo& info);

}  // namespace sweet
