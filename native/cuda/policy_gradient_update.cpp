#include "../policy_gradient_update.h"

#include "policy_gradient.h"

namespace sweet {

Status policy_gradient_update(const PolicyGradientUpdate& call) {
  cuda::PolicyGradient loss(call);
  return cuda::head_update(call, loss);
}

}  // namespace sweet
