// Cancellation: the caller sets a flag, which the call checks between blocks of work.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "status.h"

namespace sweet {

/** The flag of this thread's call; null where the call cannot be cancelled. */
inline thread_local const std::atomic<bool>* cancel_flag = nullptr;

inline bool cancelled() { return cancel_flag && cancel_flag->load(std::memory_order_relaxed); }

/**
 * Splits a loop over first ... last - 1 with little work per iteration into blocks, until the call is cancelled:
 *
 *     for (Blocks block(0, n); block.next();) for (int64_t i = block.begin; i < block.end; i++) ...
 */
struct Blocks {
  int64_t begin, end;
  const int64_t last;

  Blocks(int64_t first, int64_t loop_end) : begin(first), end(first), last(loop_end) {}

  bool next() {
    constexpr int64_t kBlock = 1 << 16;
    begin = end;
    end = begin + kBlock < last ? begin + kBlock : last;
    return begin < last && !cancelled();
  }
};

/** The status of a call that has run to its end. */
inline Status ended() { return cancelled() ? Status{Code::cancelled} : Status{}; }

/** Memory that a call has yet to free; each block starts with the address of the next one. */
inline thread_local void* deferred_blocks = nullptr;

/** Instead of free(), which is slow for large blocks and would delay the end of the call. */
inline void defer_free(void* block) {
  if (block == nullptr) return;
  *static_cast<void**>(block) = deferred_blocks;
  deferred_blocks = block;
}

/** In its scope, `flag` cancels the call of this thread; at its end, the deferred memory is freed. */
class Cancellable {
 public:
  explicit Cancellable(const std::atomic<bool>* flag) : previous_(cancel_flag) { cancel_flag = flag; }
  ~Cancellable() {
    cancel_flag = previous_;
    while (!previous_ && deferred_blocks) {
      void* const next = *static_cast<void**>(deferred_blocks);
      free(deferred_blocks);
      deferred_blocks = next;
    }
  }
  Cancellable(const Cancellable&) = delete;
  Cancellable& operator=(const Cancellable&) = delete;

 private:
  const std::atomic<bool>* const previous_;
};

}  // namespace sweet
