// Tiles of logits of a linear head, and what becomes of them: the parts that the forward pass, the backward pass and
// the one-pass update share.
#pragma once

#include "../../head.h"
#include "../../scratch.h"
#include "../kernels.h"
#include "../logps.h"

namespace sweet {

constexpr int64_t kTileEntries = 96;  // a multiple of every register tile's rows, and even

/** The rows whose logits are needed, in their order: the others cost nothing. */
class Tokens {
 public:
  Tokens(const Head& head, const int32_t* labels, bool skip_ignored);

  bool ok() const { return rows_.ok(); }
  int64_t count() const { return count_; }
  const int64_t* rows() const { return rows_.get(); }

 private:
  Scratch<int64_t> rows_;
  int64_t count_ = 0;
};

/**
 * A chunk of tokens, packed as the products want it, and working memory for every worker. A word of 32 bits is a
 * number, or a pair of bfloat16 numbers where the processor multiplies those; other 16-bit storage is widened.
 */
class Tiles {
 public:
  /** For chunks of up to `tokens`; multiply() needs `backward`. */
  Tiles(const Head& head, int64_t tokens, int workers, bool backward);

  bool ok() const;
  const Kernels& kernels() const { return kernels_; }

  /** Packs the hidden states of these rows. */
  void take(const int64_t* rows, int64_t count);

  using Word = uint32_t;

  /** A tile's rows of the weight, from word `first` on. */
  struct Rows {
    int64_t first, count;
    const Word* words;
  };

  /** Made ready in the worker's memory, unless they lie well where they are. */
  Rows rows(int64_t first, int worker);

  /** The tile of these words over memory of tile_size() numbers. */
  Tile tile(const Rows& rows, float* x) const { return {x, tile_row_, rows.count, count_}; }
  int64_t tile_size() const { return kTileEntries * tile_row_; }

  /**
   * Logits of these words, before the temperature, in `to` or, if that is null, in the worker's memory: the same bits
   * whatever they are for.
   */
  Tile logits(const Rows& rows, int worker, float* to);

  /** grad_hidden[count, H] (+)= tile^T * weight,  grad_weight[words, H] (+)= tile * hidden. */
  void multiply(const Tile& tile, const Rows& rows, int worker, float* grad_hidden, bool add_hidden, float* grad_weight,
                bool add_weight);

 private:
  int64_t words_of(int64_t numbers) const { return pairs_ ? (numbers + 1) / 2 : numbers; }
  int64_t columns_size(int64_t rows) const;
  void product(const Product& product) const { pairs_ ? pairs_->multiply(product) : kernels_.multiply(product); }
  void copy_row(const void* matrix, int64_t row, Word* to) const;
  void pack_columns(const Word* rows, int64_t count, int64_t panel, Word* packed) const;

  const Head& head_;
  const Kernels& kernels_;
  const Bf16PairKernels* const pairs_;
  const bool backward_;
  const int64_t panel_, row_words_, tile_row_;  // a matrix row of H numbers in words; from row to row of a tile
  int64_t count_ = 0;
  Scratch<Word> rows_;                     // [tokens][row_words]: hidden states, gathered, filled up with 0
  Scratch<Word> hidden_;                   // panels of [row_words][panel tokens]
  Scratch<Word> hidden_columns_;           // panels of [words_of(tokens)][panel columns]
  Scratch<Word> weight_, weight_columns_;  // a worker: a tile's rows of the weight, and panels as above
  Scratch<float> tile_;                    // a worker: [kTileEntries][tile_row]
  Scratch<Word> narrow_;                   // a worker: a tile in bfloat16, twice
};

/** D = g * (1[label] - p) / temperature for a chunk of tokens. */
class TokenGradients {
 public:
  explicit TokenGradients(int64_t tokens);

  bool ok() const {
    return label_logits_.ok() && labels_.ok() && lse_.ok() && upstream_.ok() && pivots_.ok() && factors_.ok();
  }
  void take(const int64_t* rows, int64_t count, const int32_t* labels, const double* lse, const float* grad_logps,
            double temperature);

  /** Logits of the words from `first` on become D. */
  void replace(const Tile& tile, int64_t first, const Kernels& kernels);

 private:
  double temperature_ = 1;
  Scratch<int32_t> labels_;
  Scratch<double> lse_, upstream_;
  Scratch<float> label_logits_, pivots_, factors_;
};

/** to[v] (+)= sum over the tokens of a tile. */
void add_columns(const Tile& tile, float* to, bool add);

}  // namespace sweet
