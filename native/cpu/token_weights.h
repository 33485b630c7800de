// What each token of a batch counts, m_i in the formulas: 0 where it is masked or ignored, else 1 or its weight. A
// checked copy.
#pragma once

#include "../cancel.h"
#include "../layout.h"
#include "../scratch.h"

namespace sweet {

class TokenWeights {
 public:
  TokenWeights(const Labels& labels, int64_t tokens)
      : labels_(labels), tokens_(tokens), kept_(tokens), weights_(labels.weights ? tokens : 0) {}

  bool ok() const { return kept_.ok() && weights_.ok(); }

  /** Checked labels (may be null) say which tokens are kept, in place of the labels. */
  Status check(const int32_t* checked_labels) {
    if (checked_labels) {
      for (Blocks block(0, tokens_); block.next();)
        for (int64_t i = block.begin; i < block.end; i++) kept_[i] = checked_labels[i] >= 0;
    } else {
      (void)copy_kept(labels_, tokens_, kept_.get());
    }
    if (cancelled() || !weighted()) return ended();
    return check_weights(labels_, tokens_, kept_.get(), weights_.get());
  }

  /** Neither masked nor ignored; its weight may be 0. */
  bool is_kept(int64_t i) const { return kept_[i]; }

  float weight(int64_t i) const { return weighted() ? weights_[i] : static_cast<float>(kept_[i]); }

  /** use(i, m_i) for the tokens first ... last - 1 that have a weight, in their order. */
  template <class Use>
  void each(int64_t first, int64_t last, Use use) const {
    for (Blocks block(first, last); block.next();) {
      if (weighted()) {
        for (int64_t i = block.begin; i < block.end; i++) {
          if (weights_[i] != 0) use(i, static_cast<double>(weights_[i]));
        }
      } else {
        for (int64_t i = block.begin; i < block.end; i++) {
          if (kept_[i]) use(i, 1.0);
        }
      }
    }
  }

  /** The sum of the weights of the tokens first ... last - 1. */
  double sum(int64_t first, int64_t last) const {
    double weight = 0;
    int64_t count = 0;
    for (Blocks block(first, last); block.next();) {
      if (weighted()) {
        for (int64_t i = block.begin; i < block.end; i++) weight += weights_[i];
      } else {
        int32_t of_block = 0;  // an addition of integers has no latency that an addition of doubles would wait for
        for (int64_t i = block.begin; i < block.end; i++) of_block += kept_[i];
        count += of_block;
      }
    }
    return weighted() ? weight : static_cast<double>(count);
  }

  /** to[i] = grad * weight of the tokens first ... last - 1; 0 without a weight, whatever grad is. */
  void scale(double grad, int64_t first, int64_t last, float* to) const {
    for (Blocks block(first, last); block.next();) {
      if (weighted()) {
        for (int64_t i = block.begin; i < block.end; i++) {
          to[i] = weights_[i] != 0 ? static_cast<float>(grad * weights_[i]) : 0.0f;
        }
      } else {
        for (int64_t i = block.begin; i < block.end; i++) to[i] = kept_[i] ? static_cast<float>(grad) : 0.0f;
      }
    }
  }

 private:
  bool weighted() const { return labels_.weights != nullptr; }

  const Labels& labels_;
  const int64_t tokens_;
  Scratch<uint8_t> kept_;   // [N]
  Scratch<float> weights_;  // [N] where weights are given
};

}  // namespace sweet
