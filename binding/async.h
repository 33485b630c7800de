// Calls that run while their caller goes on: one thread of the process runs them one after the other, in turns over the
// environments (Node's workers) that wait, and in each of these in the order of the calls.
#pragma once

#include <napi.h>

#include <functional>
#include <string>

#include "../native/status.h"

namespace sweet {

/** Reads and writes what its arguments point to; nothing of JavaScript. */
using Call = std::function<Status()>;

/**
 * Runs the call when its turn comes and then, on the environment's thread, done(undefined or fault). The caller keeps
 * the memory alive until then. An environment that ends cancels its calls and waits for the one that runs. Returns the
 * call's number.
 */
Napi::Value run_later(Napi::Env env, Call call, napi_value done);

/** The data of functions whose calls run later. */
extern const char kLater;

/** Adds an operation as `name` and, to run later, as `nameAsync`. */
void add_operation(Napi::Object exports, const std::string& name, Napi::Value (*call)(const Napi::CallbackInfo&));

/** Takes the number of a call; it ends soon, with the fault `cancelled`. */
Napi::Value bind_cancel(const Napi::CallbackInfo& info);

}  // namespace sweet
