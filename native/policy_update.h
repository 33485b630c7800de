// One update of the policy: turn_preference.h from a head to the gradient at that head.
// Dropped rows are never read.
#pragma once

#include "update.h"

namespace sweet {

Status policy_update(const Update& update, const UpdateOut& out);

}  // namespace sweet
