// What the passes over two rows of logits of one vocabulary compute, see divergence.h. This file defines no functions,
// since kernels compiled for one instruction set include it.
#pragma once

#include <cfloat>
#include <cstdint>

namespace sweet {

/** What the entries are of which a top-k teacher says nothing. */
enum class TopKTail : int32_t { bucket, renormalize };

enum class Divergence : int32_t { forward_kl, reverse_kl, jsd };

/**
 * Of the entries of two rows a and b, relative to the largest entries so far:
 *
 *   t_a = (a - max_a) * scale_a,  t_b = (b - max_b) * scale_b      scale = log2(e) / temperature
 *   sum_a = sum 2^t_a,  sum_b = sum 2^t_b,  weighted = sum 2^t_a (t_a - t_b)
 */
struct PairStats {
  float max_a, max_b;  // -FLT_MAX where all entries are -inf
  double sum_a, sum_b, weighted;
  bool unsupported;  // an entry that is -inf in b alone: KL(a||b) is infinite, and `weighted` is undefined
};

constexpr PairStats kEmptyPair = {-FLT_MAX, -FLT_MAX, 0, 0, 0, false};

/** sum_v beta P log(P/M) + (1 - beta) Q log(Q/M), and sum_v Q log(Q/M). */
struct JsdSums {
  double divergence, kappa;
};

}  // namespace sweet
