// The unpaired loss in two steps, check and compute, so that an update can refuse a bad batch before it reads the first
// logit.
#pragma once

#include "../unpaired_loss.h"
#include "items.h"
#include "token_loss.h"

namespace sweet {

class UnpairedComputation final : public TokenLoss {
 public:
  UnpairedComputation(const UnpairedBatch& batch, const UnpairedOptions& options, const UnpairedOut& out);

  Status check(const int32_t* labels) override;
  void compute(const TokenLogps& logps) override;
  bool needs_sum_squared_probs() const override { return false; }
  const float* grad_logps() const override { return out_.grad_logps; }

  /** An item is a step where z is known before the log-probs are: the factor of its gradient is then of its own score.
   */
  int64_t steps() const override { return by_steps_ ? items_.count() : 0; }
  int groups() const override { return 1; }
  int64_t tokens_of(int64_t step, int group, int64_t* rows, float* coefficients) const override;
  void factors(int64_t step, const TokenLogps& logps, double* factors) const override;

 private:
  double point_of_sequences() const;
  UnitTerm term(int64_t k, double score) const;

  /** dloss/dx of item k, whose slope is of an item of weight 1. */
  double grad(int64_t k, double slope) const { return shares_[k] == 0 ? 0 : shares_[k] * slope; }

  const UnpairedOptions& options_;
  const UnpairedBatch& batch_;
  const UnpairedOut out_;
  Items items_;
  Scratch<uint8_t> desirable_;  // [K]
  Scratch<double> shares_;      // [K] v_k / D
  Scratch<double> scores_;      // [K]
  double reference_point_ = 0;  // z
  bool by_steps_ = false;
};

}  // namespace sweet
