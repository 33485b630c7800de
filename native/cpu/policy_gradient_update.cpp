#include "../policy_gradient_update.h"

#include "head_update.h"
#include "policy_gradient.h"

namespace sweet {

Status policy_gradient_update(const PolicyGradientUpdate& call) {
  PolicyGradient loss(call);
  return head_update(call, loss);
}

}  // namespace sweet
