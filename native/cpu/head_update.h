// An update: head -> log-probs -> a loss of them -> gradient at the head.
#pragma once

#include "../head_update.h"
#include "token_loss.h"

namespace sweet {

/** The loss is not checked yet. */
Status head_update(const HeadUpdate& call, TokenLoss& loss);

}  // namespace sweet
