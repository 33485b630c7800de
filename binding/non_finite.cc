#include "../native/finite.h"

#include "addon.h"
#include "args.h"

namespace sweet {

Napi::Value bind_first_not_finite(const Napi::CallbackInfo& info) {
  Args args(info);
  Numbers numbers{};
  int64_t length = 0, mask_length = 0;
  numbers.data = args.array<const void>(&length);
  numbers.dtype = args.choice<DType>();
  numbers.rows = static_cast<int64_t>(args.number());
  numbers.width = static_cast<int64_t>(args.number());
  numbers.stride = static_cast<int64_t>(args.number());
  numbers.mask = args.array<const uint8_t>(&mask_length);
  numbers.masked_words = args.boolean();
  // Arrays that became shorter meanwhile are left to the operation, which refuses them.
  const bool whole = numbers.rows <= 0 || length >= (numbers.rows - 1) * numbers.stride + numbers.width;
  if (!whole || (numbers.mask && mask_length < numbers.rows)) return Napi::Number::New(info.Env(), -1);
  return Napi::Number::New(info.Env(), static_cast<double>(first_non_finite(numbers)));
}

}  // namespace sweet
