// The one path of both updates on the device; they differ in the units that a pair compares.
#pragma once

#include "../update.h"

namespace sweet {
namespace cuda {

Status run_update(const Update& update, Units units, const UpdateOut& out);

}  // namespace cuda
}  // namespace sweet
