#include "../preference_update.h"

#include "head_update.h"
#include "preference_loss.h"

namespace sweet {
namespace cuda {
namespace {

class OfPairs final : public TokenLoss {
 public:
  explicit OfPairs(const PreferenceUpdate& call) : call_(call) {}

  void check(LaunchContext& context, const int32_t* labels) override {
    inputs_ = check_preference(context, call_.batch, call_.options, labels);
  }
  bool needs_sum_squared_probs() const override { return call_.options.use_weighting; }
  void compute(LaunchContext& context, const TokenLogps& logps) override {
    compute_preference(context, inputs_, call_.head.rows, logps, call_.out);
  }
  const float* grad_logps() const override { return call_.out.grad_logps; }
  double* scalars() const override { return call_.out.scalars; }

 private:
  const PreferenceUpdate& call_;
  PreferenceInputs inputs_{};
};

}  // namespace
}  // namespace cuda

Status preference_update(const PreferenceUpdate& call) {
  cuda::OfPairs loss(call);
  return cuda::head_update(call, loss);
}

}  // namespace sweet
