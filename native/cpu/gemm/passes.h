// The forward and the backward pass of a linear head over one chunk of tokens. The logits [tokens, V] are formed tile
// by tile and never stored as a whole, except where the one-pass update asks for it.
//
//   z_v = (bias_v + weight_v . hidden) / temperature,  lse = log sum_v e^z_v,  logp = z_label - lse
//   D_v = g * (1[v = label] - e^(z_v - lse)) / temperature
//   grad_hidden += sum_v D_v weight_v,  grad_weight_v += D_v hidden,  grad_bias_v += D_v
//
// With the gradients of an entropy and of lse, D_v is that of UpstreamRow in native/softmax.h. All D_v of a token add
// up to grad_lse: of a confident token, D_label follows from the others after the last tile, and its products are added
// then.
//
// Forward, an item of work is kItemEntries entries of the vocabulary; the statistics of a token's items are merged at
// the end. Backward, an item is a group of tiles with a gradHidden of its own; the groups are added in their order. So
// the order of all sums follows from the shapes alone.
#pragma once

#include <functional>

#include "tiles.h"

namespace sweet::reference {

/** One token: hidden [H], weight [V, H], bias [V]; returns logp. */
static inline double linear_logp(const float* hidden, const float* weight, const float* bias, int64_t vocab_size,
                                 int64_t hidden_size, int64_t label, double temperature, double* lse) {
  double z_label = 0, max = -INFINITY, sum = 0;
  for (int64_t v = 0; v < vocab_size; v++) {
    double z = bias[v];
    for (int64_t k = 0; k < hidden_size; k++) z += static_cast<double>(weight[v * hidden_size + k]) * hidden[k];
    z /= temperature;
    if (v == label) z_label = z;
    const double new_max = z > max ? z : max;
    sum = sum * ::exp(max - new_max) + ::exp(z - new_max);
    max = new_max;
  }
  *lse = max + ::log(sum);
  return z_label - *lse;
}

/** One token: adds to grad_hidden [H], grad_weight [V, H] and grad_bias [V]. */
static inline void linear_gradient(const float* hidden, const float* weight, const float* bias, int64_t vocab_size,
                                   int64_t hidden_size, int64_t label, double temperature, double lse, double g,
                                   double* grad_hidden, double* grad_weight, double* grad_bias) {
  for (int64_t v = 0; v < vocab_size; v++) {
    const float* const w = weight + v * hidden_size;
    double z = bias[v];
    for (int64_t k = 0; k < hidden_size; k++) z += static_cast<double>(w[k]) * hidden[k];
    const double d = g * ((v == label ? 1 : 0) - ::exp(z / temperature - lse)) / temperature;
    for (int64_t k = 0; k < hidden_size; k++) grad_hidden[k] += d * w[k];
    for (int64_t k = 0; k < hidden_size; k++) grad_weight[v * hidden_size + k] += d * hidden[k];
    grad_bias[v] += d;
  }
}

}  // namespace sweet::reference

namespace sweet {

// Entries of an item of the forward pass, in tiles: more share one rescaling and one merge, fewer occupy more threads.
// CPU time relative to this on a Zen 5, one thread, H 512, V 8192, float32 (bfloat16): 1 tile takes 1.11 (1.05), 2 1.00
// (1.00), 10 1.01 (0.98), 20 0.99 (0.98).
constexpr int64_t kItemEntries = 5 * kTileEntries;

/** The logits of a chunk, tile after tile, in memory that the caller keeps from the forward to the backward pass. */
struct StoredLogits {
  float* x;
  int64_t tile_size;

  float* at(int64_t entry) const { return x ? x + entry / kTileEntries * tile_size : nullptr; }
};
constexpr StoredLogits kNotStored = {nullptr, 0};

/** Columns first ... first + n - 1 of a row of a matrix, as float32. */
void widen_row(const Operand& matrix, int64_t row, int64_t first, int64_t n, float* to);

class ForwardPass {
 public:
  ForwardPass(const Head& head, int64_t tokens, int workers);

  bool ok() const { return item_stats_.ok() && worker_stats_.ok() && label_logits_.ok(); }

  /** Results of these rows, the chunk that tiles gathered. */
  void run(Tiles& tiles, const int64_t* rows, int64_t count, const int32_t* labels, const ForwardOut& out,
           StoredLogits store);

 private:
  const Head& head_;
  const int workers_;
  const int64_t items_;
  Scratch<SegmentStats> item_stats_, worker_stats_;  // [tokens, items]; per worker: [tokens]
  Scratch<float> label_logits_;                      // [tokens]
};

/** Gradients of a pass: `weight` [V, H], or [H, V] where the weight is, or null, `bias` [V] or null; added to with
 * `add`, else overwritten. */
struct WeightGradients {
  float *weight, *bias;
  bool add;
};

/** Sets gradients.weight and gradients.bias, where they are not null, to 0. */
void clear_weight_gradients(int workers, const Head& head, const HeadGradients& gradients);

class BackwardPass {
 public:
  BackwardPass(const Head& head, int64_t tokens, int workers, const HeadGradients& gradients);

  /** The number of tokens of a chunk that keeps gradHidden of all groups within kMaxGradHidden. */
  static int64_t chunk(const Head& head);

  bool ok() const { return group_hidden_.ok() && group_other_sums_.ok() && confident_.ok(); }

  /** hidden[rows[r]] += the gradient of the chunk's token r, unless null. */
  void run(Tiles& tiles, LogitGradients& gradients, const int64_t* rows, int64_t count, StoredLogits stored,
           const WeightGradients& out, float* hidden);

  /** Replaces the logits of a tile, whose first entry is `first`, by their gradients. */
  using Replace = std::function<void(const Tile& tile, int64_t first, int64_t group, int worker)>;

  /** The same with other gradients than those of log-probs. */
  void run(Tiles& tiles, const int64_t* rows, int64_t count, StoredLogits stored, const WeightGradients& out,
           float* hidden, const Replace& replace);

 private:
  /** D at the label of a token of the chunk. */
  struct ConfidentToken {
    int64_t label, token;
    double d;
  };

  /** The entries of D at the labels of confident tokens, from the sums of all others. */
  void add_confident_labels(const LogitGradients& gradients, const int64_t* rows, int64_t count,
                            const WeightGradients& out, float* hidden);

  const Head& head_;
  const int workers_;
  const int64_t tokens_;
  Scratch<float> group_hidden_;       // [groups, tokens, H], or empty
  Scratch<double> group_other_sums_;  // [groups, tokens]
  Scratch<ConfidentToken> confident_;
};

}  // namespace sweet
