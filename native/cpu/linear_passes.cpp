#include "linear_passes.h"

#include <algorithm>

#include "parallel.h"

namespace sweet {
namespace {

constexpr int64_t kItemTiles = 5;                   // of an item of the forward pass
constexpr int64_t kMostGroups = 32;                 // of the backward pass
constexpr int64_t kMostNumbers = int64_t{1} << 24;  // 64 MB: gradHidden of all groups
constexpr int64_t kFewestTokens = 64, kMostTokens = 1024;

int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }

struct Groups {
  int64_t tiles, count;

  explicit Groups(int64_t vocab)
      : tiles(blocks(blocks(vocab, kTileWords), kMostGroups)), count(blocks(blocks(vocab, kTileWords), tiles)) {}
};

}  // namespace

ForwardPass::ForwardPass(const Head& head, int64_t tokens, int slots)
    : head_(head),
      slots_(slots),
      items_(blocks(head.vocab, kItemTiles * kTileWords)),
      parts_(tokens * items_),
      sums_(slots * tokens),
      label_logits_(tokens) {}

void ForwardPass::run(Tiles& tiles, const int64_t* rows, int64_t count, const int32_t* labels, const RowsOut& out,
                      StoredLogits store) {
  const float slope = slope_of(head_.temperature);
  parallel_for(slots_, items_, count * head_.vocab * head_.width, [&](int64_t item, int slot) {
    RowSums* const sums = sums_.get() + slot * count;
    std::fill_n(sums, count, kNothingSeen);
    const int64_t begin = item * kItemTiles * kTileWords, end = begin + kItemTiles * kTileWords;
    for (int64_t v = begin; v < std::min(end, head_.vocab) && !cancelled(); v += kTileWords) {
      const Tile tile = tiles.logits(tiles.rows(v, slot), slot, store.at(v));
      for (int64_t r = 0; r < count; r++) {
        const int64_t word = labels[rows[r]] - v;
        if (word >= 0 && word < tile.words) label_logits_[r] = tile.x[word * tile.row + r];
      }
      tiles.kernels().sum_tile(tile, sums, slope, out.with_entropy());
    }
    for (int64_t r = 0; r < count; r++) parts_[r * items_ + item] = sums[r];
  });
  parallel_for(slots_, count, count * items_ * 16, [&](int64_t r, int) {
    const int64_t i = rows[r];
    finish_row(parts_.get() + r * items_, items_, labels[i], label_logits_[r], head_.temperature, out, i);
  });
}

int64_t BackwardPass::chunk(const Head& head) {
  const int64_t most = kMostNumbers / (Groups(head.vocab).count * head.width);
  return std::clamp(most / kFewestTokens * kFewestTokens, kFewestTokens, kMostTokens);
}

BackwardPass::BackwardPass(const Head& head, int64_t tokens, int slots)
    : head_(head), slots_(slots), tokens_(tokens), hidden_(Groups(head.vocab).count * tokens * head.width) {}

void BackwardPass::run(Tiles& tiles, TokenGradients& gradients, const int64_t* rows, int64_t count, StoredLogits stored,
                       const WeightGradients& out, float* hidden) {
  const Groups groups(head_.vocab);
  const int64_t width = head_.width;
  parallel_for(slots_, groups.count, count * head_.vocab * width, [&](int64_t group, int slot) {
    float* const to_hidden = hidden_.get() + group * tokens_ * width;
    const int64_t begin = group * groups.tiles * kTileWords, end = begin + groups.tiles * kTileWords;
    for (int64_t v = begin; v < std::min(end, head_.vocab) && !cancelled(); v += kTileWords) {
      const Tiles::Rows weight = tiles.rows(v, slot);
      const Tile tile = stored.x ? tiles.tile(weight, stored.at(v)) : tiles.logits(weight, slot, nullptr);
      gradients.replace(tile, v, tiles.kernels());
      if (out.bias) add_columns(tile, out.bias + v, out.add);
      tiles.multiply(tile, weight, slot, to_hidden, v > begin, out.weight + v * width, out.add);
    }
  });
  parallel_for(slots_, count, groups.count * count * width, [&](int64_t r, int) {
    float* const to = hidden + rows[r] * width;
    for (int64_t group = 0; group < groups.count; group++) {
      const float* const from = hidden_.get() + (group * tokens_ + r) * width;
      for (int64_t k = 0; k < width; k++) to[k] += from[k];
    }
  });
}

}  // namespace sweet
