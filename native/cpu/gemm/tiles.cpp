#include "tiles.h"

#include <algorithm>
#include <limits>

#include "../../backend.h"
#include "../active.h"
#include "../parallel.h"
#include "transpose.h"

namespace sweet {
namespace {

int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Tokens are padded to the lanes of the widest vector. The hidden states of padding tokens are 0, so that for finite
// weights their logits are finite; their D is 0.
constexpr int64_t kMaxLanes = 16;

/** to[i] += sum of column i of a tile. */
void add_column_sums(const Tile& tile, double* to) {
  for (int64_t first = 0; first < tile.tokens; first += kMaxLanes) {
    float sums[kMaxLanes] = {};
    for (int64_t v = 0; v < tile.entries; v++) {
      const float* const x = tile.x + v * tile.row_stride + first;
      for (int64_t i = 0; i < kMaxLanes; i++) sums[i] += x[i];
    }
    for (int64_t i = 0; i < std::min(kMaxLanes, tile.tokens - first); i++) to[first + i] += sums[i];
  }
}

constexpr uint32_t pair(uint32_t low, uint32_t high) { return low | high << 16; }

}  // namespace

CompactRows::CompactRows(const Head& head, const int32_t* labels, bool skip_ignored) : rows_(head.rows) {
  for (Blocks block(0, rows_.ok() ? head.rows : 0); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) {
      if (is_read(labels[i], skip_ignored)) rows_[count_++] = i;
    }
}

Tiles::Tiles(const Head& head, int64_t tokens, int workers, const HeadGradients* gradients)
    : head_(head),
      kernels_(active_kernels()),
      pairs_(head.dtype == DType::bfloat16 && head.precision != Precision::float32 ? kernels_.bf16_pairs : nullptr),
      transposed_(is_transposed(head.weight)),
      grad_hidden_(gradients && gradients->hidden),
      grad_weight_(gradients && gradients->weight),
      rounds_(head.dtype == DType::bfloat16 && head.precision == Precision::storage && !pairs_),
      panel_(kernels_.panel),
      row_elements_(packed_size(head.hidden_size)),
      // kMaxLanes more: rows a power of two apart would compete for a few sets of the cache.
      row_stride_(round_up(tokens, std::max(panel_, kMaxLanes)) + kMaxLanes),
      rows_(row_stride_ * row_elements_),
      hidden_(row_stride_ * row_elements_),
      hidden_columns_(grad_weight_ ? columns_size(tokens, transposed_ ? kTileEntries : panel_) : 0),
      weight_(head.weight.dtype == DType::float32 && !transposed_ ? 0 : workers * kTileEntries * row_elements_),
      weight_columns_(grad_hidden_ ? workers * columns_size(kTileEntries, panel_) : 0),
      tile_(workers * kTileEntries * row_stride_),
      bf16_tile_(gradients && pairs_ ? workers * kTileEntries * row_stride_ : 0),
      tile_entries_(grad_weight_ && transposed_ ? workers * packed_size(row_stride_) * round_up(kTileEntries, panel_)
                                                : 0) {}

bool Tiles::ok() const {
  return rows_.ok() && hidden_.ok() && hidden_columns_.ok() && weight_.ok() && weight_columns_.ok() && tile_.ok() &&
         bf16_tile_.ok() && tile_entries_.ok();
}

int64_t Tiles::columns_size(int64_t rows, int64_t panel) const {
  return packed_size(rows) * round_up(head_.hidden_size, panel);
}

void Tiles::gather(const int64_t* rows, int64_t count) {
  count_ = count;
  const int64_t padded = round_up(count, std::max(panel_, kMaxLanes));
  for (int64_t t = 0; t < padded && !cancelled(); t++) {
    Element* const to = rows_.get() + t * row_elements_;
    if (t < count) {
      copy_row(head_.hidden, rows[t], to);
    } else {
      std::fill_n(to, row_elements_, 0u);
    }
  }
  const int64_t work = count * head_.hidden_size;
  parallel_for(threads(), padded / panel_, work, [&](int64_t j, int) {
    const Element* const from = rows_.get() + j * panel_ * row_elements_;
    Element* const to = hidden_.get() + j * panel_ * row_elements_;
    for (int64_t t = 0; t < panel_; t++) {
      for (int64_t k = 0; k < row_elements_; k++) to[k * panel_ + t] = from[t * row_elements_ + k];
    }
  });
  if (!grad_weight_) return;
  const int64_t panel = transposed_ ? kTileEntries : panel_;
  parallel_for(threads(), round_up(head_.hidden_size, panel) / panel, work, [&](int64_t j, int) {
    pack_columns(rows_.get(), count, j, panel, hidden_columns_.get() + j * panel * packed_size(count));
  });
}

Tiles::WeightRows Tiles::weight_rows(int64_t first, int worker) {
  const int64_t count = std::min(kTileEntries, head_.vocab_size - first);
  const void* const at = head_.weight.at(first, 0);
  const bool has_layout = !transposed_ && (head_.weight.dtype == DType::float32 ||
                                           (pairs_ && head_.hidden_size % 2 == 0 && count % 2 == 0));
  if (has_layout && reinterpret_cast<uintptr_t>(at) % sizeof(Element) == 0) {
    return {first, count, reinterpret_cast<const Element*>(at), row_elements_, 1};
  }
  Element* const to = weight_.get() + worker * kTileEntries * row_elements_;
  if (transposed_) {
    copy_columns(first, count, to);
    return {first, count, to, 1, kTileEntries};
  }
  for (int64_t v = 0; v < count; v++) copy_row(head_.weight, first + v, to + v * row_elements_);
  if (count % 2) std::fill_n(to + count * row_elements_, row_elements_, 0u);  // pairs with the last entry
  return {first, count, to, row_elements_, 1};
}

Tile Tiles::uncapped_logits(const WeightRows& weight, int worker, float* to) {
  const Tile result = tile(weight, to ? to : tile_.get() + worker * tile_size());
  const int64_t lanes = round_up(count_, kMaxLanes);
  if (head_.bias) {
    float bias[kTileEntries];
    const char* const from = static_cast<const char*>(head_.bias) + weight.first * bytes_of(head_.bias_dtype);
    kernels_.widen(from, head_.bias_dtype, weight.count, bias);
    for (int64_t v = 0; v < weight.count; v++) std::fill_n(result.x + v * row_stride_, lanes, bias[v]);
  }
  product({weight.elements, weight.row_stride, weight.column_stride, weight.count, row_elements_, hidden_.get(),
           result.x, row_stride_, lanes, head_.bias != nullptr, cancelled});
  return result;
}

void Tiles::apply_softcap(const Tile& tile) const {
  const Softcap cap(head_.softcap);
  for (int64_t v = 0; cap.is_on() && v < tile.entries; v++) {
    float* const row = tile.x + v * tile.row_stride;
    kernels_.softcap(row, DType::float32, round_up(tile.tokens, kMaxLanes), cap.inverse, row);
  }
}

void Tiles::multiply(const Tile& tile, const WeightRows& weight, int worker, float* grad_hidden, bool add_hidden,
                     float* grad_weight, bool add_weight) {
  const int64_t hidden_size = head_.hidden_size, depth = packed_size(tile.entries);
  for (int64_t v = 0; rounds_ && v < tile.entries; v++) {
    float* const row = tile.x + v * tile.row_stride;
    for (int64_t r = 0; r < count_; r++) {
      bf16 rounded;
      from_float(row[r], &rounded);
      row[r] = to_float(rounded);
    }
  }
  const void* by_token = tile.x;
  const void* by_entry = tile.x;
  int64_t entry_stride = row_stride_;
  if (pairs_) {
    Element* const pairs = bf16_tile_.get() + worker * kTileEntries * row_stride_;
    bf16* const rows = reinterpret_cast<bf16*>(pairs + kTileEntries / 2 * row_stride_);
    if (tile.entries % 2) std::fill_n(tile.x + tile.entries * row_stride_, row_stride_, 0.0f);
    // The logits of the padding token of the last pair are NaN where a weight is infinite.
    for (int64_t v = 0; count_ % 2 && v < tile.entries; v++) tile.x[v * tile.row_stride + count_] = 0;
    pairs_->narrow_tile({tile.x, row_stride_, depth * 2, tile.tokens}, pairs, rows);
    by_token = pairs;
    by_entry = rows;
    entry_stride = row_stride_ / 2;
  }
  if (grad_hidden) {
    Element* const columns = weight_columns_.get() + worker * columns_size(kTileEntries, panel_);
    for (int64_t j = 0; j * panel_ < hidden_size; j++) pack_weight(weight, j, columns + j * panel_ * depth);
    product({by_token, 1, row_stride_, count_, depth, columns, grad_hidden, hidden_size, hidden_size, add_hidden,
             cancelled});
  }
  if (!grad_weight) return;
  if (transposed_) return multiply_transposed(by_entry, entry_stride, tile.entries, worker, grad_weight, add_weight);
  product({by_entry, entry_stride, 1, tile.entries, packed_size(count_), hidden_columns_.get(), grad_weight,
           hidden_size, hidden_size, add_weight, cancelled});
}

/** grad_weight[H, entries] (+)= hidden^T * tile^T, rows of all V apart. */
void Tiles::multiply_transposed(const void* tile, int64_t entry_stride, int64_t entries, int worker, float* grad_weight,
                                bool add) {
  const int64_t hidden_size = head_.hidden_size, depth = packed_size(count_);
  Element* const columns = tile_entries_.get() + worker * packed_size(row_stride_) * round_up(kTileEntries, panel_);
  for (int64_t v = 0; v < entries; v += panel_) {
    Element* const panel = columns + v * depth;
    const int64_t n = std::min(panel_, entries - v);
    transpose(static_cast<const Element*>(tile) + v * entry_stride, entry_stride, n, depth, panel, panel_);
    for (int64_t i = 0; n < panel_ && i < depth; i++) std::fill(panel + i * panel_ + n, panel + (i + 1) * panel_, 0u);
  }
  // Formed apart: rows of grad_weight are V apart, often a power of two, and compete for a few sets of the caches.
  constexpr int64_t kRows = kTileEntries;
  float block[kRows * kTileEntries];
  const size_t row_bytes = static_cast<size_t>(entries) * sizeof(float);
  for (int64_t first = 0; first < hidden_size && !cancelled(); first += kRows) {
    const int64_t rows = std::min(kRows, hidden_size - first);
    float* const to = grad_weight + first * head_.vocab_size;
    for (int64_t k = 0; add && k < rows; k++) memcpy(block + k * kTileEntries, to + k * head_.vocab_size, row_bytes);
    product({hidden_columns_.get() + first * depth, 1, kRows, rows, depth, columns, block, kTileEntries, entries, add,
             cancelled});
    for (int64_t k = 0; k < rows; k++) memcpy(to + k * head_.vocab_size, block + k * kTileEntries, row_bytes);
  }
}

/** Row `row` of a [*, H] matrix, packed. */
void Tiles::copy_row(const Operand& matrix, int64_t row, Element* to) const {
  const void* const from = matrix.at(row, 0);
  if (!pairs_) return kernels_.widen(from, matrix.dtype, head_.hidden_size, reinterpret_cast<float*>(to));
  to[row_elements_ - 1] = 0;
  memcpy(to, from, static_cast<size_t>(head_.hidden_size * bytes_of(head_.dtype)));
}

/** The weight [H, V] of `count` entries, [row_elements][kTileEntries]. */
void Tiles::copy_columns(int64_t first, int64_t count, Element* to) const {
  constexpr int64_t kAhead = 16;  // rows
  const Operand& weight = head_.weight;
  const int64_t numbers = pairs_ ? 2 : 1, row_bytes = count * bytes_of(weight.dtype);
  for (int64_t k = 0; k < row_elements_; k++, to += kTileEntries) {
    const int64_t ahead = (k + kAhead) * numbers;
    for (int64_t row = ahead; row < std::min(ahead + numbers, head_.hidden_size); row++) {
      const char* const next = static_cast<const char*>(weight.at(first, row));
      for (int64_t at = 0; at < row_bytes; at += 64) __builtin_prefetch(next + at);
    }
    if (!pairs_) {
      kernels_.widen(weight.at(first, k), weight.dtype, count, reinterpret_cast<float*>(to));
      continue;
    }
    const uint16_t* const a = static_cast<const uint16_t*>(weight.at(first, 2 * k));
    const bool alone = 2 * k + 1 == head_.hidden_size;
    const uint16_t* const b = alone ? a : a + weight.column_stride;
    for (int64_t v = 0; v < count; v++) to[v] = pair(a[v], alone ? 0 : b[v]);
  }
}

/** A panel of columns of the weight of a tile, with the entries along the depth: [packed_size(count), panel]. */
void Tiles::pack_weight(const WeightRows& weight, int64_t panel, Element* packed) const {
  if (!transposed_) return pack_columns(weight.elements, weight.count, panel, panel_, packed);
  constexpr int64_t kPairs = kTileEntries / 2, kColumns = 16;
  const int64_t first = panel * panel_, columns = std::min(panel_, head_.hidden_size - first);
  const int64_t depth = packed_size(weight.count);
  for (int64_t v = 0; columns < panel_ && v < depth; v++) {
    std::fill(packed + v * panel_ + columns, packed + (v + 1) * panel_, 0u);
  }
  if (!pairs_) {
    return transpose(weight.elements + first * kTileEntries, kTileEntries, columns, depth, packed, panel_);
  }
  // Entries that are neighbours in memory are a pair.
  Element rows[kColumns * kPairs];
  for (int64_t c = 0; c < columns; c += kColumns) {
    const int64_t n = std::min(kColumns, columns - c);
    for (int64_t k = 0; k < n; k++) {
      rows[k * kPairs + depth - 1] = 0;
      memcpy(rows + k * kPairs, head_.weight.at(weight.first, first + c + k), static_cast<size_t>(weight.count) * 2);
    }
    transpose(rows, kPairs, n, depth, packed + c, panel_);
  }
}

/** A panel of columns of `count` packed rows, with the rows along the depth: [packed_size(count), size]. */
void Tiles::pack_columns(const Element* rows, int64_t count, int64_t panel, int64_t size, Element* packed) const {
  const int64_t first = panel * size, columns = std::min(size, head_.hidden_size - first);
  for (int64_t k = 0; k < packed_size(count); k++, packed += size) {
    if (pairs_) {
      const uint16_t* const a = reinterpret_cast<const uint16_t*>(rows + 2 * k * row_elements_) + first;
      const uint16_t* const b = a + 2 * row_elements_;
      for (int64_t c = 0; c < columns; c++) packed[c] = pair(a[c], b[c]);
    } else {
      std::copy_n(rows + k * row_elements_ + first, columns, packed);
    }
    std::fill(packed + columns, packed + size, 0u);
  }
}

CappedTiles::CappedTiles(const Head& head, int64_t tokens, int workers)
    : size_(Softcap(head.softcap).is_on() ? kTileEntries * round_up(tokens, kMaxLanes) : 0), t_(workers * size_) {}

void CappedTiles::keep(const Tile& tile, int worker) {
  const int64_t lanes = round_up(tile.tokens, kMaxLanes);
  for (int64_t v = 0; size_ > 0 && v < tile.entries; v++) {
    std::copy_n(tile.x + v * tile.row_stride, lanes, t_.get() + worker * size_ + v * lanes);
  }
}

void CappedTiles::times_slope(const Tile& tile, int worker, const Kernels& kernels) const {
  const int64_t lanes = round_up(tile.tokens, kMaxLanes);
  for (int64_t v = 0; size_ > 0 && v < tile.entries; v++) {
    float* const row = tile.x + v * tile.row_stride;
    kernels.times_slope(row, t_.get() + worker * size_ + v * lanes, lanes, row, DType::float32);
  }
}

LogitGradients::LogitGradients(const Head& head, int64_t tokens, int workers)
    : temperature_(head.temperature),
      kernel_temperature_(kernel_temperature(head)),
      cap_(head.softcap),
      is_shard_(is_shard(head)),
      labels_(tokens),
      lse_(tokens),
      upstream_(tokens),
      label_logits_(tokens),
      max_(tokens + kMaxLanes),
      factor_(tokens + kMaxLanes),
      slope_(tokens + kMaxLanes),
      confident_(tokens),
      capped_(head, tokens, workers) {}

void LogitGradients::gather(const int64_t* rows, int64_t count, const int32_t* labels, const Upstream& upstream) {
  rounded_lse_ = upstream.rounded_lse;
  has_slope_ = upstream.grad_entropy != nullptr;
  for (int64_t r = 0; r < count; r++) {
    const int64_t i = rows[r];
    labels_[r] = labels[i];
    lse_[r] = upstream.lse[i];
    upstream_[r] = upstream.row(i, temperature_);
    confident_[r] = false;
    const SoftmaxGradient softmax = softmax_gradient(lse_[r], kernel_temperature_, upstream_[r]);
    max_[r] = softmax.max;
    factor_[r] = softmax.factor;
    slope_[r] = softmax.slope;
  }
  for (int64_t r = count; r < round_up(count, kMaxLanes); r++) {
    max_[r] = std::numeric_limits<float>::infinity();
    factor_[r] = 0;
    slope_[r] = 0;
  }
}

void LogitGradients::replace(const Tile& tile, int64_t first, int worker, const Kernels& kernels, double* other_sums) {
  const auto each_label = [&](auto use) {
    for (int64_t r = 0; r < tile.tokens; r++) {
      const int64_t v = labels_[r] - first;
      if (v >= 0 && v < tile.entries) use(r, tile.x[v * tile.row_stride + r]);
    }
  };
  each_label([&](int64_t r, float x) { label_logits_[r] = x; });
  capped_.keep(tile, worker);
  kernels.tile_gradient(tile, max_.get(), factor_.get(), has_slope_ ? slope_.get() : nullptr,
                        log2_scale(kernel_temperature_));
  if (other_sums) {
    each_label([&](int64_t, float& d) { d = 0; });
    add_column_sums(tile, other_sums);
  }
  each_label([&](int64_t r, float& d) {
    const LabelGradient label(label_logits_[r], lse_[r], rounded_lse_, kernel_temperature_, upstream_[r]);
    confident_[r] =
        other_sums && label.confident && std::isfinite(label.gradient);  // else NaN, with no other entry too
    if (!confident_[r]) d = static_cast<float>(label.gradient);
  });
  capped_.times_slope(tile, worker, kernels);
}

void add_row_sums(const Tile& tile, float* to, bool add) {
  for (int64_t v = 0; v < tile.entries; v++) {
    double sum = 0;
    for (int64_t r = 0; r < tile.tokens; r++) sum += tile.x[v * tile.row_stride + r];
    to[v] = static_cast<float>(add ? to[v] + sum : sum);
  }
}

}  // namespace sweet
