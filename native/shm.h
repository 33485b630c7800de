// POSIX shared memory: a named piece of memory that several processes map.
#pragma once

#include <cstdint>

namespace sweet {

struct SharedMemory {
  void* data = nullptr;
  int64_t bytes = 0;
  int error = 0;               // errno of the step that failed
  const char* step = nullptr;  // nullptr: it is mapped
};

/**
 * Maps `bytes` bytes of the shared memory `name` (no slash), all of it where `bytes` is 0. With `create` it must not
 * exist yet, is filled with zeros, and its memory is had at once: a page that cannot be had later would end the
 * process.
 */
SharedMemory map_shared(const char* name, int64_t bytes, bool create);

void unmap_shared(void* data, int64_t bytes);

/** Removes the name; mappings stay. Returns 0 or errno. */
int unlink_shared(const char* name);

}  // namespace sweet
