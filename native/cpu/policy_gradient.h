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
  bool counts(int64_t i) const { return counted_[i] != 0; }
  int64_t counted_in(TokenRange range) const;
  void check_coefficients();
  void add_unit(TokenRange unit, const TokenLogps& logps, PolicySums* sums);
  void write_gradients(int64_t i, const TokenLogps& logps, PolicySums* sums);

  const PolicyGradientUpdate& call_;
  const PolicyGradientOptions& options_;
  Scratch<int32_t> turn_offsets_, trajectory_offsets_;  // [T+1], [K+1], where they are given
  Scratch<uint8_t> counted_;                            // [N]
  Scratch<double> coefficients_;                        // [N] c
  Scratch<double> grads_;                               // [N] of the policy loss at the log-probs
  Scratch<float> grad_logps_, grad_entropy_;            // [N]
  PolicyGradientBatch batch_;                           // with the checked offsets
  int64_t count_ = 0;                                   // of counted tokens
};

}  // namespace sweet
