// The policy-gradient loss in two steps, check and compute, as preference_loss.h. The gradient at a token follows from
// its own log-prob and entropy where a token has a ratio of its own: then an update forms it in one pass.
#pragma once

#include "../policy_gradient_update.h"
#include "../scratch.h"
#include "token_loss.h"

namespace sweet {

class PolicyGradient final : public TokenLoss {
 public:
  explicit PolicyGradient(const PolicyGradientUpdate& call);

  Status check(const int32_t* labels) override;
  void compute(const TokenLogps& logps) override;
  bool needs_sum_squared_probs() const override { return false; }
  const float* grad_logps() const override { return grad_logps_.get(); }
  const float* grad_entropy() const override { return options_.entropy_coef != 0 ? grad_entropy_.get() : nullptr; }
  bool by_token() const override { return options_.ratio_level == RatioLevel::token; }
  void compute_token(int64_t i, const TokenLogps& logps) override;
  int64_t steps() const override { return 0; }
  int groups() const override { return 1; }
  int64_t tokens_of(int64_t, int, int64_t*, float*) const override { return 0; }
  void factors(int64_t, const TokenLogps&, double*) const override {}

 private:
  /** Sums over counted tokens. */
  struct Sums {
    double policy_loss = 0, kl = 0, entropy = 0, approx_kl = 0;
    int64_t clipped = 0;
  };

  /** The tokens first ... last - 1, which have one ratio. */
  struct Unit {
    int64_t first, last;
  };

  bool counts(int64_t i) const { return counted_[i] != 0; }
  int64_t units() const;
  Unit unit(int64_t u) const;
  Unit trajectory(int64_t k) const;
  Unit turn(int64_t t) const;
  int64_t counted_in(Unit unit) const;
  void check_coefficients();
  double log_ratio(int64_t i, const TokenLogps& logps) const;
  PolicyTerm term(int64_t i, double ratio, const TokenLogps& logps) const;
  double policy_weight(int64_t i) const;
  void add_unit(Unit unit, const TokenLogps& logps, Sums* sums);
  double kl_grad(int64_t i, const TokenLogps& logps, Sums* sums) const;

  const PolicyGradientUpdate& call_;
  const PolicyGradientBatch& batch_;
  const PolicyGradientOptions& options_;
  Scratch<int32_t> turn_offsets_, trajectory_offsets_;  // [T+1], [K+1], where they are given
  Scratch<uint8_t> counted_;                            // [N]
  Scratch<double> coefficients_;                        // [N] c
  Scratch<double> grads_;                               // [N] dloss/dlogp
  Scratch<float> grad_logps_, grad_entropy_;            // [N]
  int64_t count_ = 0;                                   // of counted tokens
};

}  // namespace sweet
