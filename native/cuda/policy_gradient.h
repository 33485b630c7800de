// The policy-gradient loss on the device. All pointers but the scalars are to device memory.
#pragma once

#include "../policy_gradient_update.h"
#include "head_update.h"

namespace sweet {
namespace cuda {

/** tokens: of counted ones. denominator: D. */
struct PolicyGradientTotals {
  double tokens, denominator;
};

/** What the kernels work on. */
struct PolicyGradientInputs {
  PolicyGradientBatch batch;
  PolicyGradientOptions options;
  const int32_t* labels;  // [N] checked
  const PolicyGradientTotals* totals;
  const double* coefficients;        // [N] c, or null: 1 / D each
  const float* entropy;              // [N] or null
  float *grad_logps, *grad_entropy;  // [N]; grad_entropy may be null
};

class PolicyGradient final : public TokenLoss {
 public:
  explicit PolicyGradient(const PolicyGradientUpdate& call) : call_(call) {}

  void check(LaunchContext& context, const int32_t* labels) override;
  void compute(LaunchContext& context, const TokenLogps& logps) override;
  const float* grad_logps() const override { return inputs_.grad_logps; }
  const float* grad_entropy() const override { return inputs_.grad_entropy; }
  bool by_token() const override { return call_.options.ratio_level == RatioLevel::token; }
  void compute_tokens(LaunchContext& context, const TokenLogps& logps, const int64_t* tokens, int64_t count) override;
  double* scalars() const override { return call_.out.scalars; }
  int scalar_count() const override { return kPolicyScalars; }

 private:
  const PolicyGradientUpdate& call_;
  PolicyGradientInputs inputs_{};
};

}  // namespace cuda
}  // namespace sweet
