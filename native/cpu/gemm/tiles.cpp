#include "tiles.h"

#include <algorithm>
#include <limits>

#include "../../backend.h"
#include "../active.h"
#include "../parallel.h"

namespace sweet {
namespace {

int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Tokens are filled up to as many as the widest register holds; the lanes' logits are finite and their D is 0.
constexpr int64_t kLanes = 16;

constexpr uint32_t pair(uint32_t low, uint32_t high) { return low | high << 16; }

}  // namespace

Tokens::Tokens(const Head& head, const int32_t* labels, bool skip_ignored) : rows_(head.rows) {
  for (Blocks block(0, rows_.ok() ? head.rows : 0); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) {
      if (is_read(labels[i], skip_ignored)) rows_[count_++] = i;
    }
}

Tiles::Tiles(const Head& head, int64_t tokens, int workers, bool backward)
    : head_(head),
      kernels_(active_kernels()),
      pairs_(head.dtype == DType::bfloat16 ? kernels_.bf16_pairs : nullptr),
      backward_(backward),
      panel_(kernels_.panel),
      row_words_(words_of(head.hidden_size)),
      // Rows that lie a power of two apart would share a few lines of the cache.
      tile_row_(round_up(tokens, std::max(panel_, kLanes)) + kLanes),
      rows_(tile_row_ * row_words_),
      hidden_(tile_row_ * row_words_),
      hidden_columns_(backward ? columns_size(tokens) : 0),
      weight_(head.dtype == DType::float32 ? 0 : workers * kTileEntries * row_words_),
      weight_columns_(backward ? workers * columns_size(kTileEntries) : 0),
      tile_(workers * kTileEntries * tile_row_),
      narrow_(backward && pairs_ ? workers * kTileEntries * tile_row_ : 0) {}

bool Tiles::ok() const {
  return rows_.ok() && hidden_.ok() && hidden_columns_.ok() && weight_.ok() && weight_columns_.ok() && tile_.ok() &&
         narrow_.ok();
}

int64_t Tiles::columns_size(int64_t rows) const { return words_of(rows) * round_up(head_.hidden_size, panel_); }

void Tiles::take(const int64_t* rows, int64_t count) {
  count_ = count;
  const int64_t room = round_up(count, std::max(panel_, kLanes));
  for (int64_t t = 0; t < room && !cancelled(); t++) {
    Word* const to = rows_.get() + t * row_words_;
    if (t < count) {
      copy_row(head_.hidden, rows[t], to);
    } else {
      std::fill_n(to, row_words_, 0u);
    }
  }
  const int64_t work = count * head_.hidden_size;
  parallel_for(threads(), room / panel_, work, [&](int64_t j, int) {
    const Word* const from = rows_.get() + j * panel_ * row_words_;
    Word* const to = hidden_.get() + j * panel_ * row_words_;
    for (int64_t t = 0; t < panel_; t++) {
      for (int64_t k = 0; k < row_words_; k++) to[k * panel_ + t] = from[t * row_words_ + k];
    }
  });
  if (!backward_) return;
  parallel_for(threads(), round_up(head_.hidden_size, panel_) / panel_, work, [&](int64_t j, int) {
    pack_columns(rows_.get(), count, j, hidden_columns_.get() + j * panel_ * words_of(count));
  });
}

Tiles::Rows Tiles::rows(int64_t first, int worker) {
  const int64_t count = std::min(kTileEntries, head_.vocab_size - first);
  const char* const at = static_cast<const char*>(head_.weight) + first * head_.hidden_size * bytes_of(head_.dtype);
  const bool in_words = head_.dtype == DType::float32 || (pairs_ && head_.hidden_size % 2 == 0 && count % 2 == 0);
  if (in_words && reinterpret_cast<uintptr_t>(at) % sizeof(Word) == 0) {
    return {first, count, reinterpret_cast<const Word*>(at)};
  }
  Word* const to = weight_.get() + worker * kTileEntries * row_words_;
  for (int64_t v = 0; v < count; v++) copy_row(head_.weight, first + v, to + v * row_words_);
  if (count % 2) std::fill_n(to + count * row_words_, row_words_, 0u);  // a word that pairs with the last one
  return {first, count, to};
}

Tile Tiles::logits(const Rows& rows, int worker, float* to) {
  const Tile result = tile(rows, to ? to : tile_.get() + worker * tile_size());
  const int64_t lanes = round_up(count_, kLanes);
  if (head_.bias) {
    float bias[kTileEntries];
    const char* const from = static_cast<const char*>(head_.bias) + rows.first * bytes_of(head_.dtype);
    kernels_.widen(from, head_.dtype, rows.count, bias);
    for (int64_t v = 0; v < rows.count; v++) std::fill_n(result.x + v * tile_row_, lanes, bias[v]);
  }
  product({rows.words, row_words_, 1, rows.count, row_words_, hidden_.get(), result.x, tile_row_, lanes,
           head_.bias != nullptr, cancelled});
  return result;
}

void Tiles::multiply(const Tile& tile, const Rows& rows, int worker, float* grad_hidden, bool add_hidden,
                     float* grad_weight, bool add_weight) {
  const int64_t width = head_.hidden_size, depth = words_of(tile.entries);
  Word* const columns = weight_columns_.get() + worker * columns_size(kTileEntries);
  for (int64_t j = 0; j * panel_ < width; j++) pack_columns(rows.words, tile.entries, j, columns + j * panel_ * depth);

  const void* by_token = tile.x;
  const void* by_word = tile.x;
  int64_t word_row = tile_row_;
  if (pairs_) {
    Word* const pairs = narrow_.get() + worker * kTileEntries * tile_row_;
    bf16* const words = reinterpret_cast<bf16*>(pairs + kTileEntries / 2 * tile_row_);
    if (tile.entries % 2) std::fill_n(tile.x + tile.entries * tile_row_, tile_row_, 0.0f);
    pairs_->narrow_tile({tile.x, tile_row_, depth * 2, tile.tokens}, pairs, words);
    by_token = pairs;
    by_word = words;
    word_row = tile_row_ / 2;
  }
  product({by_token, 1, tile_row_, count_, depth, columns, grad_hidden, width, width, add_hidden, cancelled});
  product({by_word, word_row, 1, tile.entries, words_of(count_), hidden_columns_.get(), grad_weight, width, width,
           add_weight, cancelled});
}

/** Row `row` of a [*, H] matrix, in words. */
void Tiles::copy_row(const void* matrix, int64_t row, Word* to) const {
  const char* const from = static_cast<const char*>(matrix) + row * head_.hidden_size * bytes_of(head_.dtype);
  if (!pairs_) return kernels_.widen(from, head_.dtype, head_.hidden_size, reinterpret_cast<float*>(to));
  to[row_words_ - 1] = 0;
  memcpy(to, from, static_cast<size_t>(head_.hidden_size * bytes_of(head_.dtype)));
}

/** Columns of matrix rows, which become the depth of a product: [words_of(count)][panel]. */
void Tiles::pack_columns(const Word* rows, int64_t count, int64_t panel, Word* packed) const {
  const int64_t first = panel * panel_, columns = std::min(panel_, head_.hidden_size - first);
  for (int64_t k = 0; k < words_of(count); k++, packed += panel_) {
    if (pairs_) {
      const uint16_t* const a = reinterpret_cast<const uint16_t*>(rows + 2 * k * row_words_) + first;
      const uint16_t* const b = a + 2 * row_words_;
      for (int64_t c = 0; c < columns; c++) packed[c] = pair(a[c], b[c]);
    } else {
      std::copy_n(rows + k * row_words_ + first, columns, packed);
    }
    std::fill(packed + columns, packed + panel_, 0u);
  }
}

TokenGradients::TokenGradients(int64_t tokens)
    : labels_(tokens),
      lse_(tokens),
      upstream_(tokens),
      label_logits_(tokens),
      pivots_(tokens + kLanes),
      factors_(tokens + kLanes) {}

void TokenGradients::take(const int64_t* rows, int64_t count, const int32_t* labels, const double* lse,
                          const float* grad_logps, double temperature) {
  temperature_ = temperature;
  for (int64_t r = 0; r < count; r++) {
    const int64_t i = rows[r];
    labels_[r] = labels[i];
    lse_[r] = lse[i];
    upstream_[r] = grad_logps[i] / temperature;
    const SoftmaxGradient softmax(lse[i], temperature, -upstream_[r]);
    pivots_[r] = softmax.max;
    factors_[r] = softmax.factor;
  }
  for (int64_t r = count; r < round_up(count, kLanes); r++) {
    pivots_[r] = std::numeric_limits<float>::infinity();
    factors_[r] = 0;
  }
}

void TokenGradients::replace(const Tile& tile, int64_t first, const Kernels& kernels) {
  const auto each_label = [&](auto use) {
    for (int64_t r = 0; r < tile.tokens; r++) {
      const int64_t word = labels_[r] - first;
      if (word >= 0 && word < tile.entries) use(r, tile.x[word * tile.row_stride + r]);
    }
  };
  each_label([&](int64_t r, float x) { label_logits_[r] = x; });
  kernels.tile_gradient(tile, pivots_.get(), factors_.get(), log2_scale(temperature_));
  each_label([&](int64_t r, float& d) {
    d = static_cast<float>(label_gradient(label_logits_[r], lse_[r], temperature_, upstream_[r]));
  });
}

void add_columns(const Tile& tile, float* to, bool add) {
  for (int64_t v = 0; v < tile.entries; v++) {
    double sum = 0;
    for (int64_t r = 0; r < tile.tokens; r++) sum += tile.x[v * tile.row_stride + r];
    to[v] = static_cast<float>(add ? to[v] + sum : sum);
  }
}

}  // namespace sweet
