// Tiles of logits of a linear head: what the forward pass, the backward pass and the one-pass update share. A tile has
// the logits x[entries][tokens], before the temperature, of up to kTileEntries vocabulary entries and a chunk of
// tokens; in the backward pass they become D:
//
//   x_vi = bias_v + sum_k weight_vk hidden_ik, or its tanh with a softcap (native/softcap.h)
//   D_vi = g_i * (1[v = label_i] - e^(x_vi / temperature - lse_i)) / temperature
//   grad_hidden_ik (+)= sum_v D_vi weight_vk,  grad_weight_vk (+)= sum_i D_vi hidden_ik,  grad_bias_v (+)= sum_i D_vi
//
// Of a weight [H, V], the products take the transposed operands, and grad_weight [H, V] is hidden^T * D^T. The sums and
// their order are those of [V, H].
//
// hidden [tokens, H], weight [V, H], bias [V], g, label and lse [tokens]
#pragma once

#include "../../head.h"
#include "../../scratch.h"
#include "../kernels.h"
#include "../logps.h"

namespace sweet::reference {

/** x [entries, tokens] of hidden [tokens, H], weight [entries, H] and bias [entries]. */
static inline void tile_logits(const float* hidden, const float* weight, const float* bias, int64_t tokens,
                               int64_t entries, int64_t hidden_size, double* x) {
  for (int64_t v = 0; v < entries; v++) {
    for (int64_t i = 0; i < tokens; i++) {
      double sum = bias[v];
      for (int64_t k = 0; k < hidden_size; k++) {
        sum += static_cast<double>(weight[v * hidden_size + k]) * hidden[i * hidden_size + k];
      }
      x[v * tokens + i] = sum;
    }
  }
}

/** x becomes D. */
static inline void logit_gradients(double* x, const int32_t* labels, const double* lse, const float* g, int64_t tokens,
                                   int64_t entries, double temperature) {
  for (int64_t v = 0; v < entries; v++) {
    for (int64_t i = 0; i < tokens; i++) {
      double& x_vi = x[v * tokens + i];
      x_vi = g[i] * ((v == labels[i] ? 1 : 0) - ::exp(x_vi / temperature - lse[i])) / temperature;
    }
  }
}

}  // namespace sweet::reference

namespace sweet {

// A multiple of kTileRows of every instruction set, and even. Zen 5, 1024 tokens, H 512, V 8192, float32 (bfloat16): 48
// takes 1.03 (1.06) of the time forward and 1.07 (1.04) backward, 192 1.01 (0.99) and 0.96 (0.98).
constexpr int64_t kTileEntries = 96;

/** Row compaction: the rows whose logits are read, in their order. */
class CompactRows {
 public:
  CompactRows(const Head& head, const int32_t* labels, bool skip_ignored);

  bool ok() const { return rows_.ok(); }
  int64_t count() const { return count_; }
  const int64_t* rows() const { return rows_.get(); }

 private:
  Scratch<int64_t> rows_;
  int64_t count_ = 0;
};

/**
 * A chunk of tokens, packed for the products, and scratch memory for every worker. A packed element of 32 bits is a
 * float32, or a pair of bfloat16 where the CPU multiplies those; other 16-bit storage is widened.
 */
class Tiles {
 public:
  using Element = uint32_t;

  /** For chunks of up to `tokens`; multiply() forms the gradients that are not null in `gradients`, null: none. */
  Tiles(const Head& head, int64_t tokens, int workers, const HeadGradients* gradients);

  bool ok() const;
  const Kernels& kernels() const { return kernels_; }

  /** Gathers and packs the hidden states of these rows: the chunk. */
  void gather(const int64_t* rows, int64_t count);

  /** The weight of a tile: entries first ... first + count - 1, [count, row_elements], at these strides. */
  struct WeightRows {
    int64_t first, count;
    const Element* elements;
    int64_t row_stride, column_stride;
  };

  /** Packed in the worker's scratch, unless the weight itself has the packed layout. */
  WeightRows weight_rows(int64_t first, int worker);

  /** The tile of these entries in memory of tile_size() elements. */
  Tile tile(const WeightRows& weight, float* x) const { return {x, row_stride_, weight.count, count_}; }
  int64_t tile_size() const { return kTileEntries * row_stride_; }

  /**
   * The logits x in `to` or, if that is null, in the worker's scratch: the same bits in every pass. With a softcap they
   * are t of native/softcap.h; `use` is called with x before.
   */
  template <class Use>
  Tile logits(const WeightRows& weight, int worker, float* to, Use use) {
    const Tile x = uncapped_logits(weight, worker, to);
    use(x);
    apply_softcap(x);
    return x;
  }
  Tile logits(const WeightRows& weight, int worker, float* to) {
    return logits(weight, worker, to, [](const Tile&) {});
  }

  /**
   * grad_hidden[count, H] (+)= tile^T * weight,  grad_weight (+)= tile * hidden, unless null; grad_weight is that of
   * the tile's first entry, in the layout of the weight.
   */
  void multiply(const Tile& tile, const WeightRows& weight, int worker, float* grad_hidden, bool add_hidden,
                float* grad_weight, bool add_weight);

 private:
  Tile uncapped_logits(const WeightRows& weight, int worker, float* to);
  void apply_softcap(const Tile& tile) const;
  int64_t packed_size(int64_t numbers) const { return pairs_ ? (numbers + 1) / 2 : numbers; }
  int64_t columns_size(int64_t rows, int64_t panel) const;
  void product(const Product& product) const { pairs_ ? pairs_->multiply(product) : kernels_.multiply(product); }
  void copy_row(const Operand& matrix, int64_t row, Element* to) const;
  void copy_columns(int64_t first, int64_t count, Element* to) const;
  void pack_weight(const WeightRows& weight, int64_t panel, Element* packed) const;
  void pack_columns(const Element* rows, int64_t count, int64_t panel, int64_t size, Element* packed) const;
  void multiply_transposed(const void* tile, int64_t entry_stride, int64_t entries, int worker, float* grad_weight,
                           bool add);

  const Head& head_;
  const Kernels& kernels_;
  const Bf16PairKernels* const pairs_;
  const bool transposed_;                            // the weight is [H, V]
  const bool grad_hidden_, grad_weight_;             // what multiply() forms
  const bool rounds_;                                // D is rounded to bfloat16 and then multiplied as float32
  const int64_t panel_, row_elements_, row_stride_;  // columns of a panel; elements of H numbers; row stride of a tile
  int64_t count_ = 0;
  Scratch<Element> rows_;                     // [padded tokens, row_elements] hidden states
  Scratch<Element> hidden_;                   // panels of [row_elements, panel tokens]
  Scratch<Element> hidden_columns_;           // panels of [packed tokens, panel columns], [H, V]: kTileEntries columns
  Scratch<Element> weight_, weight_columns_;  // per worker: the weight of a tile, and panels as above
  Scratch<float> tile_;                       // per worker: [kTileEntries, row_stride]
  Scratch<Element> bf16_tile_;                // per worker: the two outputs of narrow_tile
  Scratch<Element> tile_entries_;             // per worker, [H, V]: panels of [packed tokens, panel entries] of a tile
};

/** t of tiles of capped logits (native/softcap.h), one per worker, while D takes their place. Nothing without a
 * softcap. */
class CappedTiles {
 public:
  CappedTiles(const Head& head, int64_t tokens, int workers);

  bool ok() const { return t_.ok(); }
  /** Before D takes the tile's place. */
  void keep(const Tile& tile, int worker);
  /** D becomes that at the logits: it is multiplied by 1 - t^2 of the tile that was kept. */
  void times_slope(const Tile& tile, int worker, const Kernels& kernels) const;

 private:
  const int64_t size_;  // of a tile; 0 without a softcap
  Scratch<float> t_;
};

/** D of a chunk of tokens. */
class LogitGradients {
 public:
  LogitGradients(const Head& head, int64_t tokens, int workers);

  bool ok() const {
    return label_logits_.ok() && labels_.ok() && lse_.ok() && upstream_.ok() && max_.ok() && factor_.ok() &&
           slope_.ok() && confident_.ok() && capped_.ok();
  }
  void gather(const int64_t* rows, int64_t count, const int32_t* labels, const Upstream& upstream);

  /**
   * Replaces the logits of the entries from `first` on by D. With `other_sums` [tokens], to which the entries but the
   * label's are added, a confident token (LabelGradient of softmax.h) has 0 at its label.
   */
  void replace(const Tile& tile, int64_t first, int worker, const Kernels& kernels, double* other_sums);

  /** Whether replace() needs other_sums: a shard of the vocabulary does not have all other entries. */
  bool needs_other_sums() const { return !is_shard_; }
  bool is_confident(int64_t token) const { return confident_[token]; }
  int32_t label(int64_t token) const { return labels_[token]; }
  /** D at the label of a confident token, from the sum of all other entries of its D. */
  double label_gradient(int64_t token, double other_sum) const {
    return (upstream_[token].grad_lse - other_sum) * cap_.slope(label_logits_[token]);
  }

 private:
  const double temperature_, kernel_temperature_;
  const Softcap cap_;
  const bool is_shard_;
  bool rounded_lse_ = false, has_slope_ = false;
  Scratch<int32_t> labels_;
  Scratch<double> lse_;
  Scratch<UpstreamRow> upstream_;
  Scratch<float> label_logits_, max_, factor_, slope_;
  Scratch<bool> confident_;
  CappedTiles capped_;
};

/** to[v] (+)= sum of row v of a tile. */
void add_row_sums(const Tile& tile, float* to, bool add);

}  // namespace sweet
