// The inner loops, one set per instruction set. Everything above them (threads, blocks, joining, the losses) is common
// code.
#pragma once

#include <math.h>

#include <cstdint>

#include "../dtype.h"

namespace sweet {

/**
 * Part of a row, reduced in powers of two:  t = (x − pivot) · slope,  sum = Σ 2^t,  weighted = Σ t · 2^t.
 * The pivot is high enough that no term overflows, and is the largest x where the row is short: a confident token's own
 * term is then exactly 1. Nothing seen yet: pivot −∞.
 */
struct RowSums {
  float pivot;
  double sum;
  double weighted;
};

constexpr RowSums kNothingSeen = {-INFINITY, 0, 0};

// A row is cut here, always, so that neither the number of threads nor the alignment can change a result.
constexpr int64_t kSegment = 16384;

// The widest panel of a matrix product and the tallest tile of any instruction set.
constexpr int kMaxPanel = 64;

struct Kernels {
  const char* name;

  /** Adds n words at x to the sums; `weighted` only with entropy. */
  void (*sum_words)(RowSums* sums, const void* x, DType dtype, int64_t n, float slope, bool entropy);

  /** out = factor · 2^((x − pivot) · slope); out may be x. */
  void (*grad_words)(const void* x, void* out, DType dtype, int64_t n, float slope, float pivot, float factor);

  /** float32 copy of n numbers. */
  void (*widen)(const void* x, DType dtype, int64_t n, float* out);

  int tile_rows;  // the product runs fastest when rows are a multiple of this
  int panel;      // columns of a packed panel

  /**
   * c[rows, columns] = a · b, or += with add: a(i, k) = a[i·a_row + k·a_k], b packed as [depth][panel], 1 ≤ columns ≤
   * panel. Every number of c is one chain of multiply-adds over k.
   */
  void (*multiply)(const float* a, int64_t a_row, int64_t a_k, int64_t rows, int64_t depth, const float* b, float* c,
                   int64_t c_row, int columns, bool add);
};

const Kernels* kernels_portable();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();
const Kernels* kernels_neon();

}  // namespace sweet
