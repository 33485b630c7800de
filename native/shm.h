// POSIX shared memory: named memory that several processes map.
#pragma once

#include <cstdint>

namespace sweet {

struct SharedMemory {
  void* data = nullptr;
  int64_t bytes = 0;
  int error = 0;               // errno of the failed step
  const char* step = nullptr;  // the failed step; null: none
};

/**
 * Maps `bytes` bytes of the shared memory `name` (without a slash); 0: all. With `create` it must not exist; it is
 * filled with zeros and allocated at once, since a failed allocation on a later access would terminate the process
 * (SIGBUS).
 */
SharedMemory map_shared(const char* name, int64_t bytes, bool create);

void unmap_shared(void* data, int64_t bytes);

/** Removes the name; mappings stay valid. Returns 0 or errno. */
int unlink_shared(const char* name);

}  // namespace sweet
