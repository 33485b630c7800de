// The gradients of a linear head on the device: the formulas are those of linear_head.cu. Of a chunk, D takes the place
// of the logits, rounded once to the head's type or, with Precision::float32, taken apart into terms of it; then two
// products read it.
#include "device.h"
#include "linear_head.h"
#include "row_compaction.h"
#include "row_gradient.h"

namespace sweet {
namespace cuda {

float grad_scale(const Head& head, float max_grad) {
  if (head.dtype != DType::float16) return 1;
  const double gradient = max_grad / head.temperature;
  if (!(gradient > 0)) return 1;
  const int exponent = 14 - (std::ilogb(gradient) + 1);  // below 2^14: float16 goes to 2^16
  return std::ldexp(1.0f, exponent < -100 ? -100 : exponent > 100 ? 100 : exponent);
}

namespace {

constexpr int kThreads = 256;  // every kernel has 32 registers at most: 2048 threads an SM

// Terms of D with Precision::float32: three of bfloat16 (8 bits each) or two of float16 (11) leave at most 2^-22 of it.
constexpr int terms_of(DType dtype) { return dtype == DType::bfloat16 ? 3 : 2; }

/** The largest finite bound of |D| * temperature: p_v |log p_v| is at most 1 / e. */
__global__ void __launch_bounds__(kThreads) max_grad_kernel(Upstream upstream,    // [N]
                                                            const int64_t* rows,  // [count]
                                                            int64_t count, DeviceResult* result) {
  const int64_t i = global_thread();
  if (has_fault(result) || i >= count) return;
  const UpstreamRow row = upstream.row(rows[i], 1);
  const float g = static_cast<float>(fabs(row.grad_logp) + fabs(row.grad_lse) +
                                     fabs(row.grad_entropy) * (fabs(row.entropy) + 0.37));
  unsigned bits = 0;
  memcpy(&bits, &g, sizeof(bits));
  if (g < INFINITY) atomicMax(&result->max_grad, bits);
}

__global__ void clear_max_grad_kernel(DeviceResult* result) { result->max_grad = 0; }

/** A thread per row of the chunk. */
__global__ void __launch_bounds__(kThreads) prepare_chunk_kernel(const float* logits,  // [C, V]
                                                                 int64_t row_stride,
                                                                 const int32_t* labels,  // [N] checked
                                                                 const int64_t* rows,    // [C]
                                                                 int64_t count, double temperature, Softcap cap,
                                                                 Upstream upstream,  // [N]
                                                                 float scale,
                                                                 RowGradient* gradients,  // [C]
                                                                 const DeviceResult* result) {
  const int64_t i = global_thread();
  if (has_fault(result) || i >= count) return;
  const int64_t row = rows[i];
  gradients[i] = row_gradient(logits + i * row_stride, labels[row], upstream.lse_of(row), upstream.rounded_lse(),
                              temperature / cap.value(), cap, upstream.row(row, temperature / scale));
}

/**
 * A block turns a row of float32 logits into its gradient as T, which starts at the same address. Where T is narrower,
 * it overwrites logits that were read before: all threads read a tile before any of it is written. A thread has two
 * vectors of logits, which become one of a 16-bit T.
 */
template <class T, bool kSlope, bool kCapped>
__global__ void __launch_bounds__(kThreads)
    grad_chunk_kernel(float* logits,  // [C, V], then [C, V] of T
                      int64_t vocab_size, int64_t row_stride,
                      const RowGradient* gradients,  // [C]
                      float scale_log2, Softcap cap, const DeviceResult* result) {
  if (has_fault(result)) return;
  constexpr int size = Vector<float>::kSize, vectors = 2, per_thread = size * vectors;
  const RowGradient row = gradients[blockIdx.x];
  const float* const x = logits + blockIdx.x * row_stride;
  T* const grad = reinterpret_cast<T*>(logits + blockIdx.x * row_stride);
  for (int64_t first = 0; first < vocab_size; first += kThreads * per_thread) {
    const int64_t v = first + threadIdx.x * per_thread;
    const int64_t left = v < vocab_size ? vocab_size - v : 0;
    float logit[per_thread];
#pragma unroll
    for (int k = 0; k < vectors; k++) {
      if (left >= per_thread) {
        const Vector<float> vector = load(x + v + k * size);
        memcpy(&logit[k * size], &vector, sizeof(vector));
      } else {
#pragma unroll
        for (int j = k * size; j < (k + 1) * size; j++) logit[j] = j < left ? x[v + j] : 0.0f;
      }
    }
    __syncthreads();
    T entries[per_thread];
#pragma unroll
    for (int j = 0; j < per_thread; j++) {
      const float g = kCapped ? row.at_capped<kSlope>(logit[j], scale_log2, cap) : row.at<kSlope>(logit[j], scale_log2);
      from_float(v + j == row.label ? row.label_grad : g, &entries[j]);
    }
    if (left >= per_thread) {
#pragma unroll
      for (int j = 0; j < per_thread; j += Vector<T>::kSize) {
        Vector<T> vector;
        memcpy(&vector, &entries[j], sizeof(vector));
        store(vector, grad + v + j);
      }
    } else {
#pragma unroll
      for (int j = 0; j < per_thread; j++) {
        if (j < left) grad[v + j] = entries[j];
      }
    }
  }
}

/** A thread per element: the next term of D, which the rest of D goes without. */
template <class T>
__global__ void __launch_bounds__(kThreads) take_term_kernel(float* grad,  // [count]
                                                             int64_t count,
                                                             T* term,  // [count]
                                                             const DeviceResult* result) {
  const int64_t i = global_thread();
  if (has_fault(result) || i >= count) return;
  from_float(grad[i], &term[i]);
  grad[i] -= to_float(term[i]);
}

/** A thread per vocabulary entry, which adds its gradients in the order of the rows. */
template <class T>
__global__ void __launch_bounds__(kThreads)
    grad_bias_kernel(const T* grad,  // [C, V]
                     int64_t row_stride, int64_t rows, int64_t vocab_size, float alpha, bool add,
                     float* grad_bias,  // [V]
                     const DeviceResult* result) {
  const int64_t v = global_thread();
  if (has_fault(result) || v >= vocab_size) return;
  double sum = 0;
  for (int64_t i = 0; i < rows; i++) sum += to_float(grad[i * row_stride + v]);
  sum *= alpha;
  grad_bias[v] = static_cast<float>(add ? grad_bias[v] + sum : sum);
}

float grad_scale(LaunchContext& context, const Head& head, const Upstream& upstream, const CompactedRows& rows) {
  if (head.dtype != DType::float16) return 1;
  context.launch("clear_max_grad_kernel", clear_max_grad_kernel, 1, 1, context.result());
  context.launch("max_grad_kernel", max_grad_kernel, blocks_for(rows.count, kThreads), kThreads, upstream, rows.rows,
                 rows.count, context.result());
  const DeviceResult result = context.wait();
  float max_grad = 0;
  if (context.ok()) memcpy(&max_grad, &result.max_grad, sizeof(max_grad));
  return cuda::grad_scale(head, max_grad);
}

}  // namespace

void LinearPass::backward_chunk(int64_t first, int64_t count, float scale, const Upstream& upstream, bool add_weight,
                                const HeadGradients& out) {
  const LaunchContext::ScratchScope scope(context_);
  const int64_t* const rows = rows_.rows + first;
  const int64_t hidden_size = head_.hidden_size, vocab_size = head_.vocab_size;
  RowGradient* const gradients = context_.scratch<RowGradient>(count);
  float* const grad_hidden = out.hidden ? context_.scratch<float>(count * hidden_size) : nullptr;
  compute_logits(first, count);
  computed_first_ = -1;  // overwritten below
  context_.launch("prepare_chunk_kernel", prepare_chunk_kernel, blocks_for(count, kThreads), kThreads, logits_,
                  row_stride_, labels_, rows, count, head_.temperature, Softcap(head_.softcap), upstream, scale,
                  gradients, context_.result());
  if (!is_shard(head_)) {
    context_.launch("confident_labels_kernel", confident_labels_kernel<float, kThreads>, count, kThreads, logits_,
                    vocab_size, row_stride_, upstream, rows, head_.temperature, scale, Softcap(head_.softcap),
                    gradients, context_.result());
  }
  const bool has_slope = upstream.grad_entropy != nullptr;
  with_type(head_.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (!splits_gradients(head_)) {
      write_gradients<T>(count, scale, gradients, has_slope, add_weight, out.bias);
      const int64_t stride = row_stride_ * static_cast<int64_t>(sizeof(float) / sizeof(T));
      return multiply_by(logits_, stride, count, scale, true, add_weight, grad_hidden, out.weight);
    }
    write_gradients<float>(count, scale, gradients, has_slope, add_weight, out.bias);
    multiply_terms(count, terms_of(head_.dtype), scale, add_weight, grad_hidden, out.weight);
  });
  if (grad_hidden) scatter_rows(context_, grad_hidden, rows, count, hidden_size, out.accumulate, out.hidden);
}

/** The products of D or of a term of it, `grad` in the head's type. */
void LinearPass::multiply_by(const void* grad, int64_t stride, int64_t count, float scale, bool first_term,
                             bool add_weight, float* grad_hidden, float* grad_weight) {
  const int64_t hidden_size = head_.hidden_size, vocab_size = head_.vocab_size;
  const DType dtype = head_.dtype;
  if (grad_hidden) {
    for_each_block([&](const Matrix& weight, int64_t entry, int64_t entries) {
      const Matrix of_entries{static_cast<const char*>(grad) + entry * bytes_of(dtype), stride, false};
      multiply(context_, {dtype, count, hidden_size, entries, of_entries, weight, 1 / scale, !first_term || entry > 0,
                          grad_hidden, hidden_size, nullptr});
    });
  }
  if (!grad_weight) return;
  const bool add = add_weight || !first_term, transposed = is_transposed(head_.weight);
  const Matrix by_entry{grad, stride, !transposed}, by_column{hidden_, hidden_size, transposed};
  multiply(context_, {dtype, transposed ? hidden_size : vocab_size, transposed ? vocab_size : hidden_size, count,
                      transposed ? by_column : by_entry, transposed ? by_entry : by_column, 1 / scale, add, grad_weight,
                      transposed ? vocab_size : hidden_size, nullptr});
}

/** The products of D, which is float32, as a sum of so many terms of the head's type. */
void LinearPass::multiply_terms(int64_t count, int terms, float scale, bool add_weight, float* grad_hidden,
                                float* grad_weight) {
  with_type(head_.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const int64_t size = count * row_stride_;
    T* const term = context_.scratch<T>(size);
    for (int k = 0; k < terms; k++) {
      context_.launch("take_term_kernel", take_term_kernel<T>, blocks_for(size, kThreads), kThreads, logits_, size,
                      term, context_.result());
      multiply_by(term, row_stride_, count, scale, k == 0, add_weight, grad_hidden, grad_weight);
    }
  });
}

float LinearPass::grad_scale_of(const float* grad) {
  return grad_scale(context_, head_, Upstream{nullptr, nullptr, grad}, rows_) / 64;
}

void LinearPass::multiply_gradients(int64_t first, int64_t count, float scale, bool add_weight,
                                    const HeadGradients& out) {
  const LaunchContext::ScratchScope scope(context_);
  const int64_t hidden_size = head_.hidden_size, vocab_size = head_.vocab_size;
  float* const grad_hidden = out.hidden ? context_.scratch<float>(count * hidden_size) : nullptr;
  computed_first_ = -1;
  if (out.bias) {
    context_.launch("grad_bias_kernel", grad_bias_kernel<float>, blocks_for(vocab_size, kThreads), kThreads,
                    static_cast<const float*>(logits_), row_stride_, count, vocab_size, 1 / scale, add_weight, out.bias,
                    context_.result());
  }
  const int terms = splits_gradients(head_) ? terms_of(head_.dtype) : 1;
  head_.dtype == DType::float32
      ? multiply_by(logits_, row_stride_, count, scale, true, add_weight, grad_hidden, out.weight)
      : multiply_terms(count, terms, scale, add_weight, grad_hidden, out.weight);
  if (!grad_hidden) return;
  scatter_rows(context_, grad_hidden, rows_.rows + first, count, hidden_size, out.accumulate, out.hidden);
}

/** D as T in place of the chunk's logits, and its sums over the rows. */
template <class T>
void LinearPass::write_gradients(int64_t count, float scale, const RowGradient* gradients, bool has_slope,
                                 bool add_bias, float* grad_bias) {
  const int64_t stride = row_stride_ * static_cast<int64_t>(sizeof(float) / sizeof(T));
  const Softcap cap(head_.softcap);
  const auto sloped = cap.is_on() ? grad_chunk_kernel<T, true, true> : grad_chunk_kernel<T, true, false>;
  const auto plain = cap.is_on() ? grad_chunk_kernel<T, false, true> : grad_chunk_kernel<T, false, false>;
  context_.launch("grad_chunk_kernel", has_slope ? sloped : plain, count, kThreads, logits_, head_.vocab_size,
                  row_stride_, gradients, log2_scale(kernel_temperature(head_)), cap, context_.result());
  if (!grad_bias) return;
  context_.launch("grad_bias_kernel", grad_bias_kernel<T>, blocks_for(head_.vocab_size, kThreads), kThreads,
                  reinterpret_cast<const T*>(logits_), stride, count, head_.vocab_size, 1 / scale, add_bias, grad_bias,
                  context_.result());
}

void LinearPass::clear_gradients(const HeadGradients& out) {
  const int64_t hidden_size = head_.hidden_size, vocab_size = head_.vocab_size;
  if (out.accumulate) return;
  if (out.hidden) context_.set_zero(out.hidden, 4 * head_.rows * hidden_size);
  if (rows_.count > 0) return;
  if (out.weight) context_.set_zero(out.weight, 4 * vocab_size * hidden_size);
  if (out.bias) context_.set_zero(out.bias, 4 * vocab_size);
}

void LinearPass::backward(const Upstream& upstream, const HeadGradients& out) {
  const float scale = grad_scale(context_, head_, upstream, rows_);
  clear_gradients(out);
  for_each_chunk([&](int64_t first, int64_t count) {
    backward_chunk(first, count, scale, upstream, out.accumulate || first > 0, out);
  });
}

void LinearPass::forward_backward(const ForwardOut& out, const Upstream& upstream, const HeadGradients& gradients,
                                  const ComputeRows& compute) {
  clear_gradients(gradients);
  forward_chunks(out, [&](int64_t first, int64_t count) {
    const CompactedRows chunk{rows_.rows + first, count};
    compute(chunk.rows, count);
    const float scale = grad_scale(context_, head_, upstream, chunk);
    backward_chunk(first, count, scale, upstream, gradients.accumulate || first > 0, gradients);
  });
}

}  // namespace cuda
}  // namespace sweet
