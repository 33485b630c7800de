// Work split over threads. What an item computes must not depend on which thread computes it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../cancel.h"

namespace sweet {

using RangeFn = void (*)(void* context, int64_t begin, int64_t end, int worker);

/**
 * Calls fn on ranges that cover 0 ... items-1 once, unless the call is cancelled. Up to `workers` threads share the
 * ranges if `work` (elements read or written) is large enough; each passes its worker index, 0 ... workers-1, which
 * selects its scratch memory.
 */
void parallel_ranges(int workers, int64_t items, int64_t work, RangeFn fn, void* context);

template <class F>
void parallel_for(int workers, int64_t items, int64_t work, F&& item) {
  parallel_ranges(
      workers, items, work,
      [](void* context, int64_t begin, int64_t end, int worker) {
        F& f = *static_cast<F*>(context);
        for (int64_t i = begin; i < end && !cancelled(); i++) f(i, worker);
      },
      &item);
}

/** to[0 ... n-1] = 0. */
template <class T>
void clear(int workers, T* to, int64_t n) {
  constexpr int64_t kRange = 1 << 18;
  parallel_for(workers, (n + kRange - 1) / kRange, n,
               [&](int64_t item, int) { std::fill(to + item * kRange, to + std::min(n, (item + 1) * kRange), T{0}); });
}

}  // namespace sweet
