// One update of a policy on single items in one call: head -> log-probs -> unpaired loss -> gradient at the head.
// Masked and ignored rows are not read.
#pragma once

#include "head_update.h"
#include "unpaired_loss.h"

namespace sweet {

struct UnpairedUpdate : HeadUpdate {
  UnpairedBatch batch;  // with the same labels
  UnpairedOptions options;
  UnpairedOut out;
};

Status unpaired_update(const UnpairedUpdate& call);

}  // namespace sweet
