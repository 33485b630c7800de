// Top-k teachers of divergences, see ../divergence.h. Forward, a block reduces a segment of a row without the entries
// of the support, and a warp per row adds the K entries in float64. Backward, a warp per row computes the gradients of
// the support, from logits that the gradient may overwrite; then the others are written, and those of the support.
#include <type_traits>

#include "../segment.h"
#include "device.h"
#include "top_k.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kMaskBits = 32;
constexpr int kMaskSize = static_cast<int>(kSegment / kMaskBits);

/** A block per row. The faults of a row in their order: K indices, K indices that are there before, the sum. */
__global__ void __launch_bounds__(kThreads) check_top_k_kernel(TopKTeacher top_k,      // [N, K]
                                                               const int32_t* labels,  // [N]
                                                               int64_t vocab_size, DeviceResult* result) {
  __shared__ double shared_sum[kWarps];
  const int64_t row = blockIdx.x, first = row * (2 * top_k.k + 1);
  if (labels[row] < 0) return;
  const int32_t* const indices = top_k.indices + row * top_k.k;
  double sum = 0;
  for (int64_t k = threadIdx.x; k < top_k.k; k += kThreads) {
    if (indices[k] < 0 || indices[k] >= vocab_size) record_fault(&result->layout_fault, Rule::top_k, first + k);
    bool before = false;
    for (int64_t j = 0; j < k; j++) before = before || indices[j] == indices[k];
    if (before) record_fault(&result->layout_fault, Rule::top_k, first + top_k.k + k);
    sum += exp(static_cast<double>(top_k.logps[row * top_k.k + k]));
  }
  sum = block_sum(sum, shared_sum);
  if (threadIdx.x == 0 && !valid_support(sum, !top_k.renormalize && !top_k.bucket)) {
    record_fault(&result->layout_fault, Rule::top_k, first + 2 * top_k.k);
  }
}

__device__ inline int64_t result_row(const LogitRows& rows, int64_t i) { return rows.rows ? rows.rows[i] : i; }
__device__ inline bool is_skipped(const LogitRows& rows, int64_t i) { return rows.labels && rows.labels[i] < 0; }

/** Block b: the entries of segment b % per_row of row b / per_row that are not in the support. */
template <class T>
__global__ void __launch_bounds__(kThreads)
    outside_stats_kernel(LogitRows rows, unsigned per_row, TopKTeacher top_k, float scale_log2,
                         SegmentStats* stats,  // [count, per_row]
                         const DeviceResult* result) {
  __shared__ unsigned in_support[kMaskSize];
  __shared__ float shared_max[kWarps];
  __shared__ double shared_sum[kWarps];
  const int64_t i = blockIdx.x / per_row, first = static_cast<int64_t>(blockIdx.x % per_row) * kSegment;
  if (has_fault(result) || is_skipped(rows, i)) return;
  const int32_t* const indices = top_k.indices + result_row(rows, i) * top_k.k;
  for (int m = static_cast<int>(threadIdx.x); m < kMaskSize; m += kThreads) {
    unsigned bits = 0;
    for (int64_t k = 0; k < top_k.k; k++) {
      const int64_t bit = indices[k] - first - static_cast<int64_t>(m) * kMaskBits;
      if (bit >= 0 && bit < kMaskBits) bits |= 1u << bit;
    }
    in_support[m] = bits;
  }
  __syncthreads();
  const T* const x = static_cast<const T*>(rows.logits) + i * rows.row_stride + first;
  const int64_t left = rows.vocab_size - first;
  const int n = static_cast<int>(left < kSegment ? left : kSegment);
  float max = -INFINITY, sum = 0;
  for (int v = static_cast<int>(threadIdx.x); v < n; v += kThreads) {
    if (in_support[v / kMaskBits] >> (v % kMaskBits) & 1) continue;
    const float logit = rows.cap.apply(to_float(x[v]));
    if (logit > max) {
      sum *= exp2_approx((max - logit) * scale_log2);
      max = logit;
    }
    sum += logit == -INFINITY ? 0.0f : exp2_approx((logit - max) * scale_log2);
  }
  const float all_max = block_max(max, shared_max);
  const double factor = sum == 0 ? 0.0 : exp2((static_cast<double>(max) - all_max) * scale_log2);
  const double all = block_sum(sum * factor, shared_sum);
  if (threadIdx.x == 0) stats[blockIdx.x] = {all_max, all, 0};
}

/** A warp per row. 67 registers: without the 1, ptxas of CUDA 13 takes 64 and spills on sm_90. */
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    finish_top_k_kernel(LogitRows rows, TopKTeacher top_k, Divergence type, double beta,
                        const SegmentStats* others,  // [count, segments]
                        unsigned segments,
                        float* out,     // [N]
                        double* saved,  // [N, kSavedSize]
                        const DeviceResult* result) {
  const int64_t i = global_warp();
  if (has_fault(result) || i >= rows.count || is_skipped(rows, i)) return;
  const int64_t row = result_row(rows, i);
  const Support<T> support{static_cast<const T*>(rows.logits) + i * rows.row_stride, top_k.indices + row * top_k.k,
                           rows.cap};
  const RowDivergence of_row = warp_divergence(top_k, row, support, others + i * segments, segments, rows.temperature,
                                               type, beta, lane_of_thread());
  if (lane_of_thread() == 0) write_row(out, saved, row, of_row);
}

/** What the entries outside the support share: factor * 2^((x - max) * scale_log2). */
struct OutsideGradient {
  float max, factor;
};

/** A warp per row. */
template <class T>
__global__ void __launch_bounds__(kThreads)
    support_grads_kernel(LogitRows rows, TopKTeacher top_k, Divergence type, double beta,
                         const double* saved,           // [N, kSavedSize]
                         const float* grad_divergence,  // [N]
                         double scale,
                         float* support_grads,      // [count, K]
                         OutsideGradient* outside,  // [count]
                         const DeviceResult* result) {
  const int64_t i = global_warp();
  if (has_fault(result) || i >= rows.count || is_skipped(rows, i)) return;
  const int64_t row = result_row(rows, i);
  const int lane = lane_of_thread();
  const Support<T> support{static_cast<const T*>(rows.logits) + i * rows.row_stride, top_k.indices + row * top_k.k,
                           rows.cap};
  const double* const at = saved + row * kSavedSize;
  const TopKGradient gradient(warp_probs(top_k, row, lane), top_k.bucket, {at[0], at[1], at[2], at[3]},
                              rows.temperature, type, beta, scale * grad_divergence[row] / rows.head_temperature());
  for (int64_t k = lane; k < top_k.k; k += kWarp) {
    const float logit = support.at(k), d = gradient.of_support(top_k.logps[row * top_k.k + k], logit);
    support_grads[i * top_k.k + k] = static_cast<float>(d * rows.cap.slope(logit));
  }
  const SoftmaxGradient softmax = gradient.outside();
  if (lane == 0) outside[i] = {softmax.max, top_k.bucket ? softmax.factor : 0.0f};
}

/** Of the entries outside the support, where those of the support are undefined; 0 in rows that are not read. */
template <class T>
__global__ void __launch_bounds__(kThreads) outside_grads_kernel(LogitRows rows, unsigned per_row, bool bucket,
                                                                 const OutsideGradient* outside,  // [count]
                                                                 float scale_log2,
                                                                 T* gradient,  // as the logits, may be these
                                                                 int64_t length, const DeviceResult* result) {
  if (has_fault(result)) return;
  const int64_t i = blockIdx.x / per_row, first = static_cast<int64_t>(blockIdx.x % per_row) * kSegment;
  const bool is_last = blockIdx.x % per_row == per_row - 1, zero = !bucket || is_skipped(rows, i);
  const int64_t offset = i * rows.row_stride, entries = first + kSegment;
  const int64_t end = is_last ? rows.row_stride : entries;  // with the padding after the last entries
  const T* const x = static_cast<const T*>(rows.logits) + offset;
  const OutsideGradient of_row = zero ? OutsideGradient{0, 0} : outside[i];
  for (int64_t v = first + threadIdx.x; v < end && offset + v < length; v += kThreads) {
    float g = 0;
    if (!zero && v < rows.vocab_size) {
      const float logit = rows.cap.apply(to_float(x[v]));
      g = of_row.factor * exp2_approx((logit - of_row.max) * scale_log2);
      if (rows.cap.is_on()) g = Softcap::times_slope(g, logit);
    }
    from_float(g, gradient + offset + v);
  }
}

/** A thread per entry of the supports. */
template <class T>
__global__ void __launch_bounds__(kThreads) write_support_kernel(LogitRows rows, TopKTeacher top_k,
                                                                 const float* support_grads,  // [count, K]
                                                                 T* gradient, const DeviceResult* result) {
  const int64_t at = global_thread();
  if (has_fault(result) || at >= rows.count * top_k.k) return;
  const int64_t i = at / top_k.k;
  if (is_skipped(rows, i)) return;
  const int32_t index = top_k.indices[result_row(rows, i) * top_k.k + at % top_k.k];
  from_float(support_grads[at], gradient + i * rows.row_stride + index);
}

}  // namespace

TopKTeacher check_top_k(LaunchContext& context, const Teacher& teacher, const Head& head, const int32_t* labels) {
  const bool renormalize = teacher.tail == TopKTail::renormalize;
  const TopKTeacher top_k{teacher.indices, teacher.logps, teacher.k, renormalize,
                          !renormalize && teacher.k < head.vocab_size};
  context.checked.teacher_indices = teacher.indices;
  context.checked.teacher_k = teacher.k;
  context.launch("check_top_k_kernel", check_top_k_kernel, head.rows, kThreads, top_k, labels, head.vocab_size,
                 context.result());
  return top_k;
}

void top_k_forward(LaunchContext& context, const LogitRows& rows, const TopKTeacher& top_k, Divergence type,
                   double beta, float* out, double* saved) {
  const LaunchContext::ScratchScope scope(context);
  const unsigned per_row = top_k.bucket ? static_cast<unsigned>(blocks_for(rows.vocab_size, kSegment)) : 0;
  SegmentStats* const others = context.scratch<SegmentStats>(rows.count * per_row);
  with_type(rows.dtype, [&](auto* type_of) {
    using T = std::remove_pointer_t<decltype(type_of)>;
    context.launch("outside_stats_kernel", outside_stats_kernel<T>, rows.count * per_row, kThreads, rows, per_row,
                   top_k, log2_scale(rows.temperature), others, context.result());
    context.launch("finish_top_k_kernel", finish_top_k_kernel<T>, blocks_for(rows.count, kWarps), kThreads, rows, top_k,
                   type, beta, others, per_row, out, saved, context.result());
  });
}

void top_k_backward(LaunchContext& context, const LogitRows& rows, const TopKTeacher& top_k, Divergence type,
                    double beta, const double* saved, const float* grad_divergence, float scale, void* gradient,
                    int64_t length) {
  const LaunchContext::ScratchScope scope(context);
  const unsigned per_row = static_cast<unsigned>(blocks_for(rows.vocab_size, kSegment));
  float* const support_grads = context.scratch<float>(rows.count * top_k.k);
  OutsideGradient* const outside = context.scratch<OutsideGradient>(rows.count);
  with_type(rows.dtype, [&](auto* type_of) {
    using T = std::remove_pointer_t<decltype(type_of)>;
    T* const to = static_cast<T*>(gradient);
    context.launch("support_grads_kernel", support_grads_kernel<T>, blocks_for(rows.count, kWarps), kThreads, rows,
                   top_k, type, beta, saved, grad_divergence, scale, support_grads, outside, context.result());
    context.launch("outside_grads_kernel", outside_grads_kernel<T>, rows.count * per_row, kThreads, rows, per_row,
                   top_k.bucket, outside, log2_scale(rows.temperature), to, length, context.result());
    context.launch("write_support_kernel", write_support_kernel<T>, blocks_for(rows.count * top_k.k, kThreads),
                   kThreads, rows, top_k, support_grads, to, context.result());
  });
}

}  // namespace cuda
}  // namespace sweet
