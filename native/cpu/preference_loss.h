// The preference loss in two steps, check and compute, so that an update can refuse a bad batch before it reads the
// first logit. An item is a trajectory or a turn, by the batch's level.
#pragma once

#include "../preference_loss.h"
#include "token_weights.h"

namespace sweet {

class PreferenceComputation {
 public:
  PreferenceComputation(const PreferenceBatch& batch, const PreferenceOptions& options);

  /** Copies and checks the batch. Checked labels (may be null) say which tokens count, in place of the batch's labels.
   */
  Status check(const int32_t* labels);

  /** After check() returned ok. out.grad_logps is the gradient of the loss, 0 at masked tokens. */
  void compute(const float* logps, const float* ref_logps, const PreferenceOut& out);

  int64_t pairs() const { return batch_.pairs.count; }

  /**
   * Whether the gradient at each token of a pair is dloss/d(S_chosen - S_rejected) of that pair times a coefficient
   * known in advance: no item is in two pairs, and there is no NLL term.
   */
  bool separable() const;

  /**
   * The kept tokens of pair p into rows, and into coefficients[i] d(S_chosen - S_rejected)/dlogp_i of token i; both
   * have space for all N. Returns the number of tokens. Pair -1: the items that are in no pair.
   */
  int64_t tokens_of_pair(int64_t p, int64_t* rows, float* coefficients) const;

  /** dloss/d(S_chosen - S_rejected). */
  double pair_grad(int64_t p, const float* logps, const float* ref_logps) const;

 private:
  /** dS_k/drho of the tokens of turn t in item k, per weight. */
  double coefficient(int64_t t, int64_t k) const;

  /** Sum of the weighted log-ratios of turn t. */
  double log_ratios(int64_t t, const float* logps, const float* ref_logps) const;

  const PreferenceBatch& batch_;
  const PreferenceOptions& options_;
  const int64_t items_;
  TokenWeights tokens_;                   // [N]
  Scratch<int32_t> turn_offsets_;         // [T+1] into tokens
  Scratch<double> turn_weights_;          // [T] sum over the tokens
  Scratch<int32_t> item_offsets_;         // [items+1] into turns
  Scratch<double> item_weights_;          // [items] sum over the tokens
  Scratch<int32_t> chosen_, rejected_;    // [P]
  Scratch<float> weights_;                // [P]
  Scratch<int32_t> item_pairs_;           // [items] number of pairs that the item is in
  Scratch<double> scores_, grad_scores_;  // [items] S, dloss/dS
  Scratch<double> item_logps_;            // [items] sum of logp, weighted
  Scratch<double> times_chosen_;          // [items]
  bool shared_ = false;                   // some item is in several pairs
  double denominator_ = 0;                // D
};

}  // namespace sweet
