// Work split over threads. What an item computes must not depend on which thread computes it.
#pragma once

#include <cstdint>

namespace sweet {

using RangeFn = void (*)(void* context, int64_t begin, int64_t end, int slot);

/**
 * Calls fn on ranges that cover 0 … items−1 once. Up to `slots` threads do it when `work` (numbers touched) is worth
 * waking them; each has a slot of its own, 0 … slots−1, to find its scratch memory by.
 */
void parallel_ranges(int slots, int64_t items, int64_t work, RangeFn fn, void* context);

template <class F>
void parallel_for(int slots, int64_t items, int64_t work, F&& item) {
  parallel_ranges(
      slots, items, work,
      [](void* context, int64_t begin, int64_t end, int slot) {
        F& f = *static_cast<F*>(context);
        for (int64_t i = begin; i < end; i++) f(i, slot);
      },
      &item);
}

}  // namespace sweet
