// Linear heads on the device. All pointers are to device memory.
#pragma once

#include <functional>

#include "logps.h"
#include "product.h"

namespace sweet {
namespace cuda {

struct RowGradient;

/** Whether D of a 16-bit head is multiplied as a sum of terms of its type. */
inline bool splits_gradients(const Head& head) {
  return head.precision == Precision::float32 && head.dtype != DType::float32;
}

/**
 * The power of two that brings the largest gradient of a float16 head's logits close to 2^14, where max_grad is that
 * gradient times the temperature. Most entries of a softmax are far below the largest, and float16 has nothing between
 * 0 and 6e-8.
 */
float grad_scale(const Head& head, float max_grad);

/** The passes of a head over its compacted rows, and the memory of one chunk of them. */
class LinearPass {
 public:
  /** chunk: rows computed at once; 0: as many as fit into the head's chunk_bytes. */
  LinearPass(LaunchContext& context, const Head& head, const int32_t* labels, const CompactedRows& rows,
             int64_t chunk = 0);

  // Memory of a chunk where the caller gives none. H = 4096, V = 151,936 in bfloat16 is 632,320 bytes a row, so 1664
  // rows. Not measured on a GPU: a larger chunk reads the weight less often, 2 H V bytes for each chunk's product.
  static constexpr int64_t kDefaultChunkBytes = 1 << 30;

  /** Rows of a chunk whose gradients are multiplied by multiply_gradients(). */
  static int64_t chunk_of(const Head& head, int64_t rows);

  /**
   * Rows that are not read get 0; their shard_stats stay as they are. With unscaled_hidden (or null), [N, H]: also the
   * gradients at the hidden states of the rows that are read, where those at their log-probs are 1.
   */
  void forward(const ForwardOut& out, float* unscaled_hidden = nullptr);

  /**
   * Both passes at once, where the gradients at the results of a row follow from these: after the forward pass of a
   * chunk compute(rows, count) enqueues what writes them.
   */
  using ComputeRows = std::function<void(const int64_t* rows, int64_t count)>;
  void forward_backward(const ForwardOut& out, const Upstream& upstream, const HeadGradients& gradients,
                        const ComputeRows& compute);

  /** After forward() the logits of a single chunk are not computed again. */
  void backward(const Upstream& upstream, const HeadGradients& out);

  /** [count, V], until another chunk is computed. */
  float* compute_logits(int64_t first, int64_t count);
  int64_t row_stride() const { return row_stride_; }

  /** The power of two by which gradients at the logits are multiplied, which stay within 64 times grad / temperature.
   */
  float grad_scale_of(const float* grad);

  /** Adds the products of the chunk's gradients, in float32 in place of its logits and `scale` times too large. */
  void multiply_gradients(int64_t first, int64_t count, float scale, bool add_weight, const HeadGradients& out);

  bool is_one_chunk() const { return rows_.count <= chunk_; }

 private:
  /** Calls finish(first, count) after each chunk, whose logits are still there. */
  void forward_chunks(const ForwardOut& out, const std::function<void(int64_t first, int64_t count)>& finish);
  void clear_gradients(const HeadGradients& out);
  void multiply_by(const void* grad, int64_t stride, int64_t count, float scale, bool first_term, bool add_weight,
                   float* grad_hidden, float* grad_weight);
  void multiply_terms(int64_t count, int terms, float scale, bool add_weight, float* grad_hidden, float* grad_weight);
  void backward_chunk(int64_t first, int64_t count, float scale, const Upstream& upstream, bool add_weight,
                      const HeadGradients& out);
  template <class T>
  void write_gradients(int64_t count, float scale, const RowGradient* gradients, bool has_slope, bool add_bias,
                       float* grad_bias);
  /** Calls use(first, count) for each chunk. */
  template <class Use>
  void for_each_chunk(Use use) const;
  /**
   * Calls use(weight, first, count) with the weight [count, H] of vocabulary entries in the head's type: once with that
   * of the caller or, where it has another type, for blocks of it that are widened.
   */
  using UseBlock = std::function<void(const Matrix& weight, int64_t first, int64_t count)>;
  void for_each_block(const UseBlock& use) const;

  LaunchContext& context_;
  const Head& head_;
  const int32_t* const labels_;  // [N] checked
  const CompactedRows rows_;
  const int64_t row_stride_;     // of the chunk's logits
  const int64_t block_;          // vocabulary entries whose weight is widened at once; 0: the weight is read as it is
  const int64_t chunk_;          // C, rows
  void* hidden_ = nullptr;       // [C, H], gathered
  float* logits_ = nullptr;      // [C, V], which become their gradient in place
  float* bias_ = nullptr;        // [V]
  float* weight_ = nullptr;      // [block, H] or [H, block], in the layout of the weight
  int64_t computed_first_ = -1;  // first row of the chunk whose logits are in logits_
};

template <class Use>
void LinearPass::for_each_chunk(Use use) const {
  for (int64_t first = 0; first < rows_.count && context_.ok(); first += chunk_) {
    use(first, chunk_ < rows_.count - first ? chunk_ : rows_.count - first);
  }
}

}  // namespace cuda
}  // namespace sweet
