// The layout of a batch, checked: labels, offsets and pairs. Each check copies what it accepts, and everything after
// works on the copy: memory that the caller shares with other threads may change at any time.
#pragma once

#include <cstdint>

#include "status.h"

namespace sweet {

/** The token taken in each row. mask (may be null): 0 drops a row. */
struct Labels {
  const void* data;  // int32, or int64 if wide
  bool wide;
  const uint8_t* mask;
  int64_t ignore_index;
};

// What stands for a dropped row in the checked copy of the labels.
constexpr int32_t kIgnored = -1;  // by its label: no log-prob, but its lse is still that of a real row
constexpr int32_t kMasked = -2;   // by the mask: never read

Status check_labels(const Labels& labels, int64_t rows, int64_t vocab, int32_t* checked);

/** offsets[0 … groups] must start at 0, never fall and end at `total`; a fault is reported under `code`. */
Status check_offsets(const int32_t* offsets, int64_t groups, int64_t total, Code code, int32_t* checked);

/** Pairs of units; weights (may be null) must be finite, not negative and not all 0. */
struct Pairs {
  const int32_t* chosen;
  const int32_t* rejected;
  const float* weights;
  int64_t count;
};

Status check_pairs(const Pairs& pairs, int64_t units, int32_t* chosen, int32_t* rejected, float* weights);

}  // namespace sweet
