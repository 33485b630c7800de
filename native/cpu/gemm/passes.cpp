#include "passes.h"

#include <algorithm>

#include "../parallel.h"

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
      : tiles(blocks(blocks(vocab, kTileEntries), kMostGroups)), count(blocks(blocks(vocab, kTileEntries), tiles)) {}
};

}  // namespace

ForwardPass::ForwardPass(const Head& head, int64_t tokens, int workers)
    : head_(head),
      workers_(workers),
      items_(blocks(head.vocab_size, kItemTiles * kTileEntries)),
      parts_(tokens * items_),
      sums_(workers * tokens),
      label_logits_(tokens) {}

void ForwardPass::run(Tiles& tiles, const int64_t* rows, int64_t count, const int32_t* labels, const ForwardOut& out,
                      StoredLogits store) {
  const float slope = log2_scale(head_.temperature);
  parallel_for(workers_, items_, count * head_.vocab_size * head_.hidden_size, [&](int64_t item, int worker) {
    SegmentStats* const sums = sums_.get() + worker * count;
    std::fill_n(sums, count, kEmptyStats);
    const int64_t begin = item * kItemTiles * kTileEntries, end = begin + kItemTiles * kTileEntries;
    for (int64_t v = begin; v < std::min(end, head_.vocab_size) && !cancelled(); v += kTileEntries) {
      const Tile tile = tiles.logits(tiles.rows(v, worker), worker, store.at(v));
      for (int64_t r = 0; r < count; r++) {
        const int64_t word = labels[rows[r]] - v;
        if (word >= 0 && word < tile.entries) label_logits_[r] = tile.x[word * tile.row_stride + r];
      }
      tiles.kernels().tile_stats(tile, sums, slope, out.with_entropy());
    }
    for (int64_t r = 0; r < count; r++) parts_[r * items_ + item] = sums[r];
  });
  parallel_for(workers_, count, count * items_ * 16, [&](int64_t r, int) {
    const int64_t i = rows[r];
    finish_row(parts_.get() + r * items_, items_, labels[i], label_logits_[r], head_.temperature, out, i);
  });
}

int64_t BackwardPass::chunk(const Head& head) {
  const int64_t most = kMostNumbers / (Groups(head.vocab_size).count * head.hidden_size);
  return std::clamp(most / kFewestTokens * kFewestTokens, kFewestTokens, kMostTokens);
}

BackwardPass::BackwardPass(const Head& head, int64_t tokens, int workers)
    : head_(head),
      workers_(workers),
      tokens_(tokens),
      hidden_(Groups(head.vocab_size).count * tokens * head.hidden_size) {}

void BackwardPass::run(Tiles& tiles, TokenGradients& gradients, const int64_t* rows, int64_t count, StoredLogits stored,
                       const WeightGradients& out, float* hidden) {
  const Groups groups(head_.vocab_size);
  const int64_t width = head_.hidden_size;
  parallel_for(workers_, groups.count, count * head_.vocab_size * width, [&](int64_t group, int worker) {
    float* const to_hidden = hidden_.get() + group * tokens_ * width;
    const int64_t begin = group * groups.tiles * kTileEntries, end = begin + groups.tiles * kTileEntries;
    for (int64_t v = begin; v < std::min(end, head_.vocab_size) && !cancelled(); v += kTileEntries) {
      const Tiles::Rows weight = tiles.rows(v, worker);
      const Tile tile = stored.x ? tiles.tile(weight, stored.at(v)) : tiles.logits(weight, worker, nullptr);
      gradients.replace(tile, v, tiles.kernels());
      if (out.bias) add_columns(tile, out.bias + v, out.add);
      tiles.multiply(tile, weight, worker, to_hidden, v > begin, out.weight + v * width, out.add);
    }
  });
  parallel_for(workers_, count, groups.count * count * width, [&](int64_t r, int) {
    float* const to = hidden + rows[r] * width;
    for (int64_t group = 0; group < groups.count; group++) {
      const float* const from = hidden_.get() + (group * tokens_ + r) * width;
      for (int64_t k = 0; k < width; k++) to[k] += from[k];
    }
  });
}

}  // namespace sweet
