// The two passes of a linear head over one chunk of tokens.
//
// Forward, an item of work is a run of words. Backward it is a group of tiles, with a gradHidden of its own that is
// added to the others' in their order. Which numbers add up in which order follows from the shapes alone.
#pragma once

#include "tiles.h"

namespace sweet {

/** A whole chunk's logits, tile after tile: kept from a forward pass, they need not be formed again. */
struct StoredLogits {
  float* x;
  int64_t tile_size;

  float* at(int64_t word) const { return x ? x + word / kTileEntries * tile_size : nullptr; }
};
constexpr StoredLogits kNotStored = {nullptr, 0};

class ForwardPass {
 public:
  ForwardPass(const Head& head, int64_t tokens, int workers);

  bool ok() const { return parts_.ok() && sums_.ok() && label_logits_.ok(); }

  /** Results of these rows, which are the chunk that tiles took. */
  void run(Tiles& tiles, const int64_t* rows, int64_t count, const int32_t* labels, const ForwardOut& out,
           StoredLogits store);

 private:
  const Head& head_;
  const int workers_;
  const int64_t items_;
  Scratch<SegmentStats> parts_, sums_;  // [tokens][items]; a worker: [tokens]
  Scratch<float> label_logits_;
};

/** Gradients of a pass: `weight` [V, H] and `bias` [V] or null are added to, or overwritten, as `add` says. */
struct WeightGradients {
  float *weight, *bias;
  bool add;
};

class BackwardPass {
 public:
  BackwardPass(const Head& head, int64_t tokens, int workers);

  /** How many tokens a chunk should have, so that the groups' gradHidden stays within bounds. */
  static int64_t chunk(const Head& head);

  bool ok() const { return hidden_.ok(); }

  /** hidden[rows[r]] += the gradient of the chunk's token r. */
  void run(Tiles& tiles, TokenGradients& gradients, const int64_t* rows, int64_t count, StoredLogits stored,
           const WeightGradients& out, float* hidden);

 private:
  const Head& head_;
  const int workers_;
  const int64_t tokens_;
  Scratch<float> hidden_;  // [groups][tokens][H]
};

}  // namespace sweet
