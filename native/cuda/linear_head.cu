// Log-probs of a linear head and their gradients. hidden [N, H], weight [V, H], bias [V]; g the gradient at a log-prob:
//
//   x = hidden * weight^T + bias                                       [N, V], then as in logits_head.cu
//   D_iv = g_i / temperature * (1[v = label_i] - e^(x_iv / temperature - lse_i))
//   dhidden = D * weight [N, H],  dweight = D^T * hidden [V, H],  dbias_v = sum_i D_iv [V]
//
// The logits of all rows are never stored: the rows that are read are gathered and computed in chunks of C, one after
// the other, so that sums over rows have one order. Of a chunk, the logits [C, V] are stored once, in float32. Backward
// D takes their place, rounded once to the head's type, for the two products that read it. With Precision::float32, D
// of a 16-bit head stays float32 and is multiplied as a sum of terms of the head's type, one product each. Where hidden
// and weight have different types, the head's is float32: hidden states are widened as they are gathered, the weight a
// block of entries at a time. A weight [H, V] is the transposed operand of the same products. Logits and
// softmax are not one kernel, since the products are cuBLASLt's: beside 2 C H V operations for each of three products,
// a chunk's logits are written and read once more each, 8 C V bytes.
#include <type_traits>
#include <vector>

#include "device.h"
#include "linear_head.h"
#include "product.h"
#include "reference.h"
#include "row_compaction.h"
#include "row_gradient.h"

namespace sweet {

reference::LogpsRow reference::linear_row(const double* hidden, const double* weight, const double* bias,
                                          int64_t vocab_size, int64_t hidden_size, int64_t label, double temperature,
                                          double g, const LinearGradients& grad) {
  std::vector<double> x(bias, bias + vocab_size), d(x.size());
  for (int64_t i = 0; i < vocab_size * hidden_size; i++) x[i / hidden_size] += hidden[i % hidden_size] * weight[i];
  const LogpsRow row = logits_row(x.data(), vocab_size, label, temperature, g, d.data());
  for (int64_t i = 0; i < vocab_size * hidden_size; i++) {
    grad.hidden[i % hidden_size] += d[i / hidden_size] * weight[i];
    grad.weight[i] += d[i / hidden_size] * hidden[i % hidden_size];
  }
  for (int64_t v = 0; v < vocab_size; v++) grad.bias[v] += d[v];
  return row;
}

namespace cuda {
namespace {

constexpr int kThreads = 256;          // every kernel has 32 registers at most: 2048 threads an SM
constexpr int64_t kRowAlignment = 64;  // elements: 256 bytes, the largest alignment that cuBLASLt distinguishes

// Rows of a chunk are a multiple of this, a multiple of the tile of rows of usual tensor-core kernels (64, 128), so
// that no tile is partly empty. Not measured on a GPU.
constexpr int64_t kTileRows = 128;

// Terms of D with Precision::float32: three of bfloat16 (8 bits each) or two of float16 (11) leave at most 2^-22 of it.
constexpr int terms_of(DType dtype) { return dtype == DType::bfloat16 ? 3 : 2; }

bool splits_gradients(const Head& head) { return head.precision == Precision::float32 && head.dtype != DType::float32; }

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

int64_t chunk_bytes(const Head& head) { return head.chunk_bytes > 0 ? head.chunk_bytes : kChunkBytes; }

// Of a chunk's memory, the part for widened weight: 8192 entries of H = 4096. Not measured on a GPU.
constexpr int64_t kWeightPart = 8;

/** Vocabulary entries whose weight is widened at once; 0 where none is. */
int64_t entries_per_block(const Head& head) {
  if (head.weight.dtype == head.dtype) return 0;
  const int64_t most = chunk_bytes(head) / kWeightPart / (4 * head.hidden_size);
  const int64_t block = most < kRowAlignment ? kRowAlignment : most - most % kRowAlignment;
  return block < head.vocab_size ? block : head.vocab_size;
}

/** C: chunks are as equal as they can be, so that the last one is not small. */
int64_t rows_per_chunk(const Head& head, int64_t row_stride, int64_t rows, bool with_term) {
  const int64_t bytes = chunk_bytes(head) - 4 * entries_per_block(head) * head.hidden_size;
  // A row's logits, a term of their gradients, hidden states and their gradient.
  const int64_t of_logits = with_term ? 4 + bytes_of(head.dtype) : 4;
  int64_t most = bytes / (of_logits * row_stride + head.hidden_size * (bytes_of(head.dtype) + 4));
  if (most > kTileRows) most -= most % kTileRows;
  if (most < 1) most = 1;
  if (rows <= most) return rows;
  const int64_t even = blocks_for(rows, blocks_for(rows, most));
  const int64_t whole_tiles = round_up(even, kTileRows);
  return whole_tiles <= most ? whole_tiles : even;
}

template <class T>
__global__ void __launch_bounds__(kThreads) widen_kernel(const T* from,  // [count]
                                                         int64_t count,
                                                         float* to,  // [count]
                                                         const DeviceResult* result) {
  const int64_t i = global_thread();
  if (!has_fault(result) && i < count) to[i] = to_float(from[i]);
}

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

/**
 * The power of two that brings the largest gradient of a float16 head's logits close to 2^14. Most entries of a softmax
 * are far below the largest, and float16 has nothing between 0 and 6e-8.
 */
float grad_scale(const Head& head, float max_grad) {
  if (head.dtype != DType::float16) return 1;
  const double gradient = max_grad / head.temperature;
  if (!(gradient > 0)) return 1;
  const int exponent = 14 - (std::ilogb(gradient) + 1);  // below 2^14: float16 goes to 2^16
  return std::ldexp(1.0f, exponent < -100 ? -100 : exponent > 100 ? 100 : exponent);
}

float grad_scale(LaunchContext& context, const Head& head, const Upstream& upstream, const CompactedRows& rows) {
  if (head.dtype != DType::float16) return 1;
  context.launch("clear_max_grad_kernel", clear_max_grad_kernel, 1, 1, context.result());
  context.launch("max_grad_kernel", max_grad_kernel, blocks_for(rows.count, kThreads), kThreads, upstream, rows.rows,
                 rows.count, context.result());
  const DeviceResult result = context.wait();
  float max_grad = 0;
  if (context.ok()) memcpy(&max_grad, &result.max_grad, sizeof(max_grad));
  return grad_scale(head, max_grad);
}

}  // namespace

int64_t LinearPass::chunk_of(const Head& head, int64_t rows) {
  return rows_per_chunk(head, round_up(head.vocab_size, kRowAlignment), rows, head.dtype != DType::float32);
}

LinearPass::LinearPass(LaunchContext& context, const Head& head, const int32_t* labels, const CompactedRows& rows,
                       int64_t chunk)
    : context_(context),
      head_(head),
      labels_(labels),
      rows_(rows),
      row_stride_(round_up(head.vocab_size, kRowAlignment)),
      block_(entries_per_block(head)),
      chunk_(chunk > 0 ? chunk : rows_per_chunk(head, row_stride_, rows.count, splits_gradients(head))) {
  hidden_ = context.scratch<char>(chunk_ * head.hidden_size * bytes_of(head.dtype));
  logits_ = context.scratch<float>(chunk_ * row_stride_);
  if (block_ > 0) weight_ = context.scratch<float>(block_ * head.hidden_size);
  if (!head.bias) return;
  bias_ = context.scratch<float>(head.vocab_size);
  with_type(head.bias_dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    context.launch("widen_kernel", widen_kernel<T>, blocks_for(head.vocab_size, kThreads), kThreads,
                   static_cast<const T*>(head.bias), head.vocab_size, bias_, context.result());
  });
}

template <class Use>
void LinearPass::for_each_chunk(Use use) const {
  for (int64_t first = 0; first < rows_.count && context_.ok(); first += chunk_) {
    use(first, chunk_ < rows_.count - first ? chunk_ : rows_.count - first);
  }
}

template <class Use>
void LinearPass::for_each_block(Use use) const {
  const Operand& weight = head_.weight;
  const bool transposed = is_transposed(weight);
  const int64_t stride = transposed ? weight.column_stride : weight.row_stride;
  if (block_ == 0) return use(Matrix{weight.data, stride, transposed}, 0, head_.vocab_size);
  for (int64_t first = 0; first < head_.vocab_size && context_.ok(); first += block_) {
    const int64_t count = block_ < head_.vocab_size - first ? block_ : head_.vocab_size - first;
    const int64_t rows = transposed ? head_.hidden_size : count, columns = transposed ? count : head_.hidden_size;
    widen_rows(context_, weight.dtype, weight.at(first, 0), stride, rows, columns, weight_);
    use(Matrix{weight_, columns, transposed}, first, count);
  }
}

float* LinearPass::compute_logits(int64_t first, int64_t count) {
  if (computed_first_ == first) return logits_;
  computed_first_ = first;
  const int64_t hidden_size = head_.hidden_size;
  gather_rows(context_, head_.hidden, rows_.rows + first, count, hidden_size, head_.dtype, hidden_);
  const Matrix hidden{hidden_, hidden_size, false};
  for_each_block([&](Matrix weight, int64_t entry, int64_t entries) {
    weight.transposed = !weight.transposed;
    multiply(context_, {head_.dtype, count, entries, hidden_size, hidden, weight, 1, false, logits_ + entry,
                        row_stride_, bias_ ? bias_ + entry : nullptr});
  });
  return logits_;
}

void LinearPass::forward(const ForwardOut& out, float* unscaled_hidden) {
  const int64_t n = head_.rows;
  if (out.logps) context_.set_zero(out.logps, 4 * n);
  if (out.lse) context_.set_zero(out.lse, 8 * n);
  if (out.lse32) context_.set_zero(out.lse32, 4 * n);
  if (out.entropy) context_.set_zero(out.entropy, 4 * n);
  if (out.argmax) context_.set_bytes(out.argmax, 0xff, 4 * n);  // -1 each
  if (out.sum_squared_probs) context_.set_zero(out.sum_squared_probs, 4 * n);
  const LaunchContext::ScratchScope scope(context_);
  int32_t* const labels = context_.scratch<int32_t>(chunk_);
  const ForwardOut chunk_out{context_.scratch<float>(chunk_),
                             context_.scratch<double>(chunk_),
                             nullptr,
                             out.entropy ? context_.scratch<float>(chunk_) : nullptr,
                             false,
                             out.argmax ? context_.scratch<int32_t>(chunk_) : nullptr,
                             out.sum_squared_probs ? context_.scratch<float>(chunk_) : nullptr,
                             out.shard_stats ? context_.scratch<double>(chunk_ * out.shard.row_elements()) : nullptr,
                             out.shard};
  for_each_chunk([&](int64_t first, int64_t count) {
    const LaunchContext::ScratchScope chunk_scope(context_);
    const int64_t* const rows = rows_.rows + first;
    compute_logits(first, count);
    Head chunk_head = head_;
    chunk_head.dtype = DType::float32;
    chunk_head.rows = count;
    chunk_head.logits = logits_;
    chunk_head.row_stride = row_stride_;
    gather_labels(context_, labels_, rows, count, labels);
    logits_forward(context_, chunk_head, labels, chunk_out);
    scatter_results(context_, chunk_out, rows, count, out);
    if (!unscaled_hidden) return;
    const HeadGradients unscaled{nullptr, unscaled_hidden, nullptr, nullptr, false};
    Upstream upstream{out.lse, nullptr, nullptr};
    upstream.unit_grad_logps = true;
    backward_chunk(first, count, grad_scale(head_, 1), upstream, false, unscaled);
  });
}

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

void LinearPass::backward(const Upstream& upstream, const HeadGradients& out) {
  const int64_t hidden_size = head_.hidden_size, vocab_size = head_.vocab_size;
  const float scale = grad_scale(context_, head_, upstream, rows_);
  if (!out.accumulate && out.hidden) context_.set_zero(out.hidden, 4 * head_.rows * hidden_size);
  if (!out.accumulate && rows_.count == 0) {
    if (out.weight) context_.set_zero(out.weight, 4 * vocab_size * hidden_size);
    if (out.bias) context_.set_zero(out.bias, 4 * vocab_size);
  }
  for_each_chunk([&](int64_t first, int64_t count) {
    backward_chunk(first, count, scale, upstream, out.accumulate || first > 0, out);
  });
}

}  // namespace cuda
}  // namespace sweet
