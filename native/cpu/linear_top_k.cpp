// Divergences of a linear head from a top-k teacher with a bucket: the passes of linear_head.cpp, where the entries of
// the support are taken out of each tile before its statistics, and are overwritten in each tile of gradients.
#include "active.h"
#include "divergence.h"
#include "linear_chunks.h"

namespace sweet {
namespace {

/** The supports of a chunk's tokens, tile by tile. */
class SupportOfTiles {
 public:
  struct Entry {
    int64_t token, k;  // in the chunk; of the checked entries of its row
    int64_t index;     // vocabulary entry
  };

  SupportOfTiles(const TopK& top_k, const Head& head, int64_t tokens)
      : top_k_(top_k),
        tiles_((head.vocab_size + kTileEntries - 1) / kTileEntries),
        offsets_(tiles_ + 1),
        entries_(tokens * top_k.k()) {}

  bool ok() const { return offsets_.ok() && entries_.ok(); }

  void gather(const int64_t* rows, int64_t count) {
    std::fill_n(offsets_.get(), tiles_ + 1, 0);
    each(rows, count, [&](const Entry& entry) { offsets_[entry.index / kTileEntries + 1]++; });
    for (int64_t t = 0; t < tiles_; t++) offsets_[t + 1] += offsets_[t];
    each(rows, count, [&](const Entry& entry) { entries_[offsets_[entry.index / kTileEntries]++] = entry; });
    for (int64_t t = tiles_; t > 0; t--) offsets_[t] = offsets_[t - 1];  // each is at the end of its tile now
    offsets_[0] = 0;
  }

  /** Calls use(entry, logit) for those of the tile whose first entry is `first`. */
  template <class Use>
  void each_of(const Tile& tile, int64_t first, Use use) const {
    const int64_t t = first / kTileEntries;
    for (int64_t e = offsets_[t]; e < offsets_[t + 1]; e++) {
      const Entry& entry = entries_[e];
      use(e, entry, tile.x[(entry.index - first) * tile.row_stride + entry.token]);
    }
  }

 private:
  template <class Use>
  void each(const int64_t* rows, int64_t count, Use use) const {
    for (int64_t r = 0; r < count && !cancelled(); r++) {
      for (int64_t k = 0; k < top_k_.k(); k++) use({r, k, top_k_.indices(rows[r])[k]});
    }
  }

  const TopK& top_k_;
  const int64_t tiles_;
  Scratch<int64_t> offsets_;  // [tiles + 1]
  Scratch<Entry> entries_;    // [tokens, K]
};

}  // namespace

Status linear_top_k(const HeadDivergence& call, const TopK& top_k, const int32_t* labels) {
  const Head& head = call.head;
  const Kernels& kernels = active_kernels();
  const float scale_log2 = log2_scale(kernel_temperature(head));
  const CompactRows compact(head, labels, true);
  if (!compact.ok()) return {Code::memory};
  const int64_t tokens = std::min(kForwardTokens, compact.count()), k_count = top_k.k();
  const int64_t items = (head.vocab_size + kItemEntries - 1) / kItemEntries;
  const int workers = threads();
  Tiles tiles(head, tokens, workers, nullptr);
  SupportOfTiles support(top_k, head, tokens);
  Scratch<SegmentStats> stats(items * tokens);  // [items, tokens]
  Scratch<float> logits(tokens * k_count);
  if (!tiles.ok() || !support.ok() || !stats.ok() || !logits.ok()) return {Code::memory};

  for (Blocks block(0, head.rows); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) write_row(call, i, 0, {});
  each_chunk(compact, tokens, [&](const int64_t* rows, int64_t count) {
    tiles.gather(rows, count);
    support.gather(rows, count);
    parallel_for(workers, items, count * head.vocab_size * head.hidden_size, [&](int64_t item, int worker) {
      SegmentStats* const of_item = stats.get() + item * tokens;
      std::fill_n(of_item, count, kEmptyStats);
      const int64_t end = std::min((item + 1) * kItemEntries, head.vocab_size);
      for (int64_t v = item * kItemEntries; v < end && !cancelled(); v += kTileEntries) {
        const Tile tile = tiles.logits(tiles.weight_rows(v, worker), worker, nullptr);
        support.each_of(tile, v, [&](int64_t, const auto& entry, float& x) {
          logits[entry.token * k_count + entry.k] = x;
          x = -INFINITY;
        });
        kernels.tile_stats(tile, of_item, scale_log2, {});
      }
    });
    parallel_for(workers, count, count * (items * 16 + k_count * 64), [&](int64_t r, int) {
      const auto part = [&](int64_t item) -> const SegmentStats& { return stats[item * tokens + r]; };
      const SoftmaxStats others = merge_stats(top_k.has_bucket() ? items : 0, kernel_temperature(head), part);
      const TopKRow row(top_k, rows[r], logits.get() + r * k_count, others, kernel_temperature(head), call.type,
                        call.jsd_beta);
      write_row(call, rows[r], row.divergence, row.saved);
    });
  });
  return ended();
}

Status linear_top_k(const HeadDivergenceBackward& call, const TopK& top_k, const int32_t* labels) {
  const Head& head = call.head;
  const HeadGradients& out = call.gradients;
  const Kernels& kernels = active_kernels();
  const float scale_log2 = log2_scale(kernel_temperature(head));
  const CompactRows compact(head, labels, true);
  if (!compact.ok()) return {Code::memory};
  const int64_t tokens = std::min(BackwardPass::chunk(head), compact.count());
  const int64_t stride = (tokens + kRowColumns - 1) / kRowColumns * kRowColumns;
  const int workers = threads();
  Tiles tiles(head, tokens, workers, &out);
  BackwardPass backward(head, tokens, workers, out);
  SupportOfTiles support(top_k, head, tokens);
  Scratch<float> max(stride), factor(stride), gradients(tokens * top_k.k());
  CappedTiles capped(head, tokens, workers);
  const Softcap cap(head.softcap);
  if (!tiles.ok() || !backward.ok() || !support.ok() || !capped.ok() || !max.ok() || !factor.ok() || !gradients.ok()) {
    return {Code::memory};
  }

  clear_gradients(workers, head, compact, out);
  bool add = out.accumulate;
  each_chunk(compact, tokens, [&](const int64_t* rows, int64_t count) {
    const auto gradient_of = [&](int64_t r) { return top_k_gradient(call, top_k, rows[r]); };
    tiles.gather(rows, count);
    support.gather(rows, count);
    for (int64_t r = 0; r < count; r++) {
      const SoftmaxGradient softmax = gradient_of(r).outside();
      max[r] = softmax.max;
      factor[r] = softmax.factor;
    }
    std::fill(max.get() + count, max.get() + stride, INFINITY);
    std::fill(factor.get() + count, factor.get() + stride, 0.0f);
    const auto replace = [&](const Tile& tile, int64_t first, int64_t, int worker) {
      support.each_of(tile, first, [&](int64_t e, const auto& entry, float& x) {
        const float d = gradient_of(entry.token).of_support(top_k.logps(rows[entry.token])[entry.k], x);
        gradients[e] = static_cast<float>(d * cap.slope(x));
      });
      capped.keep(tile, worker);
      kernels.tile_gradient(tile, max.get(), factor.get(), nullptr, scale_log2);
      capped.times_slope(tile, worker, kernels);
      support.each_of(tile, first, [&](int64_t e, const auto&, float& x) { x = gradients[e]; });
    };
    backward.run(tiles, rows, count, kNotStored, {out.weight, out.bias, add}, out.hidden, replace);
    add = true;
  });
  return ended();
}

}  // namespace sweet
