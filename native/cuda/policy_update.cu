#include "../policy_update.h"
#include "update.h"

namespace sweet {

Status policy_update(const Update& update, const UpdateOut& out) { return cuda::run_update(update, Units::turns, out); }

}  // namespace sweet
