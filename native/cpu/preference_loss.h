// The preference loss in two steps, check and compute, so that an update can refuse a bad batch before it reads the
// first logit. An item is a trajectory or a turn, by the batch's level.
#pragma once

#include "../preference_loss.h"
#include "items.h"
#include "token_loss.h"

namespace sweet {

class PreferenceComputation final : public TokenLoss {
 public:
  PreferenceComputation(const PreferenceBatch& batch, const PreferenceOptions& options, const PreferenceOut& out);

  Status check(const int32_t* labels) override;
  void compute(const TokenLogps& logps) override;
  bool needs_sum_squared_probs() const override { return options_.use_weighting; }
  const float* grad_logps() const override { return out_.grad_logps; }
  int64_t steps() const override;
  int groups() const override { return separation_ == Separation::two_factors ? 2 : 1; }
  int64_t tokens_of(int64_t step, int group, int64_t* rows, float* coefficients) const override;
  void factors(int64_t step, const TokenLogps& logps, double* factors) const override;

 private:
  /** What the factors of an update in one pass are: of all pairs, no item being in two. */
  enum class Separation {
    none,
    of_pairs,     // dl/ds+ = -dl/ds-: a factor a pair
    of_items,     // dl/dpi of an item, which depends on that item alone
    two_factors,  // dl/dpi+ and dl/dpi-
  };

  /** Scores of the two items of a pair. */
  struct PairScores {
    ItemScore chosen, rejected;
  };

  int64_t pairs() const { return batch_.pairs.count; }
  Separation separation() const;
  double least_coefficient() const;
  double score_slope(int64_t k) const;
  Prefix prefix_of(int64_t p) const;
  ItemScore score(int64_t k, Prefix prefix, const TokenLogps& logps, float* advantages) const;
  PairScores scores_of(int64_t p, const TokenLogps& logps) const;
  double log_weight(int64_t k, const TokenLogps& logps) const;
  double weight_of(int64_t p, const TokenLogps& logps) const;
  void match_ranks(const TokenLogps& logps);
  void add_token_grads(int64_t p, const PairTerm& term, double weight);

  /** The sum of the NLL is divided by it; 0: there is none. */
  double nll_weight() const { return options_.nll_denominator > 0 ? options_.nll_denominator : chosen_weight_; }
  double nll_grad() const;

  const PreferenceBatch& batch_;
  const PreferenceOptions& options_;
  const PreferenceOut out_;
  Items items_;
  Scratch<int32_t> chosen_, rejected_;  // [P]
  Scratch<float> weights_;              // [P]
  Scratch<int32_t> item_pairs_;         // [items] number of pairs that the item is in
  Scratch<int32_t> pair_of_;            // [items] one of them
  Scratch<ItemScore> scores_;           // [items] where they do not depend on the pair
  Scratch<double> grads_;               // [items] dloss/dpi, likewise
  Scratch<double> token_grads_;         // [N] dloss/dlogp, where scores depend on the pair
  Scratch<double> item_logps_;          // [items] sum of logp, weighted
  Scratch<double> times_chosen_;        // [items]
  Scratch<double> log_weights_;         // [items] log W, where there is one
  Scratch<RankMatch> matches_;          // [types, P] where a type is of the batch
  Scratch<SortKeys> keys_;              // [P] likewise
  Scratch<int64_t> ranked_;             // [2, P] likewise: pairs in the order of their keys
  bool shared_ = false;                 // some item is in several pairs
  Separation separation_ = Separation::none;
  double denominator_ = 0;    // D
  double chosen_weight_ = 0;  // the weight of the tokens of all chosen items
};

}  // namespace sweet
