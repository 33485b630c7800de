#include "../unpaired_update.h"

#include "head_update.h"
#include "unpaired_loss.h"

namespace sweet {
namespace cuda {
namespace {

class OfItems final : public TokenLoss {
 public:
  explicit OfItems(const UnpairedUpdate& call) : call_(call) {}

  void check(LaunchContext& context, const int32_t* labels) override {
    inputs_ = check_unpaired(context, call_.batch, call_.options, labels);
  }
  void compute(LaunchContext& context, const TokenLogps& logps) override {
    compute_unpaired(context, inputs_, logps, call_.out);
  }
  const float* grad_logps() const override { return call_.out.grad_logps; }
  double* scalars() const override { return call_.out.scalars; }

 private:
  const UnpairedUpdate& call_;
  UnpairedInputs inputs_{};
};

}  // namespace
}  // namespace cuda

Status unpaired_update(const UnpairedUpdate& call) {
  cuda::OfItems loss(call);
  return cuda::head_update(call, loss);
}

}  // namespace sweet
