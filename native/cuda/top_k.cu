// Top-k teachers of divergences, see ../divergence.h. Forward, a block reduces a segment of a row without the entries
// of the support, and a warp per row adds the K entries in float64. Backward, a warp per row computes the gradients of
// the support, from logits that the gradient may overwrite; then the others are written, and those of the support.
#include <type_traits>

#include "../segment.h"
#include "device.h"
#include "divergence.h"

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
  if (threadIdx.x == 0 && sum > kMaxTopKSum) record_fault(&result->layout_fault, Rule::top_k, first + 2 * top_k.k);
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
    const float logit = to_float(x[v]);
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

__device__ inline TopKProbs warp_probs(const TopKTeacher& top_k, int64_t row, int lane) {
  double sum = 0;
  for (int64_t k = lane; k < top_k.k; k += kWarp) sum += exp(static_cast<double>(top_k.logps[row * top_k.k + k]));
  return {warp_sum(sum), top_k.renormalize, top_k.bucket};
}

/** Where the logits of a row's support are. */
template <class T>
struct Support {
  const T* row;            // [V], or the K logits where there are no indices
  const int32_t* indices;  // [K] or null

  __device__ float at(int64_t k) const { return to_float(row[indices ? indices[k] : k]); }
};

/** A warp computes a row; others: the statistics of the entries outside the support, [segments]. */
template <class T>
__device__ inline RowDivergence warp_divergence(const TopKTeacher& top_k, int64_t row, const Support<T>& support,
                                                const SegmentStats* others, unsigned segments, double temperature,
                                                Divergence type, double beta, int lane) {
  float max = -INFINITY, max_outside = -INFINITY;
  for (int64_t k = lane; k < top_k.k; k += kWarp) max = support.at(k) > max ? support.at(k) : max;
  for (unsigned s = lane; s < segments; s += kWarp) max_outside = fmaxf(max_outside, others[s].max);
  max = warp_max(max);
  max_outside = warp_max(max_outside);
  max = fmaxf(max, max_outside);
  const double scale_log2 = log2_scale(temperature);
  double sum = 0, outside = 0;
  for (int64_t k = lane; k < top_k.k; k += kWarp) {
    if (support.at(k) != -INFINITY) sum += exp2((static_cast<double>(support.at(k)) - max) * scale_log2);
  }
  for (unsigned s = lane; s < segments; s += kWarp) {
    if (others[s].sum_exp != 0) {
      outside += others[s].sum_exp * exp2((static_cast<double>(others[s].max) - max_outside) * scale_log2);
    }
  }
  sum = warp_sum(sum);
  outside = warp_sum(outside);
  if (outside != 0) sum += outside * exp2((static_cast<double>(max_outside) - max) * scale_log2);
  const TopKProbs probs = warp_probs(top_k, row, lane);
  RowDivergence of_row{};
  of_row.saved.lse_z = lse_of(max, sum, temperature);
  of_row.saved.lse_y = probs.log_norm + log(probs.sum);
  if (top_k.bucket) {
    const double lse = outside == 0 ? -INFINITY : max_outside / temperature + log(outside);
    of_row.saved.log_q_tail = lse - of_row.saved.lse_z;
  }
  DivergenceSum d{0, 0};
  for (int64_t k = lane; k < top_k.k; k += kWarp) {
    d.add(type, beta, top_k.logps[row * top_k.k + k] - probs.log_norm,
          support.at(k) / temperature - of_row.saved.lse_z);
  }
  d.divergence = warp_sum(d.divergence);
  d.kappa = warp_sum(d.kappa);
  if (top_k.bucket) d.add(type, beta, probs.log_tail, of_row.saved.log_q_tail);
  of_row.divergence = cut_at_0(d.divergence);
  of_row.saved.kappa = type == Divergence::reverse_kl ? of_row.divergence : d.kappa;
  return of_row;
}

__device__ inline void write_row(float* out, double* saved, int64_t row, const RowDivergence& of_row) {
  double* const at = saved + row * kSavedSize;
  out[row] = static_cast<float>(of_row.divergence);
  at[0] = of_row.saved.lse_z;
  at[1] = of_row.saved.lse_y;
  at[2] = of_row.saved.kappa;
  at[3] = of_row.saved.log_q_tail;
}

__device__ inline int64_t global_warp() { return global_thread() / kWarp; }
__device__ inline int lane_of_thread() { return static_cast<int>(threadIdx.x) % kWarp; }

/** A warp per row. */
template <class T>
__global__ void __launch_bounds__(kThreads)
    finish_top_k_kernel(LogitRows rows, TopKTeacher top_k, Divergence type, double beta,
                        const SegmentStats* others,  // [count, segments]
                        unsigned segments,
                        float* out,     // [N]
                        double* saved,  // [N, kSavedSize]
                        const DeviceResult* result) {
  const int64_t i = global_warp();
  if (has_fault(result) || i >= rows.count || is_skipped(rows, i)) return;
  const int64_t row = result_row(rows, i);
  const Support<T> support{static_cast<const T*>(rows.logits) + i * rows.row_stride, top_k.indices + row * top_k.k};
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
  const Support<T> support{static_cast<const T*>(rows.logits) + i * rows.row_stride, top_k.indices + row * top_k.k};
  const double* const at = saved + row * kSavedSize;
  const TopKGradient gradient(warp_probs(top_k, row, lane), top_k.bucket, {at[0], at[1], at[2], at[3]},
                              rows.temperature, type, beta, scale * grad_divergence[row] / rows.temperature);
  for (int64_t k = lane; k < top_k.k; k += kWarp) {
    support_grads[i * top_k.k + k] = gradient.of_support(top_k.logps[row * top_k.k + k], support.at(k));
  }
  const SoftmaxGradient softmax(at[0], rows.temperature, gradient.outside());
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
    if (!zero && v < rows.vocab_size) g = of_row.factor * exp2_approx((to_float(x[v]) - of_row.max) * scale_log2);
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

// -- linear heads of renormalised teachers: K products of a row

/** A block per row and entry of its support. */
template <class T>
__global__ void __launch_bounds__(kThreads)
    support_logits_kernel(const T* hidden, int64_t hidden_stride, const T* weight, int64_t weight_stride,
                          const T* bias,  // [V] or null
                          int64_t hidden_size,
                          const int64_t* rows,  // [count]
                          TopKTeacher top_k,
                          float* logits,  // [count, K]
                          const DeviceResult* result) {
  __shared__ double shared_sum[kWarps];
  if (has_fault(result)) return;
  const int64_t row = rows[blockIdx.x / top_k.k], v = top_k.indices[row * top_k.k + blockIdx.x % top_k.k];
  double sum = 0;
  for (int64_t h = threadIdx.x; h < hidden_size; h += kThreads) {
    sum += static_cast<double>(to_float(hidden[row * hidden_stride + h])) * to_float(weight[v * weight_stride + h]);
  }
  sum = block_sum(sum, shared_sum);
  if (threadIdx.x == 0) logits[blockIdx.x] = static_cast<float>(bias ? to_float(bias[v]) + sum : sum);
}

/** A warp per row; logits [count, K]. */
__global__ void __launch_bounds__(kThreads)
    finish_support_kernel(const float* logits, const int64_t* rows, int64_t count, TopKTeacher top_k,
                          double temperature, Divergence type, double beta, float* out, double* saved,
                          const DeviceResult* result) {
  const int64_t i = global_warp();
  if (has_fault(result) || i >= count) return;
  const RowDivergence of_row = warp_divergence(top_k, rows[i], Support<float>{logits + i * top_k.k, nullptr}, nullptr,
                                               0, temperature, type, beta, lane_of_thread());
  if (lane_of_thread() == 0) write_row(out, saved, rows[i], of_row);
}

/** A warp per row: the logits [count, K] become their gradients. */
__global__ void __launch_bounds__(kThreads)
    support_logit_grads_kernel(float* logits, const int64_t* rows, int64_t count, TopKTeacher top_k, double temperature,
                               Divergence type, double beta, const double* saved, const float* grad_divergence,
                               const DeviceResult* result) {
  const int64_t i = global_warp();
  if (has_fault(result) || i >= count) return;
  const int64_t row = rows[i];
  const int lane = lane_of_thread();
  const double* const at = saved + row * kSavedSize;
  const TopKGradient gradient(warp_probs(top_k, row, lane), false, {at[0], at[1], at[2], at[3]}, temperature, type,
                              beta, grad_divergence[row] / temperature);
  for (int64_t k = lane; k < top_k.k; k += kWarp) {
    float& logit = logits[i * top_k.k + k];
    logit = gradient.of_support(top_k.logps[row * top_k.k + k], logit);
  }
}

/** A block per row: its gradHidden is added to. */
template <class T>
__global__ void __launch_bounds__(kThreads)
    support_grad_hidden_kernel(const T* weight, int64_t weight_stride, int64_t hidden_size, const int64_t* rows,
                               TopKTeacher top_k,
                               const float* gradients,  // [count, K]
                               float* grad_hidden,      // [N, H]
                               const DeviceResult* result) {
  if (has_fault(result)) return;
  const int64_t row = rows[blockIdx.x];
  for (int64_t h = threadIdx.x; h < hidden_size; h += kThreads) {
    double sum = 0;
    for (int64_t k = 0; k < top_k.k; k++) {
      const int64_t v = top_k.indices[row * top_k.k + k];
      sum += static_cast<double>(gradients[blockIdx.x * top_k.k + k]) * to_float(weight[v * weight_stride + h]);
    }
    float& to = grad_hidden[row * hidden_size + h];
    to = static_cast<float>(to + sum);
  }
}

/** A thread per column of the weight, which adds the rows in their order; the last column is the bias's. */
template <class T>
__global__ void __launch_bounds__(kThreads)
    support_grad_weight_kernel(const T* hidden, int64_t hidden_stride, int64_t hidden_size, const int64_t* rows,
                               int64_t count, TopKTeacher top_k,
                               const float* gradients,  // [count, K]
                               float* grad_weight,      // [V, H] or null
                               float* grad_bias,        // [V] or null
                               const DeviceResult* result) {
  const int64_t h = global_thread();
  if (has_fault(result) || h > hidden_size) return;
  for (int64_t i = 0; i < count; i++) {
    const float x = h < hidden_size ? to_float(hidden[rows[i] * hidden_stride + h]) : 1.0f;
    for (int64_t k = 0; k < top_k.k; k++) {
      const int64_t v = top_k.indices[rows[i] * top_k.k + k];
      const float g = gradients[i * top_k.k + k];
      if (h < hidden_size && grad_weight) grad_weight[v * hidden_size + h] += g * x;
      if (h == hidden_size && grad_bias) grad_bias[v] += g;
    }
  }
}

float* support_logits(LaunchContext& context, const Head& head, const CompactedRows& rows, const TopKTeacher& top_k) {
  float* const logits = context.scratch<float>(rows.count * top_k.k);
  with_type(head.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    context.launch("support_logits_kernel", support_logits_kernel<T>, rows.count * top_k.k, kThreads,
                   static_cast<const T*>(head.hidden.data), head.hidden.row_stride,
                   static_cast<const T*>(head.weight.data), head.weight.row_stride, static_cast<const T*>(head.bias),
                   head.hidden_size, rows.rows, top_k, logits, context.result());
  });
  return logits;
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

void support_forward(LaunchContext& context, const Head& head, const CompactedRows& rows, const TopKTeacher& top_k,
                     Divergence type, double beta, float* out, double* saved) {
  const float* const logits = support_logits(context, head, rows, top_k);
  context.launch("finish_support_kernel", finish_support_kernel, blocks_for(rows.count, kWarps), kThreads, logits,
                 rows.rows, rows.count, top_k, head.temperature, type, beta, out, saved, context.result());
}

void support_backward(LaunchContext& context, const Head& head, const CompactedRows& rows, const TopKTeacher& top_k,
                      Divergence type, double beta, const double* saved, const float* grad_divergence,
                      const HeadGradients& out) {
  float* const gradients = support_logits(context, head, rows, top_k);
  context.launch("support_logit_grads_kernel", support_logit_grads_kernel, blocks_for(rows.count, kWarps), kThreads,
                 gradients, rows.rows, rows.count, top_k, head.temperature, type, beta, saved, grad_divergence,
                 context.result());
  with_type(head.dtype, [&](auto* type_of) {
    using T = std::remove_pointer_t<decltype(type_of)>;
    if (out.hidden) {
      context.launch("support_grad_hidden_kernel", support_grad_hidden_kernel<T>, rows.count, kThreads,
                     static_cast<const T*>(head.weight.data), head.weight.row_stride, head.hidden_size, rows.rows,
                     top_k, gradients, out.hidden, context.result());
    }
    if (!out.weight && !out.bias) return;
    context.launch("support_grad_weight_kernel", support_grad_weight_kernel<T>,
                   blocks_for(head.hidden_size + 1, kThreads), kThreads, static_cast<const T*>(head.hidden.data),
                   head.hidden.row_stride, head.hidden_size, rows.rows, rows.count, top_k, gradients, out.weight,
                   out.bias, context.result());
  });
}

}  // namespace cuda
}  // namespace sweet
