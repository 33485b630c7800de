// POSIX shared memory: named memory that several processes map.
#pragma once

#include <cstdint>

namespace sweet {

struct SharedMemory {
  void* data = nullptr;
  int64_t bytes = 0;
  int error = 0;                   // errno of the failed step
  const char* step = nullptr;      // the failed step; null: none
  uint64_t device = 0, inode = 0;  // of the object, which another name or mapping shares; 0: unknown

  bool same_object(const SharedMemory& other) const {
    return data == other.data || (inode != 0 && inode == other.inode && device == other.device);
  }
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
