// Finds numbers that are not finite: what `debug: 'finite'` does before and after an operation.
#pragma once

#include <cstdint>

#include "dtype.h"

namespace sweet {

struct FirstNonFinite {
  const void* data;  // [rows, columns], rows `row_stride` elements apart
  DType dtype;
  int64_t rows, columns, row_stride;
  const uint8_t* mask;  // [rows] or null: rows with 0 are not read
  bool allow_neg_inf;   // -inf counts as finite: it stands for a masked vocabulary entry
};

/** row * columns + column of the first NaN or infinity in row-major order, for any number of threads; -1 if none. */
int64_t first_non_finite(const FirstNonFinite& view);

}  // namespace sweet
