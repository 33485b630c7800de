// Products of bfloat16: a packed element is a pair of numbers that are neighbours along the depth, the first in the low
// half. A pair of a times a pair of b adds two products to a float32 sum:
//
//   c += a.low * b.low + a.high * b.high
//
// narrow_tile rounds a tile x[entries][tokens] to bfloat16 for both products of the backward pass: `pairs` for sums
// over the entries, `rows` for sums over the tokens.
#pragma once

#include "product.h"

namespace sweet::reference {

static inline double bf16_pair_dot(uint32_t a, uint32_t b) {
  const auto low = [](uint32_t pair) -> double { return float_of(pair << 16); };
  const auto high = [](uint32_t pair) -> double { return float_of(pair & 0xffff0000u); };
  return low(a) * low(b) + high(a) * high(b);
}

/** Rounds to nearest, ties up. */
static inline void narrow_tile(const Tile& tile, uint32_t* pairs, bf16* rows) {
  for (int64_t v = 0; v < tile.entries; v++) {
    for (int64_t i = 0; i < tile.tokens; i++) {
      const uint32_t rounded = (bits_of(tile.x[v * tile.row_stride + i]) + 0x8000u) >> 16;
      uint32_t* const pair = pairs + v / 2 * tile.row_stride + i;
      *pair = v % 2 == 0 ? rounded : *pair | rounded << 16;
      rows[v * tile.row_stride + i].bits = static_cast<uint16_t>(rounded);
    }
  }
}

}  // namespace sweet::reference
