// The linear head: logits in tiles of some words × a chunk of tokens, words down and tokens across, so that the
// weight's rows are read as they lie and every lane adds up a token of its own. A tile is reduced, or turned into
// gradients D and multiplied twice (gradHidden += Dᵀ · weight, gradWeight += D · hidden), while it is in cache.
//
// Forward, an item of work is a run of words for all tokens of a chunk. Backward it is a group of tiles, with a
// gradHidden of its own that is added to the others' in their order. Which numbers add up in which order follows from
// the shapes alone.
#include "../linear_logps.h"

#include <algorithm>

#include "../backend.h"
#include "../scratch.h"
#include "active.h"
#include "linear_tiles.h"
#include "parallel.h"

namespace sweet {
namespace {

constexpr int64_t kForwardTokens = 1024, kItemTiles = 5;
constexpr int64_t kGroups = 32;
constexpr int64_t kGroupsNumbers = int64_t{1} << 24;  // 64 MB of gradHidden, all groups together
constexpr int64_t kBackwardTokens = 1024;

int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }

}  // namespace

Status linear_forward(const Head& head, const int32_t* labels, const RowsOut& out) {
  const Tokens tokens(head, labels, out.skip_ignored);
  if (!tokens.ok()) return {Code::memory};
  std::fill_n(out.logps, head.rows, 0.0f);
  std::fill_n(out.lse, head.rows, 0.0);
  if (out.entropy) std::fill_n(out.entropy, head.rows, 0.0f);

  const int slots = threads();
  const int64_t chunk = std::min(kForwardTokens, tokens.count()), items = blocks(head.vocab, kItemTiles * kTileWords);
  Tiles tiles(head, chunk, slots, false);
  Scratch<RowSums> parts(chunk * items), slot_sums(slots * chunk);
  Scratch<float> label_logits(chunk);
  if (!tiles.ok() || !parts.ok() || !slot_sums.ok() || !label_logits.ok()) return {Code::memory};

  const float slope = slope_of(head.temperature);
  for (int64_t first = 0; first < tokens.count(); first += chunk) {
    const int64_t count = std::min(chunk, tokens.count() - first);
    const int64_t* const rows = tokens.rows() + first;
    tiles.take(rows, count);

    parallel_for(slots, items, count * head.vocab * head.width, [&](int64_t item, int slot) {
      RowSums* const sums = slot_sums.get() + slot * chunk;
      std::fill_n(sums, count, kNothingSeen);
      const int64_t begin = item * kItemTiles * kTileWords, end = begin + kItemTiles * kTileWords;
      for (int64_t v = begin; v < std::min(end, head.vocab); v += kTileWords) {
        const Tile tile = tiles.logits(v, slot);
        for (int64_t r = 0; r < count; r++) {
          const int64_t word = labels[rows[r]] - v;
          if (word >= 0 && word < tile.words) label_logits[r] = tile.x[word * tile.row + r];
        }
        tiles.kernels().sum_tile(tile, sums, slope, out.entropy != nullptr);
      }
      for (int64_t r = 0; r < count; r++) parts[r * items + item] = sums[r];
    });
    parallel_for(slots, count, count * items * 16, [&](int64_t r, int) {
      const int64_t i = rows[r];
      finish_row(parts.get() + r * items, items, labels[i], label_logits[r], head.temperature, out, i);
    });
  }
  return {};
}

Status linear_backward(const Head& head, const int32_t* labels, const double* lse, const float* grad_logps,
                       const HeadGradients& out) {
  const Tokens tokens(head, labels, true);
  if (!tokens.ok()) return {Code::memory};
  const int64_t width = head.width, tile_count = blocks(head.vocab, kTileWords);
  const int64_t group_tiles = blocks(tile_count, kGroups), groups = blocks(tile_count, group_tiles);
  const int slots = threads();
  if (!out.accumulate) {
    std::fill_n(out.hidden, head.rows * width, 0.0f);
    if (tokens.count() == 0) {
      std::fill_n(out.weight, head.vocab * width, 0.0f);
      if (out.bias) std::fill_n(out.bias, head.vocab, 0.0f);
    }
  }
  if (tokens.count() == 0) return {};

  const int64_t most = std::clamp(kGroupsNumbers / (groups * width) / 64 * 64, int64_t{64}, kBackwardTokens);
  const int64_t chunk = std::min(most, tokens.count());
  Tiles tiles(head, chunk, slots, true);
  TokenGradients gradients(chunk);
  Scratch<float> grad_hidden(groups * chunk * width);
  if (!tiles.ok() || !gradients.ok() || !grad_hidden.ok()) return {Code::memory};

  for (int64_t first = 0; first < tokens.count(); first += chunk) {
    const int64_t count = std::min(chunk, tokens.count() - first);
    const int64_t* const rows = tokens.rows() + first;
    tiles.take(rows, count);
    gradients.take(rows, count, labels, lse, grad_logps, head.temperature);

    parallel_for(slots, groups, count * head.vocab * width, [&](int64_t group, int slot) {
      float* const to_hidden = grad_hidden.get() + group * chunk * width;
      const int64_t begin = group * group_tiles * kTileWords, end = begin + group_tiles * kTileWords;
      for (int64_t v = begin; v < std::min(end, head.vocab); v += kTileWords) {
        const Tile tile = tiles.logits(v, slot);
        gradients.replace(tile, v, tiles.kernels());
        const bool add = out.accumulate || first > 0;
        if (out.bias) add_columns(tile, out.bias + v, add);
        tiles.multiply(tile, v, slot, to_hidden, v > begin, out.weight + v * width, add);
      }
    });
    parallel_for(slots, count, groups * count * width, [&](int64_t r, int) {
      float* const to = out.hidden + rows[r] * width;
      for (int64_t group = 0; group < groups; group++) {
        const float* const from = grad_hidden.get() + (group * chunk + r) * width;
        for (int64_t k = 0; k < width; k++) to[k] += from[k];
      }
    });
  }
  return {};
}

Status linear_logps(const Head& head, const Labels& labels, const LogpsOut& out) { return logps_of(head, labels, out); }

Status linear_logps_backward(const Head& head, const Labels& labels, const LogpsBackward& backward) {
  return logps_backward_of(head, labels, backward);
}

}  // namespace sweet
