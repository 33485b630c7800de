// How a call ends early: whoever started it raises a flag, the call looks at it between blocks of work and leaves.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "status.h"

namespace sweet {

/** What this thread's call looks at; null where nobody can end it. */
inline thread_local const std::atomic<bool>* cancel_flag = nullptr;

inline bool cancelled() { return cancel_flag && cancel_flag->load(std::memory_order_relaxed); }

/**
 * The rows first ... last - 1 of a loop that does little in each, block by block, until its call is cancelled:
 *
 *     for (Blocks block(0, n); block.next();) for (int64_t i = block.begin; i < block.end; i++) ...
 */
struct Blocks {
  int64_t begin, end;
  const int64_t last;

  Blocks(int64_t first, int64_t end_of_all) : begin(first), end(first), last(end_of_all) {}

  bool next() {
    constexpr int64_t kBlock = 1 << 16;
    begin = end;
    end = begin + kBlock < last ? begin + kBlock : last;
    return begin < last && !cancelled();
  }
};

/** What a call answers that came to its end. */
inline Status ended() { return cancelled() ? Status{Code::cancelled} : Status{}; }

/** Blocks of malloc's that a call left, each of which starts with the address of the next one. */
inline thread_local void* deferred_blocks = nullptr;

/** Instead of free(): the system takes its time to take large blocks back, and somebody waits for the call to end. */
inline void defer_free(void* block) {
  if (block == nullptr) return;
  *static_cast<void**>(block) = deferred_blocks;
  deferred_blocks = block;
}

/** While it lives, the flag ends what this thread runs; then what that left behind is freed. */
class Cancellable {
 public:
  explicit Cancellable(const std::atomic<bool>* flag) : before_(cancel_flag) { cancel_flag = flag; }
  ~Cancellable() {
    cancel_flag = before_;
    while (!before_ && deferred_blocks) {
      void* const next = *static_cast<void**>(deferred_blocks);
      free(deferred_blocks);
      deferred_blocks = next;
    }
  }
  Cancellable(const Cancellable&) = delete;
  Cancellable& operator=(const Cancellable&) = delete;

 private:
  const std::atomic<bool>* const before_;
};

}  // namespace sweet
