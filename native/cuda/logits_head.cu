// Log-probs of rows of logits and their gradient. logits [N, V], rows `row_stride` elements apart; x_v the logits of a
// row, g the gradient at its log-prob:
//
//   lse = max / temperature + log(sum_v 2^t_v),  t_v = (x_v - max) * scale_log2,  scale_log2 = log2(e) / temperature
//   logp = x_label / temperature - lse,  entropy = log(sum_v 2^t_v) - ln(2) * (sum_v t_v 2^t_v) / (sum_v 2^t_v)
//   dx_v = g / temperature * (1[v = label] - p_v),  p_v = e^(x_v / temperature - lse)
//   argmax = the lowest v of the largest x_v,  sum_v p_v^2 = (sum_v 2^(2 t_v)) / (sum_v 2^t_v)^2
//   online softmax: a new max multiplies the sums by 2^((old max - new max) * scale_log2)
//
// Forward: one read. A block reduces a segment of a row to SegmentStats {max, sum_exp, sum_t_exp}, of which each thread
// keeps its own until the end. Then a thread per row merges the row's segments in their order. Probabilities are never
// stored: the backward pass computes them from the logits and lse, at one read and one write, which may be in place.
// Before that a thread per row computes the label's entry and what the row's other entries share, since in place the
// label's logit is overwritten.
#include <type_traits>

#include "../segment.h"
#include "device.h"
#include "logps.h"
#include "reference.h"
#include "row_gradient.h"
#include "segment_stats.h"

namespace sweet {

reference::LogpsRow reference::logits_row(const double* logits, int64_t vocab_size, int64_t label, double temperature,
                                          double g, double* grad_logits) {
  double max = -INFINITY, sum_exp = 0, sum_t_exp = 0;
  for (int64_t v = 0; v < vocab_size; v++) max = fmax(max, logits[v] / temperature);
  for (int64_t v = 0; v < vocab_size; v++) {
    const double t = logits[v] / temperature - max;
    sum_exp += exp(t);
    if (t > -INFINITY) sum_t_exp += t * exp(t);
  }
  const double lse = max + log(sum_exp);
  for (int64_t v = 0; v < vocab_size; v++) {
    grad_logits[v] = g / temperature * ((v == label) - exp(logits[v] / temperature - lse));
  }
  return {lse, logits[label] / temperature - lse, log(sum_exp) - sum_t_exp / sum_exp};
}

namespace cuda {
namespace {

/** Block b computes segment b % per_row of row b / per_row. */
struct Segments {
  int64_t vocab_size, row_stride, vocab_offset;
  unsigned per_row;

  explicit Segments(const Head& head)
      : vocab_size(head.vocab_size),
        row_stride(head.row_stride),
        vocab_offset(head.vocab_offset),
        per_row(static_cast<unsigned>((head.vocab_size + kSegment - 1) / kSegment)) {}

  __device__ int64_t row() const { return blockIdx.x / per_row; }
  __device__ int64_t first() const { return static_cast<int64_t>(blockIdx.x % per_row) * kSegment; }
  __device__ int size() const {
    const int64_t left = vocab_size - first();
    return static_cast<int>(left < kSegment ? left : kSegment);
  }
};

template <class T, bool kEntropy, bool kMore, bool kCapped>
__global__ void __launch_bounds__(kThreads) segment_stats_kernel(const T* logits,  // [N, V]
                                                                 Segments segments,
                                                                 const int32_t* labels,  // [N] checked
                                                                 bool skip_ignored, float scale_log2, Softcap cap,
                                                                 SegmentStats* stats,  // [N, per_row]
                                                                 const DeviceResult* result) {
  if (has_fault(result) || !is_read(labels[segments.row()], skip_ignored)) return;
  const T* const x = logits + segments.row() * segments.row_stride + segments.first();
  const bool aligned = reinterpret_cast<uintptr_t>(x) % sizeof(Vector<T>) == 0;
  const ThreadStats thread = aligned
                                 ? thread_stats<kEntropy, kMore, kCapped, true>(x, segments.size(), scale_log2, cap)
                                 : thread_stats<kEntropy, kMore, kCapped, false>(x, segments.size(), scale_log2, cap);
  SegmentStats segment = block_stats<kEntropy, kMore, kCapped>(thread, x, segments.size(), scale_log2);
  segment.argmax += static_cast<int32_t>(segments.vocab_offset + segments.first());
  if (threadIdx.x == 0) stats[blockIdx.x] = segment;
}

/** A thread per row. */
template <class T>
__global__ void __launch_bounds__(kThreads) finish_rows_kernel(const T* logits,  // [N, V]
                                                               int64_t rows, Segments segments,
                                                               const int32_t* labels,  // [N] checked
                                                               double temperature, Softcap cap,
                                                               const SegmentStats* stats,  // [N, per_row]
                                                               ForwardOut out,             // [N] each
                                                               const DeviceResult* result) {
  const int64_t i = global_thread();
  if (has_fault(result) || i >= rows) return;
  const int32_t label = labels[i];
  const bool read = is_read(label, out.skip_ignored);
  const float label_logit =
      read && is_local(label) ? cap.apply(to_float(logits[i * segments.row_stride + label])) : 0.0f;
  const SegmentStats* const of_row = stats + i * segments.per_row;
  const auto segment = [of_row](int64_t s) -> const SegmentStats& { return of_row[s]; };
  ShardStats merged = empty_shard_stats();
  if (read) merged = {merge_stats(segments.per_row, temperature, segment), label_logit};
  if (out.shard_stats) {
    merged.softmax.max *= cap.value();  // t as s(x)
    merged.label_logit *= cap.value();
    return out.shard.write(merged, out.shard_stats + i * out.shard.row_elements());
  }
  RowResult row{0, 0, 0};
  if (read) row = row_result(merged.softmax, label, label_logit, temperature);
  out.write(i, row);
}

/** A thread per row. */
template <class T>
__global__ void __launch_bounds__(kThreads) prepare_rows_kernel(const T* logits,  // [N, V]
                                                                int64_t rows, int64_t row_stride,
                                                                const int32_t* labels,  // [N] checked
                                                                double temperature, Softcap cap,
                                                                Upstream upstream,       // [N]
                                                                RowGradient* gradients,  // [N]
                                                                const DeviceResult* result) {
  const int64_t i = global_thread();
  if (has_fault(result) || i >= rows) return;
  const int32_t label = labels[i];
  RowGradient gradient{0, 0, 0, 0, label};
  if (label >= 0) {
    gradient = row_gradient(logits + i * row_stride, label, upstream.lse_of(i), upstream.rounded_lse(),
                            temperature / cap.value(), cap, upstream.row(i, temperature));
  }
  gradients[i] = gradient;
}

/** Calls vectors(v, count) for this thread's aligned vectors of a segment of n elements, element(v) for the others. */
template <class T, class Vectors, class Element>
__device__ inline void for_each_in_segment(const AlignedRange& range, int n, Vectors vectors, Element element) {
  constexpr int size = Vector<T>::kSize, step = kThreads * size;
  const int thread = static_cast<int>(threadIdx.x);
  for (int v = thread; v < range.first; v += kThreads) element(v);
  int v = range.first + thread * size;
  for (; v + (kInFlight - 1) * step < range.last; v += kInFlight * step) {
    vectors(v, std::integral_constant<int, kInFlight>());
  }
  for (; v < range.last; v += step) vectors(v, std::integral_constant<int, 1>());
  for (int tail = range.last + thread; tail < n; tail += kThreads) element(tail);
}

template <class T, bool kSlope, bool kCapped>
__global__ void __launch_bounds__(kThreads) grad_segments_kernel(const T* logits,  // [N, V]
                                                                 Segments segments,
                                                                 const RowGradient* gradients,  // [N]
                                                                 float scale_log2, Softcap cap,
                                                                 T* grad_logits,  // [N, V], may be the logits
                                                                 const DeviceResult* result) {
  if (has_fault(result)) return;
  constexpr int size = Vector<T>::kSize, step = kThreads * size;
  const RowGradient row = gradients[segments.row()];
  const int n = segments.size();
  const int64_t offset = segments.row() * segments.row_stride + segments.first();
  const T* const x = logits + offset;
  T* const grad = grad_logits + offset;
  if (row.label < 0) {  // masked or ignored: its logits are not read
    const auto zero_element = [&](int v) { from_float(0.0f, grad + v); };
    const auto zero_vectors = [&](int v, auto count) {
      const uint4 bits = make_uint4(0, 0, 0, 0);
      for (int k = 0; k < decltype(count)::value; k++) *reinterpret_cast<uint4*>(grad + v + k * step) = bits;
    };
    for_each_in_segment<T>(aligned_range(grad, n), n, zero_vectors, zero_element);
    return;
  }

  const auto gradient = [&](T logit, T* to) {
    const float x = to_float(logit);
    from_float(kCapped ? row.template at_capped<kSlope>(x, scale_log2, cap) : row.template at<kSlope>(x, scale_log2),
               to);
  };
  const auto grad_element = [&](int v) { gradient(x[v], grad + v); };
  const auto grad_vectors = [&](int v, auto count) {
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
  // Where logits and gradient are not aligned alike, the elements are written one by one.
  const bool aligned = (reinterpret_cast<uintptr_t>(x) ^ reinterpret_cast<uintptr_t>(grad)) % sizeof(Vector<T>) == 0;
  for_each_in_segment<T>(aligned ? aligned_range(x, n) : AlignedRange{n, n}, n, grad_vectors, grad_element);

  const int64_t label = row.label - segments.first();
  if (label < 0 || label >= n) return;  // the same for all threads
  __syncthreads();
  if (threadIdx.x == 0) from_float(row.label_grad, grad + label);
}

/** A thread per element of padding; `width` a row. */
template <class T>
__global__ void __launch_bounds__(kThreads)
    clear_padding_kernel(int64_t rows, int64_t width, int64_t row_stride, int64_t length, T* grad_logits,  // [length]
                         const DeviceResult* result) {
  const int64_t thread = global_thread();
  if (has_fault(result) || thread >= rows * width) return;
  const int64_t at = thread / width * row_stride + row_stride - width + thread % width;
  if (at < length) from_float(0.0f, grad_logits + at);
}

}  // namespace

void logits_forward(LaunchContext& context, const Head& head, const int32_t* labels, const ForwardOut& out) {
  const Segments segments(head);
  const int64_t rows = head.rows, blocks = rows * segments.per_row;
  SegmentStats* const stats = context.scratch<SegmentStats>(blocks);
  const Softcap cap(head.softcap);
  const double temperature = kernel_temperature(head);
  with_type(head.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* const logits = static_cast<const T*>(head.logits);
    // By with_entropy() + 2 * with_more() + 4 with a softcap.
    const decltype(&segment_stats_kernel<T, false, false, false>) kernels[] = {
        segment_stats_kernel<T, false, false, false>, segment_stats_kernel<T, true, false, false>,
        segment_stats_kernel<T, false, true, false>,  segment_stats_kernel<T, true, true, false>,
        segment_stats_kernel<T, false, false, true>,  segment_stats_kernel<T, true, false, true>,
        segment_stats_kernel<T, false, true, true>,   segment_stats_kernel<T, true, true, true>};
    context.launch("segment_stats_kernel", kernels[out.with_entropy() + 2 * out.with_more() + 4 * cap.is_on()], blocks,
                   kThreads, logits, segments, labels, out.skip_ignored, log2_scale(temperature), cap, stats,
                   context.result());
    context.launch("finish_rows_kernel", finish_rows_kernel<T>, blocks_for(rows, kThreads), kThreads, logits, rows,
                   segments, labels, temperature, cap, stats, out, context.result());
  });
}

void logits_backward(LaunchContext& context, const Head& head, const int32_t* labels, const Upstream& upstream,
                     void* grad_logits) {
  const Segments segments(head);
  const int64_t rows = head.rows;
  RowGradient* const gradients = context.scratch<RowGradient>(rows);
  const Softcap cap(head.softcap);
  const float scale_log2 = log2_scale(kernel_temperature(head));
  with_type(head.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* const logits = static_cast<const T*>(head.logits);
    context.launch("prepare_rows_kernel", prepare_rows_kernel<T>, blocks_for(rows, kThreads), kThreads, logits, rows,
                   head.row_stride, labels, head.temperature, cap, upstream, gradients, context.result());
    if (!is_shard(head)) {
      context.launch("confident_labels_kernel", confident_labels_kernel<T, kThreads>, rows, kThreads, logits,
                     head.vocab_size, head.row_stride, upstream, nullptr, head.temperature, 1, cap, gradients,
                     context.result());
    }
    const auto sloped = cap.is_on() ? grad_segments_kernel<T, true, true> : grad_segments_kernel<T, true, false>;
    const auto plain = cap.is_on() ? grad_segments_kernel<T, false, true> : grad_segments_kernel<T, false, false>;
    context.launch("grad_segments_kernel", upstream.grad_entropy ? sloped : plain, rows * segments.per_row, kThreads,
                   logits, segments, gradients, scale_log2, cap, static_cast<T*>(grad_logits), context.result());
    const int64_t width = head.row_stride - head.vocab_size;
    if (!has_padding(head)) return;
    context.launch("clear_padding_kernel", clear_padding_kernel<T>, blocks_for(rows * width, kThreads), kThreads, rows,
                   width, head.row_stride, head.logits_length, static_cast<T*>(grad_logits), context.result());
  });
}

}  // namespace cuda
}  // namespace sweet
