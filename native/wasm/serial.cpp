// In place of cpu/parallel.cpp and cpu/backend.cpp: one thread, one instruction set.
#include "../backend.h"
#include "../cpu/active.h"
#include "../cpu/parallel.h"

namespace sweet {

const Kernels& active_kernels() {
  static const Kernels* const kernels = kernels_wasm();
  return *kernels;
}

int threads() { return 1; }

void parallel_ranges(int, int64_t items, int64_t, RangeFn fn, void* context) {
  if (items > 0) fn(context, 0, items, 0);
}

}  // namespace sweet
