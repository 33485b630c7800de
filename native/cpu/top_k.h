// Top-k teachers: the checked entries, and what is computed of a row in float64.
#pragma once

#include "../divergence.h"
#include "../scratch.h"

namespace sweet {

/** The entries of all rows that are read, those of a row in the order of the vocabulary. */
class TopK {
 public:
  TopK(const Teacher& teacher, const Head& head);

  bool ok() const { return indices_.ok() && logps_.ok() && faults_.ok() && sorted_.ok(); }
  /** The first rule in the order of the rows that is broken; of a row, ids in [0, V), distinct ids, probabilities. */
  Status check(const int32_t* labels);

  int64_t k() const { return k_; }
  bool renormalizes() const { return teacher_.tail == TopKTail::renormalize; }
  /** Whether there are entries outside the support that count as one. */
  bool has_bucket() const { return !renormalizes() && k_ < head_.vocab_size; }
  const int32_t* indices(int64_t row) const { return indices_.get() + row * k_; }
  const float* logps(int64_t row) const { return logps_.get() + row * k_; }

 private:
  struct Entry {
    int32_t index, position;
  };
  Status check_row(int64_t row, Entry* sorted);

  const Teacher& teacher_;
  const Head& head_;
  const int64_t k_;
  const int workers_;
  Scratch<int32_t> indices_;  // [N, K]
  Scratch<float> logps_;      // [N, K]
  Scratch<Status> faults_;    // [N]
  Scratch<Entry> sorted_;     // per worker: [K]
};

TopKProbs probs_of(const TopK& top_k, int64_t row);

/** D of a row and what is saved. `logits` [K] of the support; `others`: statistics of all other entries. */
struct TopKRow {
  double divergence;
  SavedRow saved;

  TopKRow(const TopK& top_k, int64_t row, const float* logits, const SoftmaxStats& others, double temperature,
          Divergence type, double beta);
};

TopKGradient top_k_gradient(const HeadDivergenceBackward& call, const TopK& top_k, int64_t row);

}  // namespace sweet
