// The chunks of rows of a linear head's divergences.
#pragma once

#include <algorithm>

#include "../backend.h"
#include "gemm/passes.h"
#include "parallel.h"

namespace sweet {

// Tokens of a chunk of the forward pass, as in linear_head.cpp.
constexpr int64_t kForwardTokens = 1024;

// Tiles of an item of the forward pass, as in gemm/passes.cpp.
constexpr int64_t kItemEntries = 5 * kTileEntries;

/** Calls use(rows, count) for each chunk. */
template <class Use>
void each_chunk(const CompactRows& compact, int64_t chunk, Use use) {
  for (int64_t first = 0; first < compact.count() && !cancelled(); first += chunk) {
    use(compact.rows() + first, std::min(chunk, compact.count() - first));
  }
}

/** Gradients of the hidden states, and of a weight without rows, before the first chunk is added. */
inline void clear_gradients(const Head& head, const CompactRows& compact, const HeadGradients& out) {
  if (out.accumulate) return;
  if (out.hidden) clear(threads(), out.hidden, head.rows * head.hidden_size);
  if (compact.count() == 0) clear_weight_gradients(threads(), head, out);
}

}  // namespace sweet
