// The table of kernels, which kernels.cpp implements once per instruction set. Threads, segments and losses are common
// code above it.
#pragma once

#include <math.h>

#include <cstdint>

#include "../dtype.h"
#include "../pair_stats.h"
#include "../segment.h"

namespace sweet {

constexpr SegmentStats kEmptyStats = {-INFINITY, 0, 0};

/**
 * c[rows, columns] = a * b, or += with `add`, over packed elements of 32 bits: a float32, or two bfloat16 that are
 * adjacent along the depth. a(i, k) = a[i * a_row + k * a_k]; b in panels of [depth][kernels.panel], the last one
 * padded. The order of the sums depends on depth alone. `stop` is called before each panel; true ends the product.
 */
struct Product {
  const void* a;
  int64_t a_row, a_k, rows, depth;
  const void* b;
  float* c;
  int64_t c_row, columns;
  bool add;
  bool (*stop)();
};

/** Logits [entries][tokens] of some vocabulary entries; rows are padded to the next full panel of tokens. */
struct Tile {
  float* x;
  int64_t row_stride, entries, tokens;
};

/** Products of pairs of bfloat16: see gemm/bf16_pairs.h. */
struct Bf16PairKernels {
  void (*multiply)(const Product& product);

  /**
   * Rounds a tile with an even number of entries to bfloat16 in two layouts: pairs of entries for every token,
   * [entries/2][row_stride] pairs, and plain rows, [entries][row_stride].
   */
  void (*narrow_tile)(const Tile& tile, uint32_t* pairs, bf16* rows);
};

/** Tiles of the same layout as Tile, [entries][tokens], read alone: of the student and of the teacher. */
struct PairTile {
  const float *x, *y;
  int64_t row_stride, entries, tokens;
};

/**
 * Of the tokens of a PairTile, [tokens, padded as the tile] each; see rows/divergence.h. kappa + kappa_rest is kappa
 * or, of reverse_kl, kappa * log2(e) + shift_y.
 */
struct PairRows {
  const float *max_x, *shift_x, *max_y, *shift_y, *factor, *kappa, *kappa_rest;
  float scale_x, scale_y;
};

/** n entries of two rows of one type. */
struct PairOfRows {
  const void *x, *y;
  DType dtype;
  int64_t n;
};

/** The passes over two rows, see rows/pair_rows.h, and over two tiles, see gemm/pair_tiles.h. other_beta: 1 - beta. */
struct DivergenceKernels {
  /** x is a, y is b; n <= kSegment. */
  void (*row_stats)(const PairOfRows& pair, PairStats* stats, float scale_a, float scale_b);
  /** `rows`: equal terms for each lane of a vector. */
  void (*row_jsd)(const PairOfRows& pair, const PairRows& rows, float beta, float other_beta, JsdSums* sums);
  /** out [n], of the same type, may be one of the rows; with `stream`: non-temporal stores, of which it is not. */
  void (*row_gradient)(const PairOfRows& pair, const PairRows& rows, Divergence type, float beta, float other_beta,
                       void* out, bool stream);

  /** x is a, y is b. */
  void (*tile_stats)(const PairTile& tile, PairStats* stats, float scale_a, float scale_b);
  void (*tile_jsd)(const PairTile& tile, const PairRows& rows, float beta, float other_beta, JsdSums* sums);
  /** out has the layout of the tile and may be one of its arrays. */
  void (*tile_gradient)(const PairTile& tile, const PairRows& rows, Divergence type, float beta, float other_beta,
                        float* out);

  void (*narrow)(const float* x, DType dtype, int64_t n, void* out);
};

/** The kernels of one instruction set: see rows/ and gemm/. */
struct Kernels {
  const char* name;

  /** Adds n elements at x to the statistics; argmax is an index of x. */
  void (*softmax_stats)(SegmentStats* stats, const void* x, DType dtype, int64_t n, float scale_log2, Statistics which);

  /** out = the gradient at each of x; out may be x, but not with `stream`: non-temporal stores. */
  void (*softmax_gradient)(const void* x, void* out, DType dtype, int64_t n, const SoftmaxGradient& gradient,
                           bool stream);

  /** out = tanh(x * inverse), -inf where x is; out may be x. See native/softcap.h. */
  void (*softcap)(const void* x, DType dtype, int64_t n, float inverse, float* out);

  /** out = d (1 - t^2), 0 where t = -inf: the gradient d at t = softcap(x) as that at x. out may be d or t. */
  void (*times_slope)(const float* d, const float* t, int64_t n, void* out, DType dtype);

  /** float32 copy of n elements. */
  void (*widen)(const void* x, DType dtype, int64_t n, float* out);

  /** softmax_stats of every column of a tile, but argmax; max is the column's largest logit. */
  void (*tile_stats)(const Tile& tile, SegmentStats* stats, float scale_log2, Statistics which);

  /** `largest` and argmax of every column of a tile whose first entry is `first`. */
  void (*tile_argmax)(const Tile& tile, int64_t first, SegmentStats* stats);

  /** softmax_gradient of every column in place; max, factor and slope [tokens, padded as the tile], slope or null. */
  void (*tile_gradient)(const Tile& tile, const float* max, const float* factor, const float* slope, float scale_log2);

  int panel;  // columns of a packed panel
  void (*multiply)(const Product& product);

  const Bf16PairKernels* bf16_pairs;  // null where the CPU has no AVX512-BF16
  const DivergenceKernels* divergence;
};

const Kernels* kernels_portable();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();
const Kernels* kernels_neon();
const Kernels* kernels_wasm();

const Bf16PairKernels* bf16_pair_kernels_avx512();

/** `rounds` rounds of FMAs of bfloat16 pairs, or of float32, to time which are faster on this CPU. */
float exercise_bf16_pairs_avx512(int rounds);
float exercise_float32_avx512(int rounds);

}  // namespace sweet
