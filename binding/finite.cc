#include "../native/finite.h"

#include "addon.h"
#include "args.h"

namespace sweet {

Napi::Value bind_first_not_finite(const Napi::CallbackInfo& info) {
  Args args(info);
  Numbers numbers{};
  numbers.data = args.array<const void>();
  numbers.dtype = args.choice<DType>();
  numbers.rows = static_cast<int64_t>(args.number());
  numbers.width = static_cast<int64_t>(args.number());
  numbers.stride = static_cast<int64_t>(args.number());
  numbers.mask = args.array<const uint8_t>();
  numbers.masked_words = args.boolean();
  return Napi::Number::New(info.Env(), static_cast<double>(first_not_finite(numbers)));
}

}  // namespace sweet
