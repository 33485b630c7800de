// Passes over rows of logits that a softcap may be applied to: a part at a time, which stays in the L1 cache. What a
// softcap needs stands in functions of its own: their buffers on the stack would cost each short row some nanoseconds.
#pragma once

#include <algorithm>

#include "../head.h"
#include "../softmax.h"
#include "active.h"

namespace sweet {

// Logits that are softcapped at once, on the stack.
constexpr int64_t kCapped = 2048;

/** Calls use(first, count, t) for ranges of n logits, t = their tanh as in native/softcap.h. */
template <class Use>
void each_capped(const void* logits, DType dtype, int64_t n, const Softcap& cap, Use use) {
  alignas(64) float t[kCapped];
  for (int64_t first = 0; first < n; first += kCapped) {
    const int64_t count = std::min(kCapped, n - first);
    active_kernels().softcap(static_cast<const char*>(logits) + first * bytes_of(dtype), dtype, count, cap.inverse, t);
    use(first, count, t);
  }
}

/** add_stats with a softcap. */
[[gnu::noinline]] inline void add_capped_stats(const Head& head, const void* logits, int64_t n, float scale_log2,
                                               Statistics which, SegmentStats* stats) {
  const Kernels& kernels = active_kernels();
  const Softcap cap(head.softcap);
  each_capped(logits, head.dtype, n, cap, [&](int64_t, int64_t count, const float* t) {
    kernels.softmax_stats(stats, t, DType::float32, count, scale_log2, {which.entropy, false, which.squares});
  });
  if (!which.argmax) return;
  // Of the logits themselves: where the softcap saturates, t has ties.
  SegmentStats uncapped = kEmptyStats;
  kernels.softmax_stats(&uncapped, logits, head.dtype, n, log2_scale(head.temperature), {false, true, false});
  stats->largest = uncapped.largest;
  stats->argmax = uncapped.argmax;
}

/** Adds n logits to the statistics; with argmax, to empty ones. */
inline void add_stats(const Head& head, const void* logits, int64_t n, float scale_log2, Statistics which,
                      SegmentStats* stats) {
  if (head.softcap > 0) return add_capped_stats(head, logits, n, scale_log2, which, stats);
  active_kernels().softmax_stats(stats, logits, head.dtype, n, scale_log2, which);
}

/** write_gradient with a softcap. */
[[gnu::noinline]] inline void write_capped_gradient(const Head& head, const void* logits, int64_t n,
                                                    const SoftmaxGradient& gradient, void* out) {
  const Kernels& kernels = active_kernels();
  const Softcap cap(head.softcap);
  alignas(64) float d[kCapped];
  each_capped(logits, head.dtype, n, cap, [&](int64_t first, int64_t count, const float* t) {
    kernels.softmax_gradient(t, d, DType::float32, count, gradient, false);
    kernels.times_slope(d, t, count, static_cast<char*>(out) + first * bytes_of(head.dtype), head.dtype);
  });
}

/** The gradients at n logits, as Kernels::softmax_gradient. */
inline void write_gradient(const Head& head, const void* logits, int64_t n, const SoftmaxGradient& gradient,
                           bool stream, void* out) {
  if (head.softcap > 0) return write_capped_gradient(head, logits, n, gradient, out);
  active_kernels().softmax_gradient(logits, out, head.dtype, n, gradient, stream);
}

/** Logit v of row i, or its tanh: the same bits as in the row. */
inline float kernel_logit(const Head& head, int64_t i, int64_t v) {
  const float x = element(head.logits, head.dtype, i * head.row_stride + v);
  const Softcap cap(head.softcap);
  float t = x;
  if (cap.is_on()) active_kernels().softcap(&x, DType::float32, 1, cap.inverse, &t);
  return t;
}

}  // namespace sweet
