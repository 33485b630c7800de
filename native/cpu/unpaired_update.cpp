#include "../unpaired_update.h"

#include "head_update.h"
#include "unpaired_loss.h"

namespace sweet {

Status unpaired_update(const UnpairedUpdate& call) {
  UnpairedComputation loss(call.batch, call.options, call.out);
  return head_update(call, loss);
}

}  // namespace sweet
