// The passes of rows/pair_rows.h over tiles of the logits of two linear heads, with a token in each lane:
//
//   pair_tile_stats      stats[i] += the statistics of column i
//   pair_tile_jsd        sums[i] += D and kappa of column i
//   pair_tile_gradient   out[v][i] = the gradient of PairGradient
#pragma once

#include "../rows/pair_rows.h"

namespace sweet::SWEET_ISA {
namespace {

/** Of kLanes columns from `first` on. */
inline PairVectors column_sums(const PairTile& tile, int64_t first, V pivot_a, V pivot_b, float scale_a,
                               float scale_b) {
  PairAccumulators even(pivot_a, pivot_b, scale_a, scale_b), odd = even;
  const float *a = tile.x + first, *b = tile.y + first;
  int64_t v = 0;
  for (; v + 1 < tile.entries; v += 2, a += 2 * tile.row_stride, b += 2 * tile.row_stride) {
    even.add1<true>(load(a), load(b));
    odd.add1<true>(load(a + tile.row_stride), load(b + tile.row_stride));
  }
  if (v < tile.entries) even.add1<true>(load(a), load(b));
  even.merge(odd);
  return even.sums();
}

/** Whether a column has an entry that is -inf in y alone. */
inline bool has_unsupported(const PairTile& tile, int64_t column) {
  for (int64_t v = 0; v < tile.entries; v++) {
    const int64_t at = v * tile.row_stride + column;
    if (tile.y[at] == -INFINITY && tile.x[at] != -INFINITY) return true;
  }
  return false;
}

/** Of kLanes columns from `first` on, of which `columns` count. */
inline void column_stats(const PairTile& tile, int64_t first, int columns, PairStats* stats, float scale_a,
                         float scale_b) {
  V max_a = set1(-FLT_MAX), max_b = max_a, min_b = set1(FLT_MAX);
  for (int64_t v = 0; v < tile.entries; v++) {
    const V a = load(tile.x + v * tile.row_stride + first), b = load(tile.y + v * tile.row_stride + first);
    max_a = max(a, max_a);
    max_b = max(b, max_b), min_b = min(b, min_b);
  }
  float pivots_a[kLanes], pivots_b[kLanes], least_b[kLanes];
  store(pivots_a, max_a);
  store(pivots_b, max_b);
  store(least_b, min_b);
  for (int i = 0; i < columns; i++) {
    const float to_a = pivots_a[i] > stats[i].max_a ? pivots_a[i] : stats[i].max_a;
    const float to_b = pivots_b[i] > stats[i].max_b ? pivots_b[i] : stats[i].max_b;
    raise_pair(&stats[i], to_a, to_b, scale_a, scale_b);
    pivots_a[i] = to_a, pivots_b[i] = to_b;
    if (least_b[i] == -INFINITY && !stats[i].unsupported) stats[i].unsupported = has_unsupported(tile, first + i);
  }
  const PairVectors sums = column_sums(tile, first, load(pivots_a), load(pivots_b), scale_a, scale_b);
  float sums_a[kLanes], sums_b[kLanes], weighted[kLanes];
  store(sums_a, sums.sum_a);
  store(sums_b, sums.sum_b);
  store(weighted, sums.weighted);
  for (int i = 0; i < columns; i++) {
    stats[i].sum_a += sums_a[i];
    stats[i].sum_b += sums_b[i];
    stats[i].weighted += weighted[i];
  }
}

inline int columns_from(const PairTile& tile, int64_t first) {
  return static_cast<int>(tile.tokens - first < kLanes ? tile.tokens - first : kLanes);
}

inline void pair_tile_stats(const PairTile& tile, PairStats* stats, float scale_a, float scale_b) {
  for (int64_t i = 0; i < tile.tokens; i += kLanes) {
    column_stats(tile, i, columns_from(tile, i), stats + i, scale_a, scale_b);
  }
}

inline void pair_tile_jsd(const PairTile& tile, const PairRows& rows, float beta, float other_beta, JsdSums* sums) {
  for (int64_t i = 0; i < tile.tokens; i += kLanes) {
    JsdAccumulators all(PairColumns(rows, i), beta, other_beta);
    const float *x = tile.x + i, *y = tile.y + i;
    for (int64_t v = 0; v < tile.entries; v++) all.add1(load(x + v * tile.row_stride), load(y + v * tile.row_stride));
    float of_p[kLanes], of_q[kLanes];
    store(of_p, all.of_p());
    store(of_q, all.of_q());
    for (int c = 0; c < columns_from(tile, i); c++) add_jsd(&sums[i + c], beta, other_beta, of_p[c], of_q[c]);
  }
}

inline void pair_tile_gradient(const PairTile& tile, const PairRows& rows, Divergence type, float beta,
                               float other_beta, float* out) {
  for (int64_t i = 0; i < tile.tokens; i += kLanes) {
    with_gradient(rows, i, type, beta, other_beta, [&](const auto gradient) {
      for (int64_t v = 0; v < tile.entries; v++) {
        const int64_t at = v * tile.row_stride + i;
        store(out + at, gradient.at(load(tile.x + at), load(tile.y + at)));
      }
    });
  }
}

}  // namespace
}  // namespace sweet::SWEET_ISA
