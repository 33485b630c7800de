#include "../preference_update.h"

#include "head_update.h"
#include "preference_loss.h"

namespace sweet {

Status preference_update(const PreferenceUpdate& call) {
  PreferenceComputation loss(call.batch, call.options, call.out);
  return head_update(call, loss);
}

}  // namespace sweet
