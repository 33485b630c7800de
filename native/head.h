// The head that log-probs come from: rows of logits, or hidden states and a weight matrix, whose logits are never
// stored.
//
//   N rows, V vocabulary entries, H hidden size
//   z = s(logits) / temperature,  logits = hidden * weight^T + bias for a linear head
//   s(x) = softcap * tanh(x / softcap), or x without a softcap
#pragma once

#include <cstdint>

#include "dtype.h"
#include "layout.h"
#include "softcap.h"

namespace sweet {

/**
 * Of the gradients D of the logits in the products of a bfloat16 linear head's backward pass: float32, rounded to the
 * storage type as on a device, or whichever is faster on this CPU.
 */
enum class Precision : int32_t { fastest, float32, storage };

/** A matrix in memory: element (r, c) is data[r * row_stride + c * column_stride], strides in elements. */
struct Operand {
  const void* data;
  DType dtype;
  int64_t row_stride, column_stride;

  const void* at(int64_t row, int64_t column) const {
    return static_cast<const char*>(data) + (row * row_stride + column * column_stride) * bytes_of(dtype);
  }
};

/** Elements from the first to the last of a matrix [rows, columns]. */
inline int64_t operand_elements(const Operand& operand, int64_t rows, int64_t columns) {
  return rows > 0 && columns > 0 ? (rows - 1) * operand.row_stride + (columns - 1) * operand.column_stride + 1 : 0;
}

struct Head {
  // Of the logits. Of a linear head, the type of its products: that of hidden and weight, or float32 where they differ.
  DType dtype;
  int64_t rows, vocab_size;
  double temperature;
  double softcap;  // of the logits before the temperature; 0: none

  // Vocabulary-parallel: this head has the entries vocab_offset ... vocab_offset + vocab_size - 1 of total_vocab.
  // total_vocab 0: the head has the whole vocabulary.
  int64_t vocab_offset, total_vocab;

  const void* logits;  // [N, V], rows `row_stride` elements apart; null for a linear head
  int64_t row_stride;
  int64_t logits_length;  // of the array: padding after the last row may be there or not

  Operand hidden;    // [N, H], dense rows
  Operand weight;    // [V, H], dense rows, or the transpose of a dense [H, V]
  const void* bias;  // [V] or null
  DType bias_dtype;
  int64_t hidden_size;
  Precision precision;

  // CUDA, linear head: the most bytes of device memory for one chunk of rows; 0 leaves the choice to the device.
  int64_t chunk_bytes;
};

/** Elements from the first of the first row to the last of the last row. */
inline int64_t logits_elements(const Head& head) {
  return head.rows > 0 ? (head.rows - 1) * head.row_stride + head.vocab_size : 0;
}

/** Whether the weight is stored as [H, V]. Where V or H is 1, both layouts are the same. */
inline bool is_transposed(const Operand& weight) { return weight.column_stride != 1; }

/** Of the element of a vocabulary entry in the gradient of the weight, which is dense in the layout of the weight. */
inline int64_t grad_weight_index(const Head& head, int64_t entry, int64_t column) {
  return is_transposed(head.weight) ? column * head.vocab_size + entry : entry * head.hidden_size + column;
}

inline VocabShard vocab_shard(const Head& head) {
  return head.total_vocab > 0 ? VocabShard{head.vocab_offset, head.vocab_size, head.total_vocab}
                              : VocabShard{0, head.vocab_size, head.vocab_size};
}

/** z = x / temperature of the logits x as kernels take them, which are those of native/softcap.h with a softcap. */
SWEET_HOST_DEVICE inline double kernel_temperature(const Head& head) {
  return head.temperature / Softcap(head.softcap).value();
}

SWEET_HOST_DEVICE inline bool is_shard(const Head& head) { return head.total_vocab > head.vocab_size; }

/**
 * Whether what follows the entries of a row is padding, which a gradient has as 0. In rows of the whole vocabulary it
 * belongs to other shards.
 */
SWEET_HOST_DEVICE inline bool has_padding(const Head& head) {
  return head.row_stride > head.vocab_size && !(is_shard(head) && head.row_stride >= head.total_vocab);
}

struct LogpsOut {
  float *logps, *lse;  // [N]
  float* entropy;      // [N] or null, as the others
  int32_t* argmax = nullptr;
  float* sum_squared_probs = nullptr;
};

/**
 * Gradients at a head: of logits in the head's dtype (may be the logits themselves), the others in float32. Of a linear
 * head hidden is null where the hidden states are frozen, weight and bias where the weight is: they are not computed.
 */
struct HeadGradients {
  void* logits;                   // [N, V], with the padding of the logits, which becomes 0
  float *hidden, *weight, *bias;  // [N, H], [V, H] or [H, V] as the weight, [V] or null
  bool accumulate;                // add to hidden, weight and bias instead of overwriting them
};

}  // namespace sweet
