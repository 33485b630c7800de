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
  Scratch<int32_t> indices_;  // [N, K]
  Scratch<float> logps_;      // [N, K]
  Scratch<Status> faults_;    // [N]
  Scratch<Entry> sorted_;     // per worker: [K]
};

/** P of a row: log P_k = logps[k] - log_norm, and log P_T. */
struct TopKProbs {
  double log_norm, log_tail, sum;  // sum: of P with its tail

  TopKProbs(const TopK& top_k, int64_t row);
};

/** D of a row and what is saved. `logits` [K] of the support; `others`: statistics of all other entries. */
struct TopKRow {
  double divergence;
  SavedRow saved;

  TopKRow(const TopK& top_k, int64_t row, const float* logits, const SoftmaxStats& others, double temperature,
          Divergence type, double beta);
};

/** Whether the entries of a row's gradient are computed; else all of them are NaN. */
inline bool has_gradient(const SavedRow& row, float grad_divergence) {
  const double sum = row.lse_z + row.lse_y + row.kappa;
  return sum - sum == 0 && grad_divergence == grad_divergence;
}

/** dD/dz of a row times `factor`. */
class TopKGradient {
 public:
  TopKGradient(const TopK& top_k, int64_t row, const SavedRow& saved, double temperature, Divergence type, double beta,
               double factor);

  float of_support(float logp, float logit) const;
  /** Of an entry outside the support, divided by its probability. */
  double outside() const;

 private:
  const TopKProbs probs_;
  const bool bucket_;
  const SavedRow saved_;
  const double temperature_;
  const Divergence type_;
  const double beta_, factor_;
};

}  // namespace sweet
