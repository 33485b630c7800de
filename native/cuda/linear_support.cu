// Divergences of a linear head from a top-k teacher that is renormalised, see ../divergence.h: K products of a row
// forward, and gradients of the K rows of the weight that it has.
#include <type_traits>

#include "device.h"
#include "top_k.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

/** Element (row, column), of any type. */
__device__ inline float element(const Operand& matrix, int64_t row, int64_t column) {
  const int64_t i = row * matrix.row_stride + column * matrix.column_stride;
  switch (matrix.dtype) {
    case DType::float32:
      return static_cast<const float*>(matrix.data)[i];
    case DType::bfloat16:
      return to_float(static_cast<const __nv_bfloat16*>(matrix.data)[i]);
    case DType::float16:
      break;
  }
  return to_float(static_cast<const __half*>(matrix.data)[i]);
}

/** A block per row and entry of its support: the logit, or its tanh with a softcap. */
__global__ void __launch_bounds__(kThreads) support_logits_kernel(Head head,
                                                                  const int64_t* rows,  // [count]
                                                                  TopKTeacher top_k,
                                                                  float* logits,  // [count, K]
                                                                  const DeviceResult* result) {
  __shared__ double shared_sum[kWarps];
  if (has_fault(result)) return;
  const int64_t row = rows[blockIdx.x / top_k.k], v = top_k.indices[row * top_k.k + blockIdx.x % top_k.k];
  double sum = 0;
  for (int64_t h = threadIdx.x; h < head.hidden_size; h += kThreads) {
    sum += static_cast<double>(element(head.hidden, row, h)) * element(head.weight, v, h);
  }
  sum = block_sum(sum, shared_sum);
  if (threadIdx.x != 0) return;
  if (head.bias) sum += element({head.bias, head.bias_dtype, 1, 1}, v, 0);
  logits[blockIdx.x] = Softcap(head.softcap).apply(static_cast<float>(sum));
}

/** A warp per row; logits [count, K]. */
__global__ void __launch_bounds__(kThreads)
    finish_support_kernel(const float* logits, const int64_t* rows, int64_t count, TopKTeacher top_k,
                          double temperature, Divergence type, double beta, float* out, double* saved,
                          const DeviceResult* result) {
  const int64_t i = global_warp();
  if (has_fault(result) || i >= count) return;
  const RowDivergence of_row = warp_divergence(top_k, rows[i], Support<float>{logits + i * top_k.k, nullptr, Softcap()},
                                               nullptr, 0, temperature, type, beta, lane_of_thread());
  if (lane_of_thread() == 0) write_row(out, saved, rows[i], of_row);
}

/** A warp per row: the logits [count, K] become their gradients. */
__global__ void __launch_bounds__(kThreads)
    support_logit_grads_kernel(float* logits, const int64_t* rows, int64_t count, TopKTeacher top_k, double temperature,
                               Softcap cap, Divergence type, double beta, const double* saved,
                               const float* grad_divergence, const DeviceResult* result) {
  const int64_t i = global_warp();
  if (has_fault(result) || i >= count) return;
  const int64_t row = rows[i];
  const int lane = lane_of_thread();
  const SavedRow row_saved = saved_row(saved, row);
  const TopKGradient gradient(warp_probs(top_k, row, lane), false, row_saved, temperature, type, beta,
                              grad_divergence[row] / (temperature * cap.value()));
  for (int64_t k = lane; k < top_k.k; k += kWarp) {
    float& logit = logits[i * top_k.k + k];
    const float d = gradient.of_support(top_k.logps[row * top_k.k + k], logit);
    logit = static_cast<float>(d * cap.slope(logit));
  }
}

/** A block per row: its gradHidden is added to. */
__global__ void __launch_bounds__(kThreads)
    support_grad_hidden_kernel(Operand weight, int64_t hidden_size, const int64_t* rows, TopKTeacher top_k,
                               const float* gradients,  // [count, K]
                               float* grad_hidden,      // [N, H]
                               const DeviceResult* result) {
  if (has_fault(result)) return;
  const int64_t row = rows[blockIdx.x];
  for (int64_t h = threadIdx.x; h < hidden_size; h += kThreads) {
    double sum = 0;
    for (int64_t k = 0; k < top_k.k; k++) {
      const int64_t v = top_k.indices[row * top_k.k + k];
      sum += static_cast<double>(gradients[blockIdx.x * top_k.k + k]) * element(weight, v, h);
    }
    float& to = grad_hidden[row * hidden_size + h];
    to = static_cast<float>(to + sum);
  }
}

/** A thread per column of the weight, which adds the rows in their order; the last column is the bias's. */
__global__ void __launch_bounds__(kThreads)
    support_grad_weight_kernel(Operand hidden, int64_t hidden_size, const int64_t* rows, int64_t count,
                               TopKTeacher top_k,
                               const float* gradients,  // [count, K]
                               float* grad_weight,  // or null: element (v, h) at v * entry_stride + h * column_stride
                               int64_t entry_stride, int64_t column_stride,
                               float* grad_bias,  // [V] or null
                               const DeviceResult* result) {
  const int64_t h = global_thread();
  if (has_fault(result) || h > hidden_size) return;
  for (int64_t i = 0; i < count; i++) {
    const float x = h < hidden_size ? element(hidden, rows[i], h) : 1.0f;
    for (int64_t k = 0; k < top_k.k; k++) {
      const int64_t v = top_k.indices[rows[i] * top_k.k + k];
      const float g = gradients[i * top_k.k + k];
      if (h < hidden_size && grad_weight) grad_weight[v * entry_stride + h * column_stride] += g * x;
      if (h == hidden_size && grad_bias) grad_bias[v] += g;
    }
  }
}

float* support_logits(LaunchContext& context, const Head& head, const CompactedRows& rows, const TopKTeacher& top_k) {
  float* const logits = context.scratch<float>(rows.count * top_k.k);
  context.launch("support_logits_kernel", support_logits_kernel, rows.count * top_k.k, kThreads, head, rows.rows, top_k,
                 logits, context.result());
  return logits;
}

}  // namespace

void support_forward(LaunchContext& context, const Head& head, const CompactedRows& rows, const TopKTeacher& top_k,
                     Divergence type, double beta, float* out, double* saved) {
  const float* const logits = support_logits(context, head, rows, top_k);
  context.launch("finish_support_kernel", finish_support_kernel, blocks_for(rows.count, kWarps), kThreads, logits,
                 rows.rows, rows.count, top_k, kernel_temperature(head), type, beta, out, saved, context.result());
}

void support_backward(LaunchContext& context, const Head& head, const CompactedRows& rows, const TopKTeacher& top_k,
                      Divergence type, double beta, const double* saved, const float* grad_divergence,
                      const HeadGradients& out) {
  float* const gradients = support_logits(context, head, rows, top_k);
  context.launch("support_logit_grads_kernel", support_logit_grads_kernel, blocks_for(rows.count, kWarps), kThreads,
                 gradients, rows.rows, rows.count, top_k, kernel_temperature(head), Softcap(head.softcap), type, beta,
                 saved, grad_divergence, context.result());
  if (out.hidden) {
    context.launch("support_grad_hidden_kernel", support_grad_hidden_kernel, rows.count, kThreads, head.weight,
                   head.hidden_size, rows.rows, top_k, gradients, out.hidden, context.result());
  }
  if (!out.weight && !out.bias) return;
  context.launch("support_grad_weight_kernel", support_grad_weight_kernel, blocks_for(head.hidden_size + 1, kThreads),
                 kThreads, head.hidden, head.hidden_size, rows.rows, rows.count, top_k, gradients, out.weight,
                 grad_weight_index(head, 1, 0), grad_weight_index(head, 0, 1), out.bias, context.result());
}

}  // namespace cuda
}  // namespace sweet
