// Memory of devices, and which device a thread's operations work on: what the operations' arrays lie in when they are
// not the host's.
#pragma once

#include <cstdint>

#include "status.h"

namespace sweet {
namespace device {

/** How many devices there are; where there is none, `reason` says why. */
int count(const char** reason);

/** The device on which this thread's next calls work. */
Status use(int device);

/** On the thread's device; a size of 0 has no memory. */
Status allocate(int64_t bytes, void** memory);
void release(void* memory);

/** The most bytes of working memory that one operation had at once, of those since this was last asked. */
int64_t take_peak_scratch();

/** Before any operation that this thread starts on its device afterwards. */
Status set_zero(void* memory, int64_t bytes);

/** What any thread starts on this thread's device from now on comes after what `stream` was given so far; 0 is the
 * default stream. The host does not wait. */
Status follow(uint64_t stream);

/** `host` may be managed memory as well, which moves. */
enum class Kind { none, host, device };

/** The piece of memory in which an address lies. */
struct Location {
  Kind kind;
  int device;
  const char* begin;
  int64_t bytes;
};

/** Of the host's memory, or of none that the driver knows, only that it is that. */
Status locate(const void* address, Location* location);

constexpr int kHandleBytes = 64;

/** By this handle other processes open the memory that begins at `begin`. */
Status share(const void* begin, unsigned char* handle);

/** Maps another process's memory, as seen from the thread's device. Opened again it is the same memory, to be closed as
 * often as it was opened. */
Status open_shared(const unsigned char* handle, void** begin);
void close_shared(void* begin);

// Copies, done when they return. Any thread may call them; `device` is the memory's.
Status write(int device, void* memory, const void* host, int64_t bytes);
Status read(int device, const void* memory, void* host, int64_t bytes);

/** Waits for what this thread started on its device, which `device` becomes. */
Status finish_thread(int* device);

/** Ends what this thread's operations keep on devices, before the thread ends. */
void end_thread();

/** Ends what the threads keep for each other, wherever no copy is under way. */
void end_process();

}  // namespace device
}  // namespace sweet
