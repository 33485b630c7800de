// The linear head: tiles of logits that are reduced, or turned into gradients, while they are in cache.
//
// Forward, the items of work are blocks of words × chunks of rows: an item packs a panel of the weight at a time,
// multiplies the chunk's hidden states into a tile of logits and adds them to the sums of their rows. Backward, a chunk
// × block of logit gradients D is formed the same way and multiplied twice:  gradHidden += D · W,  gradWeight += Dᵀ ·
// hidden. Which numbers add up in which order follows from the shapes alone.
#include "../linear_logps.h"

#include <algorithm>

#include "../backend.h"
#include "../scratch.h"
#include "active.h"
#include "parallel.h"
#include "rows.h"

namespace sweet {
namespace {

constexpr int64_t kForwardRows = 1024, kForwardWords = 2048;   // an item of the forward pass
constexpr int64_t kBackwardRows = 512, kBackwardWords = 1024;  // D: 2 MB
constexpr int64_t kTile = 96;                                  // rows of logits formed before they are reduced: 24 KB

int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }

/** The head's matrices as the product wants them: float32, packed in panels. */
class Packer {
 public:
  Packer(const Head& head, const Kernels& kernels) : head_(head), kernels_(kernels), panel_(kernels.panel) {}

  /** out[r] = hidden[rows[r]]. */
  void gather_hidden(const int64_t* rows, int64_t count, float* out) const {
    for (int64_t r = 0; r < count; r++) widen(head_.hidden, rows[r] * head_.width, head_.width, out + r * head_.width);
  }

  /** Words first … first+count−1 of the weight, transposed: [H][panel]. `row` has room for one row of the weight. */
  void words(int64_t first, int64_t count, float* row, float* packed) const {
    for (int64_t v = 0; v < count; v++) {
      widen(head_.weight, (first + v) * head_.width, head_.width, row);
      for (int64_t k = 0; k < head_.width; k++) packed[k * panel_ + v] = row[k];
    }
    // The product reads whole panels; what it makes of these columns is dropped.
    for (int64_t k = 0; count < panel_ && k < head_.width; k++) {
      std::fill(packed + k * panel_ + count, packed + (k + 1) * panel_, 0.0f);
    }
  }

  /** Columns first … of rows from … from+depth−1 of the weight: [depth][panel]. */
  void weight_columns(int64_t from, int64_t depth, int64_t first, float* packed) const {
    columns(depth, first, packed,
            [&](int64_t k, int64_t n, float* out) { widen(head_.weight, (from + k) * head_.width + first, n, out); });
  }

  /** Columns first … of gathered hidden states: [depth][panel]. */
  void hidden_columns(const float* hidden, int64_t depth, int64_t first, float* packed) const {
    columns(depth, first, packed,
            [&](int64_t k, int64_t n, float* out) { std::copy_n(hidden + k * head_.width + first, n, out); });
  }

  /** logits[r][v] of a packed panel: the same bits in both passes. `bias` has room for a panel. */
  void logits(const float* hidden, int64_t rows, const float* packed, int64_t first, int count, float* bias, float* out,
              int64_t out_row) const {
    kernels_.multiply(hidden, head_.width, 1, rows, head_.width, packed, out, out_row, count, false);
    if (!head_.bias) return;
    widen(head_.bias, first, count, bias);
    for (int64_t r = 0; r < rows; r++) {
      for (int v = 0; v < count; v++) out[r * out_row + v] += bias[v];
    }
  }

 private:
  void widen(const void* matrix, int64_t at, int64_t count, float* out) const {
    kernels_.widen(static_cast<const char*>(matrix) + at * bytes_of(head_.dtype), head_.dtype, count, out);
  }

  template <class Copy>
  void columns(int64_t depth, int64_t first, float* packed, Copy copy) const {
    const int64_t count = std::min(panel_, head_.width - first);
    for (int64_t k = 0; k < depth; k++, packed += panel_) {
      copy(k, count, packed);
      std::fill(packed + count, packed + panel_, 0.0f);
    }
  }

  const Head& head_;
  const Kernels& kernels_;
  const int64_t panel_;
};

/** The rows whose logits are needed, in their order: the others cost nothing. */
int64_t select_rows(const int32_t* labels, int64_t n, bool skip_ignored, int64_t* rows) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) {
    if (is_read(labels[i], skip_ignored)) rows[count++] = i;
  }
  return count;
}

}  // namespace

Status linear_forward(const Head& head, const int32_t* labels, const RowsOut& out) {
  const Kernels& kernels = active_kernels();
  const Packer pack(head, kernels);
  const int64_t width = head.width, panel = kernels.panel, word_blocks = blocks(head.vocab, kForwardWords);

  Scratch<int64_t> rows(head.rows);
  if (!rows.ok()) return {Code::memory};
  const int64_t active = select_rows(labels, head.rows, out.skip_ignored, rows.get());

  const int slots = threads();
  const int64_t chunk = std::min(kForwardRows, active), room = (chunk + panel + 1) * width;
  Scratch<RowSums> sums(active * word_blocks);
  Scratch<float> label_logits(active), slot_room(slots * room);
  if (!sums.ok() || !label_logits.ok() || !slot_room.ok()) return {Code::memory};

  const float slope = slope_of(head.temperature);
  const int64_t items = blocks(active, kForwardRows) * word_blocks;
  parallel_for(slots, items, active * head.vocab * width, [&](int64_t item, int slot) {
    const int64_t block = item % word_blocks, first_row = item / word_blocks * kForwardRows;
    const int64_t count = std::min(kForwardRows, active - first_row);
    const int64_t first = block * kForwardWords, last = std::min(first + kForwardWords, head.vocab);
    float* const hidden = slot_room.get() + slot * room;
    float* const packed = hidden + chunk * width;
    float* const row = packed + panel * width;
    pack.gather_hidden(rows.get() + first_row, count, hidden);

    const auto sums_of = [&](int64_t r) { return sums.get() + (first_row + r) * word_blocks + block; };
    for (int64_t r = 0; r < count; r++) *sums_of(r) = kNothingSeen;

    float logits[kTile * kMaxPanel], bias[kMaxPanel];
    for (int64_t v = first; v < last; v += panel) {
      const int words = static_cast<int>(std::min(panel, last - v));
      pack.words(v, words, row, packed);
      for (int64_t r0 = 0; r0 < count; r0 += kTile) {
        const int64_t tile = std::min(kTile, count - r0);
        pack.logits(hidden + r0 * width, tile, packed, v, words, bias, logits, panel);
        for (int64_t r = 0; r < tile; r++) {
          const float* const x = logits + r * panel;
          kernels.sum_words(sums_of(r0 + r), x, DType::float32, words, slope, out.entropy != nullptr);
          const int64_t at = first_row + r0 + r, label = labels[rows[at]];
          if (label >= v && label < v + words) label_logits[at] = x[label - v];
        }
      }
    }
  });

  std::fill_n(out.logps, head.rows, 0.0f);
  std::fill_n(out.lse, head.rows, 0.0);
  if (out.entropy) std::fill_n(out.entropy, head.rows, 0.0f);
  for (int64_t r = 0; r < active; r++) {
    const int64_t i = rows[r];
    finish_row(sums.get() + r * word_blocks, word_blocks, labels[i], label_logits[r], head.temperature, out, i);
  }
  return {};
}

Status linear_backward(const Head& head, const int32_t* labels, const double* lse, const float* grad_logps,
                       const HeadGradients& out) {
  const Kernels& kernels = active_kernels();
  const Packer pack(head, kernels);
  const int64_t width = head.width, panel = kernels.panel, width_panels = blocks(width, panel);

  Scratch<int64_t> rows(head.rows);
  if (!rows.ok()) return {Code::memory};
  const int64_t active = select_rows(labels, head.rows, true, rows.get());

  const int slots = threads();
  const int64_t chunk = std::min(kBackwardRows, active), d_row = std::min(kBackwardWords, head.vocab);
  const int64_t room = std::max(width, d_row) * panel + width;
  Scratch<float> hidden(chunk * width), hidden_panels(width_panels * chunk * panel), grad_hidden(chunk * width);
  Scratch<float> d(chunk * d_row), slot_room(slots * room);
  if (!hidden.ok() || !hidden_panels.ok() || !grad_hidden.ok() || !d.ok() || !slot_room.ok()) return {Code::memory};

  if (!out.accumulate) {
    std::fill_n(out.hidden, head.rows * width, 0.0f);
    std::fill_n(out.weight, head.vocab * width, 0.0f);
    if (out.bias) std::fill_n(out.bias, head.vocab, 0.0f);
  }

  for (int64_t first_row = 0; first_row < active; first_row += kBackwardRows) {
    const int64_t* const chunk_rows = rows.get() + first_row;
    const int64_t count = std::min(kBackwardRows, active - first_row);
    pack.gather_hidden(chunk_rows, count, hidden.get());
    parallel_for(slots, width_panels, count * width, [&](int64_t j, int) {
      pack.hidden_columns(hidden.get(), count, j * panel, hidden_panels.get() + j * count * panel);
    });

    for (int64_t first = 0; first < head.vocab; first += kBackwardWords) {
      const int64_t words = std::min(kBackwardWords, head.vocab - first), work = count * words * width;

      // D = g · (1[label] − p) / temperature, a panel of words an item.
      parallel_for(slots, blocks(words, panel), work, [&](int64_t j, int slot) {
        const int64_t v = first + j * panel;
        const int n = static_cast<int>(std::min(panel, first + words - v));
        float* const packed = slot_room.get() + slot * room;
        float bias[kMaxPanel];
        double bias_sums[kMaxPanel] = {};
        pack.words(v, n, packed + width * panel, packed);
        pack.logits(hidden.get(), count, packed, v, n, bias, d.get() + j * panel, d_row);
        for (int64_t r = 0; r < count; r++) {
          float* const x = d.get() + r * d_row + j * panel;
          const int64_t i = chunk_rows[r], label = labels[i];
          const bool holds_label = label >= v && label < v + n;
          const float label_logit = holds_label ? x[label - v] : 0.0f;
          const double g = grad_logps[i] / head.temperature;
          const Softmax softmax(lse[i], head.temperature, -g);
          kernels.grad_words(x, x, DType::float32, n, softmax.slope, softmax.pivot, softmax.factor);
          if (holds_label) {
            x[label - v] = static_cast<float>(label_gradient(label_logit, lse[i], head.temperature, g));
          }
          for (int b = 0; out.bias && b < n; b++) bias_sums[b] += x[b];
        }
        for (int b = 0; out.bias && b < n; b++) out.bias[v + b] += static_cast<float>(bias_sums[b]);
      });

      // gradHidden of the chunk, a panel of columns an item.
      parallel_for(slots, width_panels, work, [&](int64_t j, int slot) {
        float* const packed = slot_room.get() + slot * room;
        const int n = static_cast<int>(std::min(panel, width - j * panel));
        pack.weight_columns(first, words, j * panel, packed);
        kernels.multiply(d.get(), d_row, 1, count, words, packed, grad_hidden.get() + j * panel, width, n, first > 0);
      });

      // gradWeight of the block, a panel of columns an item.
      parallel_for(slots, width_panels, work, [&](int64_t j, int) {
        const int n = static_cast<int>(std::min(panel, width - j * panel));
        kernels.multiply(d.get(), 1, d_row, words, count, hidden_panels.get() + j * count * panel,
                         out.weight + first * width + j * panel, width, n, true);
      });
    }

    for (int64_t r = 0; r < count; r++) {
      float* const to = out.hidden + chunk_rows[r] * width;
      const float* const from = grad_hidden.get() + r * width;
      for (int64_t k = 0; k < width; k++) to[k] += from[k];
    }
  }
  return {};
}

Status linear_logps(const Head& head, const Labels& labels, const LogpsOut& out) { return logps_of(head, labels, out); }

Status linear_logps_backward(const Head& head, const Labels& labels, const LogpsBackward& backward) {
  return logps_backward_of(head, labels, backward);
}

}  // namespace sweet
