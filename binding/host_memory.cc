// In the CPU's addon, only typed arrays have memory.
#include "args.h"

namespace sweet {

void* handle_memory(napi_env, napi_value, int64_t* length) {
  *length = 0;
  return nullptr;
}

Call for_another_thread(Call call) { return call; }

}  // namespace sweet
