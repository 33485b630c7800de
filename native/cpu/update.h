// The one path of both updates; they differ in the units that a pair compares.
#pragma once

#include "../update.h"
#include "preference.h"

namespace sweet {

Status run_update(const Update& update, Units units, const UpdateOut& out);

}  // namespace sweet
