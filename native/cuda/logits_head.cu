// Rows of logits. Forward: a block takes a segment of a row, reads it once in 16-byte vectors and leaves (pivot, sum,
// weighted sum); a thread per row joins the segments in their order. Backward: a thread per row prepares what the words
// of the row have in common and the label's own gradient, since in place its logit is about to go; then one read and
// one write.
//
// Segments are as long as the CPU's, whatever the number of rows: a row's result does not depend on its batch.
#include <type_traits>

#include "../softmax.h"
#include "../token_logps.h"
#include "device.h"
#include "layout.h"
#include "rows.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kSegment = 16384;
constexpr int kAhead = 4;  // vectors that a thread loads before it needs the first

struct SegmentStats {
  float pivot;
  double sum, weighted;
};

/**
 * A thread's share of a segment: its pivot is the largest of its words so far. Words at the pivot count exactly 1 each
 * and are kept apart: beside a confident token all others may come to less than float32 can add to 1.
 */
struct Sums {
  float pivot, ones, rest, weighted;
};

/** What -inf is measured from: -inf - -inf would be NaN. */
__device__ inline float finite(float pivot) { return pivot == -INFINITY ? 0.0f : pivot; }

template <bool kEntropy>
__device__ inline void move_pivot(Sums& sums, float largest, float slope) {
  if (!(largest > sums.pivot)) return;
  if (sums.pivot != -INFINITY) {
    const float t = (sums.pivot - largest) * slope, factor = power_of_two(t), sum = sums.ones + sums.rest;
    if (kEntropy) sums.weighted = factor == 0 ? 0.0f : (sums.weighted + sum * t) * factor;
    sums.rest = sum * factor;
    sums.ones = 0;
  }
  sums.pivot = largest;
}

/** So many vectors at once: one move of the pivot for all of them, and short sums before the long one. */
template <bool kEntropy, int kCount, class T>
__device__ inline void add_vectors(Sums& sums, const Vector<T> (&vectors)[kCount], float slope) {
  float largest = -INFINITY;
#pragma unroll
  for (int k = 0; k < kCount; k++) {
#pragma unroll
    for (int j = 0; j < Vector<T>::kSize; j++) largest = fmaxf(largest, to_float(vectors[k].at[j]));
  }
  move_pivot<kEntropy>(sums, largest, slope);
  const float pivot = finite(sums.pivot);
  float rest = 0;
#pragma unroll
  for (int k = 0; k < kCount; k++) {
    float of_vector = 0;
#pragma unroll
    for (int j = 0; j < Vector<T>::kSize; j++) {
      const float t = (to_float(vectors[k].at[j]) - pivot) * slope, e = power_of_two(t);
      if (t == 0) {
        sums.ones += 1;
      } else {
        of_vector += e;
      }
      if (kEntropy && e != 0) sums.weighted += t * e;
    }
    rest += of_vector;
  }
  sums.rest += rest;
}

/** A vector of words from x on. */
template <bool kAligned, class T>
__device__ inline Vector<T> load_words(const T* x) {
  return kAligned ? load(x) : load_across(x);
}

/** The first n words from x on; past them stands -inf. */
template <class T>
__device__ inline Vector<T> load_some(const T* x, int n) {
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

/** This thread's words of the segment at x: the same ones in the same order wherever in memory the row starts. */
template <bool kEntropy, bool kAligned, class T>
__device__ inline Sums sum_words(const T* x, int words, float slope) {
  constexpr int size = Vector<T>::kSize, step = kThreads * size;
  // Words that start anywhere are loaded with what else lies in their two aligned vectors: not at the very end.
  const int last = words - 2 * size;
  Sums sums{-INFINITY, 0, 0, 0};
  int v = static_cast<int>(threadIdx.x) * size;
  for (; v + (kAhead - 1) * step <= last; v += kAhead * step) {
    Vector<T> vectors[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; k++) vectors[k] = load_words<kAligned>(x + v + k * step);
    add_vectors<kEntropy>(sums, vectors, slope);
  }
  for (; v < words; v += step) {
    const Vector<T> vectors[1] = {v <= last ? load_words<kAligned>(x + v) : load_some(x + v, words - v)};
    add_vectors<kEntropy>(sums, vectors, slope);
  }
  return sums;
}

/** The threads' sums around their largest pivot. */
template <bool kEntropy>
__device__ inline SegmentStats join_block(const Sums& own, float slope) {
  __shared__ float pivots[kWarps];
  __shared__ double room[kWarps];
  const float pivot = block_max(own.pivot, pivots);
  double sum = static_cast<double>(own.ones) + own.rest, weighted = 0;
  if (sum != 0) {  // else masked words alone: their pivot may be -inf
    const float t = (own.pivot - pivot) * slope;
    const double factor = power_of_two(t);
    if (kEntropy) weighted = factor == 0 ? 0 : (own.weighted + sum * t) * factor;
    sum *= factor;
  }
  sum = block_sum(sum, room);
  if (kEntropy) weighted = block_sum(weighted, room);
  return {pivot, sum, weighted};
}

/** Block b has segment b % per_row of row b / per_row. */
struct Cut {
  int64_t vocab, stride;
  unsigned per_row;

  explicit Cut(const Head& head)
      : vocab(head.vocab_size),
        stride(head.row_stride),
        per_row(static_cast<unsigned>((head.vocab_size + kSegment - 1) / kSegment)) {}

  __device__ int64_t row() const { return blockIdx.x / per_row; }
  __device__ int64_t first_word() const { return static_cast<int64_t>(blockIdx.x % per_row) * kSegment; }
  __device__ int words() const {
    const int64_t left = vocab - first_word();
    return left < kSegment ? static_cast<int>(left) : kSegment;
  }
};

template <class T, bool kEntropy>
__global__ void __launch_bounds__(kThreads)
    sum_segments_kernel(const T* logits, Cut cut, const int32_t* labels, bool skip_ignored, float slope,
                        SegmentStats* sums, const Outcome* outcome) {
  if (refused(outcome) || !is_read(labels[cut.row()], skip_ignored)) return;
  const T* const x = logits + cut.row() * cut.stride + cut.first_word();
  const bool aligned = reinterpret_cast<uintptr_t>(x) % sizeof(Vector<T>) == 0;
  const Sums own =
      aligned ? sum_words<kEntropy, true>(x, cut.words(), slope) : sum_words<kEntropy, false>(x, cut.words(), slope);
  const SegmentStats segment = join_block<kEntropy>(own, slope);
  if (threadIdx.x == 0) sums[blockIdx.x] = segment;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    end_rows_kernel(const T* logits, int64_t rows, Cut cut, const int32_t* labels, double temperature,
                    const SegmentStats* sums, ForwardOut out, const Outcome* outcome) {
  const int64_t i = global_thread();
  if (refused(outcome) || i >= rows) return;
  const int32_t label = labels[i];
  const bool read = is_read(label, out.skip_ignored);
  const float label_logit = read && is_local(label) ? to_float(logits[i * cut.stride + label]) : 0.0f;
  const SegmentStats* const own = sums + i * cut.per_row;
  const auto segment = [own](int64_t s) -> const SegmentStats& { return own[s]; };
  ShardStats row = empty_shard_stats();
  if (read) row = {join(cut.per_row, temperature, segment), label_logit};
  if (out.partials) {
    out.partials[i] = row;
    return;
  }
  RowResult end{0, 0, 0};
  if (read) end = row_result(row.sums, label, label_logit, temperature);
  out.logps[i] = end.logp;
  if (out.lse) out.lse[i] = end.lse;
  if (out.lse32) out.lse32[i] = static_cast<float>(end.lse);
  if (out.entropy) out.entropy[i] = end.entropy;
}

/** What the gradients of a row have in common, and that of its label. */
struct RowGradient {
  float pivot, factor, of_label;
  int32_t label;
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    prepare_rows_kernel(const T* logits, int64_t rows, int64_t stride, const int32_t* labels, double temperature,
                        const double* lse, const float* lse32, const float* grad_logps, RowGradient* gradients,
                        const Outcome* outcome) {
  const int64_t i = global_thread();
  if (refused(outcome) || i >= rows) return;
  const int32_t label = labels[i];
  RowGradient gradient{0, 0, 0, label};
  if (label >= 0) {
    const double g = grad_logps[i] / temperature, row_lse = lse ? lse[i] : lse32[i];
    const SoftmaxGradient softmax(row_lse, temperature, -g);
    const float label_logit = is_local(label) ? to_float(logits[i * stride + label]) : 0.0f;
    gradient.pivot = softmax.pivot;
    gradient.factor = softmax.factor;
    gradient.of_label = static_cast<float>(label_gradient(label_logit, row_lse, temperature, g));
  }
  gradients[i] = gradient;
}

/** A number that is known where code is compiled. */
template <int n>
struct Count {
  static constexpr int value = n;
};

/** Calls vectors(v, count) for the aligned vectors of a segment that are this thread's, and word(v) for the others. */
template <class T, class Vectors, class Word>
__device__ inline void each_of_segment(const Split& at, int words, Vectors vectors, Word word) {
  constexpr int size = Vector<T>::kSize, step = kThreads * size;
  const int thread = static_cast<int>(threadIdx.x);
  for (int v = thread; v < at.first; v += kThreads) word(v);
  int v = at.first + thread * size;
  for (; v + (kAhead - 1) * step < at.last; v += kAhead * step) vectors(v, Count<kAhead>());
  for (; v < at.last; v += step) vectors(v, Count<1>());
  for (int w = at.last + thread; w < words; w += kThreads) word(w);
}

template <class T>
__global__ void __launch_bounds__(kThreads) grad_segments_kernel(const T* logits, Cut cut, const RowGradient* gradients,
                                                                 float slope, T* out, const Outcome* outcome) {
  if (refused(outcome)) return;
  constexpr int size = Vector<T>::kSize, step = kThreads * size;
  const RowGradient row = gradients[cut.row()];
  const int words = cut.words();
  const int64_t offset = cut.row() * cut.stride + cut.first_word();
  const T* const x = logits + offset;
  T* const grad = out + offset;
  if (row.label < 0) {  // dropped: its logits are never read
    const auto zero = [&](int v) { from_float(0.0f, grad + v); };
    const auto zeros = [&](int v, auto count) {
      const uint4 bits = make_uint4(0, 0, 0, 0);
      for (int k = 0; k < decltype(count)::value; k++) *reinterpret_cast<uint4*>(grad + v + k * step) = bits;
    };
    each_of_segment<T>(split(grad, words), words, zeros, zero);
    return;
  }

  const auto gradient = [&](T logit, T* to) {
    from_float(row.factor * power_of_two((to_float(logit) - row.pivot) * slope), to);
  };
  const auto one_word = [&](int v) { gradient(x[v], grad + v); };
  const auto some_vectors = [&](int v, auto count) {
    Vector<T> vectors[decltype(count)::value];
#pragma unroll
    for (int k = 0; k < decltype(count)::value; k++) vectors[k] = load(x + v + k * step);
#pragma unroll
    for (int k = 0; k < decltype(count)::value; k++) {
#pragma unroll
      for (int j = 0; j < size; j++) gradient(vectors[k].at[j], &vectors[k].at[j]);
      store(vectors[k], grad + v + k * step);
    }
  };
  // A result that is not aligned as the logits are goes word by word.
  const bool aligned = (reinterpret_cast<uintptr_t>(x) ^ reinterpret_cast<uintptr_t>(grad)) % sizeof(Vector<T>) == 0;
  each_of_segment<T>(aligned ? split(x, words) : Split{words, words}, words, some_vectors, one_word);

  const int64_t label = row.label - cut.first_word();
  if (label < 0 || label >= words) return;  // all threads or none
  __syncthreads();
  if (threadIdx.x == 0) from_float(row.of_label, grad + label);
}

}  // namespace

void forward_rows(Run& run, const Head& head, const int32_t* labels, const ForwardOut& out) {
  const Cut cut(head);
  const int64_t rows = head.rows, blocks = rows * cut.per_row;
  SegmentStats* const sums = run.scratch<SegmentStats>(blocks);
  with_type(head.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* const logits = static_cast<const T*>(head.logits);
    run.launch("sum_segments_kernel", out.with_entropy() ? sum_segments_kernel<T, true> : sum_segments_kernel<T, false>,
               blocks, kThreads, logits, cut, labels, out.skip_ignored, log2_scale(head.temperature), sums,
               run.outcome());
    run.launch("end_rows_kernel", end_rows_kernel<T>, blocks_for(rows, kThreads), kThreads, logits, rows, cut, labels,
               head.temperature, sums, out, run.outcome());
  });
}

void backward_rows(Run& run, const Head& head, const int32_t* labels, const double* lse, const float* lse32,
                   const float* grad_logps, void* out) {
  const Cut cut(head);
  const int64_t rows = head.rows;
  RowGradient* const gradients = run.scratch<RowGradient>(rows);
  with_type(head.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* const logits = static_cast<const T*>(head.logits);
    run.launch("prepare_rows_kernel", prepare_rows_kernel<T>, blocks_for(rows, kThreads), kThreads, logits, rows,
               head.row_stride, labels, head.temperature, lse, lse32, grad_logps, gradients, run.outcome());
    run.launch("grad_segments_kernel", grad_segments_kernel<T>, rows * cut.per_row, kThreads, logits, cut, gradients,
               log2_scale(head.temperature), static_cast<T*>(out), run.outcome());
  });
}

}  // namespace cuda

Status token_logps(const Head& head, const Labels& labels, const LogpsOut& out) {
  cuda::Run run;
  const int32_t* const checked = cuda::check_labels(run, labels, head.rows, words_of(head));
  cuda::forward_rows(run, head, checked, {out.logps, nullptr, out.lse, out.entropy, false});
  return run.finish(nullptr);
}

Status token_logps_backward(const Head& head, const Labels& labels, const LogpsBackward& backward) {
  cuda::Run run;
  const int32_t* const checked = cuda::check_labels(run, labels, head.rows, words_of(head));
  cuda::backward_rows(run, head, checked, nullptr, backward.lse, backward.grad_logps, backward.out.logits);
  return run.finish(nullptr);
}

}  // namespace sweet
