// Looks through numbers for one that is not finite: what `debug: 'finite'` does before and after an operation.
//
//   rows of `width` numbers, `stride` apart; NaN, +inf and, unless they stand for masked words, -inf are found
#pragma once

#include <cstdint>

#include "dtype.h"

namespace sweet {

struct Numbers {
  const void* data;  // [rows, width]
  DType dtype;
  int64_t rows, width, stride;
  const uint8_t* mask;  // [rows] or null: 0 leaves a row out, which is not read
  bool masked_words;    // whether -inf is as good as finite
};

/** row * width + column of the first in this order, whatever the number of threads; -1 where all are finite. */
int64_t first_not_finite(const Numbers& numbers);

}  // namespace sweet
