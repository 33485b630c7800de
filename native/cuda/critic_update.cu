#include "../critic_update.h"
#include "update.h"

namespace sweet {

Status critic_update(const Update& update, const UpdateOut& out) {
  return cuda::run_update(update, Units::trajectories, out);
}

}  // namespace sweet
