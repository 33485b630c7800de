// An update on the device: head -> log-probs -> a loss of them -> gradient at the head.
#pragma once

#include "../head_update.h"
#include "token_loss.h"

namespace sweet {
namespace cuda {

Status head_update(const HeadUpdate& call, TokenLoss& loss);

}  // namespace cuda
}  // namespace sweet
