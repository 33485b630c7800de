// What the threads of a block compute of a segment of a row of logits: the statistics of SegmentStats.
#pragma once

#include "../segment.h"
#include "../softcap.h"
#include "device.h"

namespace sweet {
namespace cuda {

// segment_stats_kernel of bfloat16: 48 registers, 1280 threads an SM, as with 128; with 512 it has 64 registers, 1024.
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// Vectors that a thread loads before it uses the first. The same kernel with
//   2: 32 registers, 2048 threads an SM, which load 64 KiB at once
//   4: 48 registers, 1280 threads, 80 KiB
//   8: 80 registers, 768 threads, 96 KiB
// grad_segments_kernel: 32 registers with 2 and 4, 44 (1280 threads) with 8.
constexpr int kInFlight = 4;

/**
 * Statistics of a thread's share of a segment so far. Entries equal to max add exactly 1 each and are counted apart:
 * the sum of all others may be too small to change a float32 sum that is 1 or more. first: where max was found first,
 * the index of the vectors that were added then.
 */
struct ThreadStats {
  float max, count_at_max, sum_exp_below, sum_t_exp, sum_squares_below;
  int first;
};

/** Where all entries are -inf: -inf - -inf would be NaN. */
__device__ inline float finite_or_zero(float max) { return max == -INFINITY ? 0.0f : max; }

template <bool kEntropy, bool kMore>
__device__ inline void raise_max(ThreadStats& stats, float max, int at, float scale_log2) {
  if (!(max > stats.max)) return;
  if (stats.max != -INFINITY) {
    const float t = (stats.max - max) * scale_log2, factor = exp2_approx(t);
    const float sum_exp = stats.count_at_max + stats.sum_exp_below;
    if (kEntropy) stats.sum_t_exp = factor == 0 ? 0.0f : (stats.sum_t_exp + sum_exp * t) * factor;
    if (kMore) stats.sum_squares_below = (stats.count_at_max + stats.sum_squares_below) * factor * factor;
    stats.sum_exp_below = sum_exp * factor;
    stats.count_at_max = 0;
  }
  stats.max = max;
  if (kMore) stats.first = at;
}

/** kCount vectors at once, from index `at` on: max is raised once for all of them, and their sum is added in parts, of
 * a vector each. */
template <bool kEntropy, bool kMore, bool kCapped, int kCount, class T>
__device__ inline void add_vectors(ThreadStats& stats, const Vector<T> (&vectors)[kCount], int at, float scale_log2,
                                   const Softcap& cap) {
  constexpr int size = Vector<T>::kSize;
  float capped[kCapped ? kCount * size : 1];
#pragma unroll
  for (int i = 0; i < (kCapped ? kCount * size : 0); i++)
    capped[i] = cap.apply(to_float(vectors[i / size].at[i % size]));
  const auto logit = [&](int k, int j) { return kCapped ? capped[k * size + j] : to_float(vectors[k].at[j]); };
  float vector_max = -INFINITY;
#pragma unroll
  for (int k = 0; k < kCount; k++) {
#pragma unroll
    for (int j = 0; j < size; j++) vector_max = fmaxf(vector_max, logit(k, j));
  }
  raise_max<kEntropy, kMore>(stats, vector_max, at, scale_log2);
  const float max = finite_or_zero(stats.max);
  float sum_exp_below = 0;
#pragma unroll
  for (int k = 0; k < kCount; k++) {
    float vector_sum = 0;
#pragma unroll
    for (int j = 0; j < size; j++) {
      const float t = (logit(k, j) - max) * scale_log2, e = exp2_approx(t);
      if (t == 0) {
        stats.count_at_max += 1;
      } else {
        vector_sum += e;
        if (kMore) stats.sum_squares_below += e * e;
      }
      if (kEntropy && e != 0) stats.sum_t_exp += t * e;
    }
    sum_exp_below += vector_sum;
  }
  stats.sum_exp_below += sum_exp_below;
}

template <bool kAligned, class T>
__device__ inline Vector<T> load_vector(const T* x) {
  return kAligned ? load(x) : load_unaligned(x);
}

/** The first n elements from x on, then -inf. */
template <class T>
__device__ inline Vector<T> load_partial(const T* x, int n) {
  Vector<T> vector;
#pragma unroll
  for (int j = 0; j < Vector<T>::kSize; j++) {
    if (j < n) {
      vector.at[j] = x[j];
    } else {
      from_float(-INFINITY, &vector.at[j]);
    }
  }
  return vector;
}

/** This thread's share of the n elements at x: the same ones in the same order at any address. */
template <bool kEntropy, bool kMore, bool kCapped, bool kAligned, class T>
__device__ inline ThreadStats thread_stats(const T* x,  // [n]
                                           int n, float scale_log2, const Softcap& cap) {
  constexpr int size = Vector<T>::kSize, step = kThreads * size;
  // load_unaligned() reads up to the end of the next aligned vector, which may lie past the row's end.
  const int last = n - 2 * size;
  ThreadStats stats{-INFINITY, 0, 0, 0, 0, 0};
  int v = static_cast<int>(threadIdx.x) * size;
  for (; v + (kInFlight - 1) * step <= last; v += kInFlight * step) {
    Vector<T> vectors[kInFlight];
#pragma unroll
    for (int k = 0; k < kInFlight; k++) vectors[k] = load_vector<kAligned>(x + v + k * step);
    add_vectors<kEntropy, kMore, kCapped>(stats, vectors, v, scale_log2, cap);
  }
  for (; v < n; v += step) {
    const Vector<T> vectors[1] = {v <= last ? load_vector<kAligned>(x + v) : load_partial(x + v, n - v)};
    add_vectors<kEntropy, kMore, kCapped>(stats, vectors, v, scale_log2, cap);
  }
  return stats;
}

/** The lowest index of this thread's elements that equals its max. */
template <class T>
__device__ inline int index_of_max(const ThreadStats& stats,
                                   const T* x,  // [n]
                                   int n) {
  constexpr int size = Vector<T>::kSize, step = kThreads * size;
  for (int v = stats.first; v < n; v += step) {
    for (int j = 0; j < size && v + j < n; j++) {
      if (to_float(x[v + j]) == stats.max) return v + j;
    }
  }
  return n;
}

/** Of a segment, all threads together. */
struct LargestEntry {
  float value;
  int index;
};

/** The largest of n elements and its lowest index: of capped logits, whose t may have ties where they have none. */
template <class T>
__device__ inline LargestEntry block_largest(const T* x, int n, float* shared_max, int* shared_index) {
  float largest = -INFINITY;
  int index = n;
  for (int v = static_cast<int>(threadIdx.x); v < n; v += kThreads) {
    const float logit = to_float(x[v]);
    if (logit > largest) largest = logit, index = v;
  }
  const float of_all = block_max(largest, shared_max);
  return {of_all, block_min(largest == of_all ? index : n, shared_index)};
}

/** Merges the threads' statistics relative to their largest max; argmax is an index of the segment. */
template <bool kEntropy, bool kMore, bool kCapped, class T>
__device__ inline SegmentStats block_stats(const ThreadStats& thread,
                                           const T* x,  // [n]
                                           int n, float scale_log2) {
  __shared__ float shared_max[kWarps];
  __shared__ double shared_sum[kWarps];
  const float max = block_max(thread.max, shared_max);
  double sum_exp = static_cast<double>(thread.count_at_max) + thread.sum_exp_below, sum_t_exp = 0, sum_squares = 0;
  if (sum_exp != 0) {  // else every entry is -inf, and thread.max may be too
    const float t = (thread.max - max) * scale_log2;
    const double factor = exp2_approx(t);
    if (kEntropy) sum_t_exp = factor == 0 ? 0 : (thread.sum_t_exp + sum_exp * t) * factor;
    sum_exp *= factor;
    if (kMore) sum_squares = (static_cast<double>(thread.count_at_max) + thread.sum_squares_below) * factor * factor;
  }
  sum_exp = block_sum(sum_exp, shared_sum);
  if (kEntropy) sum_t_exp = block_sum(sum_t_exp, shared_sum);
  if (!kMore) return {max, sum_exp, sum_t_exp};
  __shared__ int shared_index[kWarps];
  sum_squares = block_sum(sum_squares, shared_sum);
  if (kCapped) {
    const LargestEntry largest = block_largest(x, n, shared_max, shared_index);
    return {max, sum_exp, sum_t_exp, sum_squares, largest.value, largest.index};
  }
  const bool has_max = thread.max == max && max > -INFINITY;
  const int argmax = block_min(has_max ? index_of_max(thread, x, n) : n, shared_index);
  return {max, sum_exp, sum_t_exp, sum_squares, max, argmax};
}

}  // namespace cuda
}  // namespace sweet
