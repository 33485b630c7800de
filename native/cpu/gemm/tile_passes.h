// The softmax of a linear head over one tile of logits x[entries][tokens]: the passes of rows/ with a token in each
// lane, so that a pass over a column of the tile is a pass over a part of a token's row.
//
//   tile_stats      stats[i] += the softmax statistics of x[0 ... entries-1][i]
//   tile_argmax     stats[i].largest, stats[i].argmax = those of x[0 ... entries-1][i] and of earlier tiles
//   tile_gradient   x[v][i] = 2^t (factor[i] + slope[i] t),  t = (x[v][i] - max[i]) * scale_log2
#pragma once

#include "../rows/softmax_gradient.h"
#include "../rows/softmax_stats.h"

namespace sweet::reference {

/** Of one token. */
static inline SegmentStats tile_stats(const Tile& tile, int64_t token, double scale_log2) {
  return softmax_stats(tile.x + token, tile.entries, scale_log2, tile.row_stride);
}

/** Of one token, [entries]. */
static inline void tile_gradient(const Tile& tile, int64_t token, double* out, double scale_log2, double max,
                                 double factor, double slope) {
  for (int64_t v = 0; v < tile.entries; v++) {
    const double t = (tile.x[v * tile.row_stride + token] - max) * scale_log2, p = ::exp2(t);
    out[v] = p * (slope == 0 || p == 0 ? factor : factor + slope * t);
  }
}

}  // namespace sweet::reference

namespace sweet::SWEET_ISA {
namespace {

/** Of the kLanes tokens from `first` on; `tokens` of them count, the others are padding. */
template <bool kEntropy, bool kSquares>
void column_stats(const Tile& tile, int64_t first, int tokens, SegmentStats* stats, float scale_log2) {
  const float* const x = tile.x + first;
  V largest = set1(-INFINITY);
  for (int64_t v = 0; v < tile.entries; v++) largest = max(largest, load(x + v * tile.row_stride));
  float maxes[kLanes];
  store(maxes, largest);
  for (int i = 0; i < kLanes; i++) {
    if (i < tokens && maxes[i] > stats[i].max) rescale(stats + i, maxes[i], scale_log2);
    maxes[i] = i < tokens && stats[i].max > -INFINITY ? stats[i].max : 0.0f;
  }

  const V row_max = load(maxes);
  Accumulators<kEntropy, false, kSquares, true, true, float> sums(RowExponent<true>(0, scale_log2, 0));
  const auto add = [&](int64_t v, int k) { sums.add1(sub(load(x + v * tile.row_stride), row_max), k); };
  for (int64_t v = 0; v + 1 < tile.entries; v += 2) add(v, 0), add(v + 1, 1);
  if (tile.entries % 2) add(tile.entries - 1, 0);

  float sum_exp[kLanes], sum_t_exp[kLanes], sum_squares[kLanes];
  store(sum_exp, sums.sum_exp());
  store(sum_t_exp, sums.sum_t_exp());
  if (kSquares) store(sum_squares, sums.sum_squares());
  for (int i = 0; i < tokens; i++) {
    stats[i].sum_exp += sum_exp[i];
    stats[i].sum_t_exp += sum_t_exp[i];
    if (kSquares) stats[i].sum_squares += sum_squares[i];
  }
}

inline void tile_stats(const Tile& tile, SegmentStats* stats, float scale_log2, Statistics which) {
  for (int64_t i = 0; i < tile.tokens; i += kLanes) {
    const int tokens = static_cast<int>(tile.tokens - i < kLanes ? tile.tokens - i : kLanes);
    with_flags({which.entropy, false, which.squares}, [&](auto entropy, auto, auto squares) {
      column_stats<entropy.value, squares.value>(tile, i, tokens, stats + i, scale_log2);
    });
  }
}

/** A separate pass, whose time is small beside the tile's product: the logits need not be those of tile_stats. */
inline void tile_argmax(const Tile& tile, int64_t first, SegmentStats* stats) {
  for (int64_t i = 0; i < tile.tokens; i += kLanes) {
    V largest = set1(-INFINITY), argmax = set1(0.0f), entry = argmax;
    for (int64_t v = 0; v < tile.entries; v++) {
      const V x = load(tile.x + v * tile.row_stride + i);
      argmax = choose_greater(x, largest, entry, argmax);
      largest = max(x, largest);  // a NaN is passed over
      entry = add(entry, set1(1.0f));
    }
    float largests[kLanes], entries[kLanes];
    store(largests, largest);
    store(entries, argmax);
    for (int64_t k = 0; k < kLanes && i + k < tile.tokens; k++) {
      SegmentStats& of_token = stats[i + k];
      if (!(largests[k] > of_token.largest)) continue;
      of_token.largest = largests[k];
      of_token.argmax = static_cast<int32_t>(first + static_cast<int64_t>(entries[k]));
    }
  }
}

inline void tile_gradient(const Tile& tile, const float* max, const float* factor, const float* slope,
                          float scale_log2) {
  const RowGradient<true, float> gradient(RowExponent<true>(0, scale_log2, 0), 1);
  RangeTracker range;
  for (int64_t i = 0; i < tile.tokens; i += kLanes) {
    const V row_max = load(max + i), row_factor = load(factor + i);
    const V row_slope = slope ? load(slope + i) : set1(0.0f);
    for (int64_t v = 0; v < tile.entries; v++) {
      float* const x = tile.x + v * tile.row_stride + i;
      const V y = sub(load(x), row_max), p = gradient.at<true>(y, range);
      // x = -inf has 2^t = 0 and t = -inf; the clamp makes their product 0.
      const V terms =
          slope ? fma(SWEET_ISA::max(set1(-512.0f), mul(y, set1(scale_log2))), row_slope, row_factor) : row_factor;
      store(x, mul(p, terms));
    }
  }
}

}  // namespace
}  // namespace sweet::SWEET_ISA
