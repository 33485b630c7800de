// Device memory and its transfers, and the device of each thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "status.h"

namespace sweet {
namespace device {

/** For each device why it cannot be used, or an empty string. Without any device, `reason` says why there is none. */
std::vector<std::string> refusals(std::string* reason);

/** Sets the device of this thread's next calls. */
Status use(int device);

/** On the thread's device; null for 0 bytes. */
Status allocate(int64_t bytes, void** memory);
void release(void* memory);

/** The largest number of bytes of working memory of one operation since the last call of this function. */
int64_t take_peak_scratch();

/** Waits for the devices that were used and frees the memory that is kept for later operations; sets `freed` to its
 * bytes. Changes the thread's device. */
Status free_cached(int64_t* freed);

/** Ordered before the operations that this thread starts on its device afterwards. */
Status set_zero(void* memory, int64_t bytes);

/** Work that any thread starts on this thread's device later waits for the present work of `stream` (0: the default
 * stream). The host does not wait. */
Status follow(uint64_t stream);

/** `host` includes managed memory, which migrates. */
enum class Kind { none, host, device };

/** The allocation that contains an address. */
struct Location {
  Kind kind;
  int device;
  const char* begin;
  int64_t bytes;
};

/** Sets `begin` and `bytes` for device memory alone. `none` is memory that the driver does not know. */
Status locate(const void* address, Location* location);

constexpr int kHandleBytes = 64;

/** Fills the handle by which other processes open the allocation that begins at `begin`. */
Status share(const void* begin, unsigned char* handle);

/** Maps memory of another process for the thread's device; to be closed as often as it is opened. */
Status open_shared(const unsigned char* handle, void** begin);
void close_shared(void* begin);

// Synchronous copies, from any thread; `device` is that of the memory.
Status write(int device, void* memory, const void* host, int64_t bytes);
Status read(int device, const void* memory, void* host, int64_t bytes);

/** Waits for the work that this thread started on its device; sets `device` to that device. */
Status finish_thread(int* device);

/** Frees the streams and memory that this thread holds on devices, before the thread ends. */
void end_thread();

/** Frees the resources that threads share, except those of a copy that is running. */
void end_process();

}  // namespace device
}  // namespace sweet
