// The backward pass of a head of either kind. Its working memory is allocated first, before a call writes anything.
#pragma once

#include <optional>

#include "gemm/passes.h"

namespace sweet {

/** Of hidden states, in chunks of unmasked rows. */
class LinearBackward {
 public:
  LinearBackward(const Head& head, const int32_t* labels, const HeadGradients& gradients);

  bool ok() const { return compact_.ok() && tiles_.ok() && logit_gradients_.ok() && backward_.ok(); }
  Status run(const int32_t* labels, const Upstream& upstream);

 private:
  const Head& head_;
  const HeadGradients& gradients_;
  const CompactRows compact_;
  const int64_t chunk_;
  const int workers_;
  Tiles tiles_;
  LogitGradients logit_gradients_;
  BackwardPass backward_;
};

class HeadBackward {
 public:
  HeadBackward(const Head& head, const int32_t* labels, const HeadGradients& gradients)
      : head_(head), labels_(labels), gradients_(gradients), label_grads_(head.logits ? head.rows : 0) {
    if (!head.logits) linear_.emplace(head, labels, gradients);
  }

  bool ok() const { return linear_ ? linear_->ok() : label_grads_.ok(); }

  Status run(const Upstream& upstream) {
    return linear_ ? linear_->run(labels_, upstream)
                   : logits_backward(head_, labels_, upstream, label_grads_.get(), gradients_);
  }

 private:
  const Head& head_;
  const int32_t* const labels_;
  const HeadGradients& gradients_;
  Scratch<double> label_grads_;
  std::optional<LinearBackward> linear_;
};

}  // namespace sweet
