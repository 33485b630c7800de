// A row of logits is computed in segments of kSegment vocabulary entries. merge_stats() of softmax.h merges their
// statistics in their order. Rows are always split here, whatever their number: neither the batch nor the number of
// threads may change a row's result. This file defines no functions, since kernels compiled for one instruction set
// include it.
#pragma once

#include <math.h>

#include <cstdint>

namespace sweet {

// 64 KiB of float32; another size changes the bits of results. On the CPU (Zen 5, 128 MiB of float32) 8192 takes 1.13
// of the time (AVX2 1.11), 32768 0.99 (0.97), 65536 0.94 (0.94), but then fewer threads share a few rows.
constexpr int64_t kSegment = 16384;

/** What is computed of a row besides max and sum_exp: sum_t_exp, argmax and sum_squares. */
struct Statistics {
  bool entropy, argmax, squares;
};

/**
 * Softmax statistics of a segment:  t = (x - max) * scale_log2,  sum_exp = sum 2^t,  sum_t_exp = sum t * 2^t,
 * sum_squares = sum 2^(2 t). max is the largest x. In a long segment the CPU may take a lower bound of it, high enough
 * that no term overflows; `largest` is the largest x in any case, and argmax its lowest index in the row.
 */
struct SegmentStats {
  float max;
  double sum_exp, sum_t_exp;
  double sum_squares = 0;
  float largest = -INFINITY;
  int32_t argmax = -1;
};

/**
 * The gradient of a row, but at its label:  2^t_v (factor + slope t_v),  t_v = (x_v - max) * scale_log2;  0 where 2^t_v
 * is 0. softmax_gradient() of softmax.h has the formulas.
 */
struct SoftmaxGradient {
  float scale_log2, max, factor, slope;
};

}  // namespace sweet
