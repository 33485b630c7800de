// One update of the critic: trajectory_preference.h from a head to the gradient at that head.
// Dropped rows are never read.
#pragma once

#include "update.h"

namespace sweet {

Status critic_update(const Update& update, const UpdateOut& out);

}  // namespace sweet
