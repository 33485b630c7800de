// Memory of an ArrayBuffer that stays where it is, even if the buffer is detached, transferred or collected.
#pragma once

#include <napi.h>

namespace sweet {

/**
 * Takes an ArrayBuffer of fixed length. While the buffer that it returns is alive, so is the memory of both; undefined
 * where this runtime does not let us do that safely.
 */
Napi::Value bind_pin(const Napi::CallbackInfo& info);

}  // namespace sweet
