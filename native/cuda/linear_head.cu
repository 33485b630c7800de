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
#include <algorithm>
#include <type_traits>
#include <vector>

#include "device.h"
#include "linear_head.h"
#include "product.h"
#include "reference.h"
#include "row_compaction.h"

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

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

int64_t chunk_bytes(const Head& head) {
  return head.chunk_bytes > 0 ? head.chunk_bytes : LinearPass::kDefaultChunkBytes;
}

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

void LinearPass::for_each_block(const UseBlock& use) const {
  const Operand& weight = head_.weight;
  const bool transposed = is_transposed(weight);
  // A [H, 1] weight has strides 1 and 1. cuBLASLt refuses rows that overlap, even where there is one.
  const int64_t stride = transposed ? weight.column_stride : std::max(weight.row_stride, head_.hidden_size);
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
  const HeadGradients unscaled{nullptr, unscaled_hidden, nullptr, nullptr, false};
  Upstream upstream{out.lse, nullptr, nullptr};
  upstream.unit_grad_logps = true;
  forward_chunks(out, [&](int64_t first, int64_t count) {
    if (unscaled_hidden) backward_chunk(first, count, grad_scale(head_, 1), upstream, false, unscaled);
  });
}

void LinearPass::forward_chunks(const ForwardOut& out,
                                const std::function<void(int64_t first, int64_t count)>& finish) {
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
    finish(first, count);
  });
}

}  // namespace cuda
}  // namespace sweet
