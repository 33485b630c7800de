#include "passes.h"

#include <algorithm>

#include "../active.h"
#include "../parallel.h"

namespace sweet {
namespace {

// Figures: CPU time relative to the constant's on a Zen 5, one thread, H 512, V 8192, float32 (bfloat16).

// Groups of the backward pass, and the number of threads that it can occupy. In memory that was used before, 8 takes
// 0.99 (1.04), 16 0.97 (1.01), 64 1.07 (1.09).
constexpr int64_t kMaxGroups = 32;

constexpr int64_t kMaxGradHidden = int64_t{1} << 24;  // 64 MiB: gradHidden of all groups; not varied

// Of a chunk of the backward pass. In memory that was used before, 2048 tokens take 0.98 with 256, 512 or 2048.
constexpr int64_t kMinTokens = 64, kMaxTokens = 1024;

int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }

struct Groups {
  int64_t tiles, count;

  explicit Groups(int64_t vocab_size)
      : tiles(blocks(blocks(vocab_size, kTileEntries), kMaxGroups)),
        count(blocks(blocks(vocab_size, kTileEntries), tiles)) {}
};

}  // namespace

ForwardPass::ForwardPass(const Head& head, int64_t tokens, int workers)
    : head_(head),
      workers_(workers),
      items_(blocks(head.vocab_size, kItemEntries)),
      item_stats_(tokens * items_),
      worker_stats_(workers * tokens),
      label_logits_(tokens) {}

void ForwardPass::run(Tiles& tiles, const int64_t* rows, int64_t count, const int32_t* labels, const ForwardOut& out,
                      StoredLogits store) {
  const float scale_log2 = log2_scale(kernel_temperature(head_));
  parallel_for(workers_, items_, count * head_.vocab_size * head_.hidden_size, [&](int64_t item, int worker) {
    SegmentStats* const stats = worker_stats_.get() + worker * count;
    std::fill_n(stats, count, kEmptyStats);
    const int64_t begin = item * kItemEntries, end = begin + kItemEntries;
    for (int64_t v = begin; v < std::min(end, head_.vocab_size) && !cancelled(); v += kTileEntries) {
      const Tile tile = tiles.logits(tiles.weight_rows(v, worker), worker, store.at(v), [&](const Tile& uncapped) {
        if (out.with_argmax()) tiles.kernels().tile_argmax(uncapped, head_.vocab_offset + v, stats);
      });
      for (int64_t r = 0; r < count; r++) {
        const int64_t label = labels[rows[r]] - v;
        if (label >= 0 && label < tile.entries) label_logits_[r] = tile.x[label * tile.row_stride + r];
      }
      tiles.kernels().tile_stats(tile, stats, scale_log2, out.statistics());
    }
    for (int64_t r = 0; r < count; r++) item_stats_[r * items_ + item] = stats[r];
  });
  parallel_for(workers_, count, count * items_ * 16, [&](int64_t r, int) {
    const int64_t i = rows[r];
    finish_row(head_, item_stats_.get() + r * items_, items_, labels[i], label_logits_[r], out, i);
  });
}

void widen_row(const Operand& matrix, int64_t row, int64_t first, int64_t n, float* to) {
  const Kernels& kernels = active_kernels();
  if (matrix.column_stride == 1) return kernels.widen(matrix.at(row, first), matrix.dtype, n, to);
  for (int64_t c = 0; c < n; c++) kernels.widen(matrix.at(row, first + c), matrix.dtype, 1, to + c);
}

void clear_weight_gradients(int workers, const Head& head, const HeadGradients& gradients) {
  if (gradients.weight) clear(workers, gradients.weight, head.vocab_size * head.hidden_size);
  if (gradients.bias) clear(workers, gradients.bias, head.vocab_size);
}

int64_t BackwardPass::chunk(const Head& head) {
  const int64_t tokens = kMaxGradHidden / (Groups(head.vocab_size).count * head.hidden_size);
  return std::clamp(tokens / kMinTokens * kMinTokens, kMinTokens, kMaxTokens);
}

BackwardPass::BackwardPass(const Head& head, int64_t tokens, int workers, const HeadGradients& gradients)
    : head_(head),
      workers_(workers),
      tokens_(tokens),
      group_hidden_(gradients.hidden ? Groups(head.vocab_size).count * tokens * head.hidden_size : 0),
      group_other_sums_(Groups(head.vocab_size).count * tokens),
      confident_(tokens) {}

void BackwardPass::run(Tiles& tiles, LogitGradients& gradients, const int64_t* rows, int64_t count, StoredLogits stored,
                       const WeightGradients& out, float* hidden) {
  const auto other_sums_of = [&](int64_t group) {
    return gradients.needs_other_sums() ? group_other_sums_.get() + group * tokens_ : nullptr;
  };
  for (int64_t group = 0; gradients.needs_other_sums() && group < Groups(head_.vocab_size).count; group++) {
    std::fill_n(other_sums_of(group), count, 0.0);
  }
  run(tiles, rows, count, stored, out, hidden, [&](const Tile& tile, int64_t first, int64_t group, int worker) {
    gradients.replace(tile, first, worker, tiles.kernels(), other_sums_of(group));
  });
  if (gradients.needs_other_sums()) add_confident_labels(gradients, rows, count, out, hidden);
}

void BackwardPass::run(Tiles& tiles, const int64_t* rows, int64_t count, StoredLogits stored,
                       const WeightGradients& out, float* hidden, const Replace& replace) {
  const Groups groups(head_.vocab_size);
  const int64_t hidden_size = head_.hidden_size;
  parallel_for(workers_, groups.count, count * head_.vocab_size * hidden_size, [&](int64_t group, int worker) {
    float* const grad_hidden = hidden ? group_hidden_.get() + group * tokens_ * hidden_size : nullptr;
    const int64_t begin = group * groups.tiles * kTileEntries, end = begin + groups.tiles * kTileEntries;
    for (int64_t v = begin; v < std::min(end, head_.vocab_size) && !cancelled(); v += kTileEntries) {
      const Tiles::WeightRows weight = tiles.weight_rows(v, worker);
      const Tile tile = stored.x ? tiles.tile(weight, stored.at(v)) : tiles.logits(weight, worker, nullptr);
      replace(tile, v, group, worker);
      if (out.bias) add_row_sums(tile, out.bias + v, out.add);
      float* const grad_weight = out.weight ? out.weight + grad_weight_index(head_, v, 0) : nullptr;
      tiles.multiply(tile, weight, worker, grad_hidden, v > begin, grad_weight, out.add);
    }
  });
  parallel_for(workers_, hidden ? count : 0, groups.count * count * hidden_size, [&](int64_t r, int) {
    float* const to = hidden + rows[r] * hidden_size;
    for (int64_t group = 0; group < groups.count; group++) {
      const float* const from = group_hidden_.get() + (group * tokens_ + r) * hidden_size;
      for (int64_t k = 0; k < hidden_size; k++) to[k] += from[k];
    }
  });
}

void BackwardPass::add_confident_labels(const LogitGradients& gradients, const int64_t* rows, int64_t count,
                                        const WeightGradients& out, float* hidden) {
  constexpr int64_t kColumns = 64;
  const int64_t hidden_size = head_.hidden_size, groups = Groups(head_.vocab_size).count;
  int64_t confident = 0;
  for (int64_t r = 0; r < count; r++) {
    if (gradients.is_confident(r)) confident_[confident++] = {gradients.label(r), r, 0};
  }
  ConfidentToken* const end = confident_.get() + confident;
  // Tokens of one label are adjacent and in their order: their products are added before they are rounded.
  std::sort(confident_.get(), end, [](const ConfidentToken& a, const ConfidentToken& b) {
    return a.label != b.label ? a.label < b.label : a.token < b.token;
  });
  for (ConfidentToken* each = confident_.get(); each < end; each++) {
    double other_sum = 0;
    for (int64_t group = 0; group < groups; group++) other_sum += group_other_sums_[group * tokens_ + each->token];
    each->d = gradients.label_gradient(each->token, other_sum);
  }

  // An item is a range of columns of hidden and weight.
  parallel_for(workers_, blocks(hidden_size, kColumns), confident * hidden_size, [&](int64_t item, int) {
    const int64_t first = item * kColumns, n = std::min(kColumns, hidden_size - first);
    for (const ConfidentToken* token = confident_.get(); token < end;) {
      const int64_t label = token->label;
      float weight[kColumns], row[kColumns];
      double sums[kColumns] = {}, sum = 0;
      widen_row(head_.weight, label, first, n, weight);
      for (; token < end && token->label == label; token++) {
        float* const to = hidden ? hidden + rows[token->token] * hidden_size + first : nullptr;
        widen_row(head_.hidden, rows[token->token], first, n, row);
        for (int64_t c = 0; c < n; c++) {
          if (to) to[c] = static_cast<float>(to[c] + token->d * weight[c]);
          sums[c] += token->d * row[c];
        }
        sum += token->d;
      }
      for (int64_t c = 0; out.weight && c < n; c++) {
        out.weight[grad_weight_index(head_, label, first + c)] += static_cast<float>(sums[c]);
      }
      if (out.bias && item == 0) out.bias[label] += static_cast<float>(sum);
    }
  });
}

}  // namespace sweet
