// The inner loops, one set per instruction set. Everything above them (threads, blocks, joining, the losses) is common
// code.
#pragma once

#include <math.h>

#include <cstdint>

#include "../dtype.h"

namespace sweet {

/**
 * Part of a row, reduced in powers of two:  t = (x - pivot) * slope,  sum = sum 2^t,  weighted = sum t * 2^t.
 * The pivot is high enough that no term overflows, and is the largest x where the row is short: a confident token's own
 * term is then exactly 1. Nothing seen yet: pivot -inf.
 */
struct RowSums {
  float pivot;
  double sum;
  double weighted;
};

constexpr RowSums kNothingSeen = {-INFINITY, 0, 0};

// A row is cut here, always, so that neither the number of threads nor the alignment can change a result.
constexpr int64_t kSegment = 16384;

/**
 * c[rows, columns] = a * b, or += with `add`, in words of 32 bits: a number, or a pair of bfloat16 numbers that a and b
 * hold one after the other along the depth. a(i, k) = a[i*a_row + k*a_k]; b in panels of [depth][kernels.panel], the
 * last one filled up. Which numbers add up in which order depends on depth alone. Before each panel it asks `stop`
 * whether to leave.
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

/** Logits of some words, a row each, for a number of tokens, a column each. There is room up to the next full panel. */
struct Tile {
  float* x;
  int64_t row, words, tokens;
};

/** Products of pairs of bfloat16 numbers. */
struct PairKernels {
  void (*multiply)(const Product& product);

  /**
   * A tile of an even number of words in bfloat16, twice: pairs of words for every token, [words/2][row] pairs, and the
   * words themselves, [words][row].
   */
  void (*narrow_tile)(const Tile& tile, uint32_t* pairs, bf16* words);
};

struct Kernels {
  const char* name;

  /** Adds n words at x to the sums; `weighted` only with entropy. */
  void (*sum_words)(RowSums* sums, const void* x, DType dtype, int64_t n, float slope, bool entropy);

  /** out = factor * 2^((x - pivot) * slope); out may be x, but not with `stream`: past the caches. */
  void (*grad_words)(const void* x, void* out, DType dtype, int64_t n, float slope, float pivot, float factor,
                     bool stream);

  /** float32 copy of n numbers. */
  void (*widen)(const void* x, DType dtype, int64_t n, float* out);

  /** sum_words for every column of a tile; the pivots are the columns' largest logits. */
  void (*sum_tile)(const Tile& tile, RowSums* sums, float slope, bool entropy);

  /** grad_words for every column in place, pivots and factors [room of the tokens]. */
  void (*grad_tile)(const Tile& tile, const float* pivots, const float* factors, float slope);

  int panel;  // columns of a packed panel
  void (*multiply)(const Product& product);

  const PairKernels* pairs;  // null where the processor has none
};

const Kernels* kernels_portable();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();
const Kernels* kernels_neon();

const PairKernels* pair_kernels_avx512bf16();

/** So many rounds of products of pairs, or of single numbers: to find out which are quicker here. */
float exercise_pairs_avx512bf16(int rounds);
float exercise_numbers_avx512bf16(int rounds);

}  // namespace sweet
