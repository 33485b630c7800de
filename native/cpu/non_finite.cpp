// One pass over memory, in blocks that threads share. An element is not finite if all bits of its exponent are set.
#include "../non_finite.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "../backend.h"
#include "parallel.h"

namespace sweet {
namespace {

template <class Bits>
struct Pattern {
  Bits exponent, minus_infinity;
};

constexpr Pattern<uint32_t> kFloat32 = {0x7f800000u, 0xff800000u};
constexpr Pattern<uint16_t> kBfloat16 = {0x7f80u, 0xff80u};
constexpr Pattern<uint16_t> kFloat16 = {0x7c00u, 0xfc00u};

// Not varied.
constexpr int64_t kItem = 16384;  // elements of an item of work
constexpr int64_t kBlock = 1024;  // elements checked without a branch

template <class Bits>
bool is_non_finite(Bits x, Pattern<Bits> pattern, bool allow_neg_inf) {
  return (x & pattern.exponent) == pattern.exponent && !(allow_neg_inf && x == pattern.minus_infinity);
}

/** The index of the first of n elements, or n. */
template <class Bits>
int64_t first_of(const Bits* x, int64_t n, Pattern<Bits> pattern, bool allow_neg_inf) {
  for (int64_t from = 0; from < n; from += kBlock) {
    const int64_t to = std::min(n, from + kBlock);
    Bits found = 0;
    for (int64_t i = from; i < to; i++) {
      found = static_cast<Bits>(found | static_cast<Bits>(is_non_finite(x[i], pattern, allow_neg_inf)));
    }
    for (int64_t i = from; found && i < to; i++) {
      if (is_non_finite(x[i], pattern, allow_neg_inf)) return i;
    }
  }
  return n;
}

template <class Bits>
int64_t search(const FirstNonFinite& view, Pattern<Bits> pattern) {
  const Bits* const x = static_cast<const Bits*>(view.data);
  const int64_t none = view.rows * view.columns, per_row = (view.columns + kItem - 1) / kItem;
  std::atomic<int64_t> first{none};
  parallel_for(threads(), view.rows * per_row, none, [&](int64_t item, int) {
    const int64_t row = item / per_row, column = item % per_row * kItem, place = row * view.columns + column;
    if (view.mask && view.mask[row] == 0) return;
    int64_t least = first.load(std::memory_order_relaxed);
    if (place >= least) return;
    const int64_t n = std::min(kItem, view.columns - column);
    const int64_t at = first_of(x + row * view.row_stride + column, n, pattern, view.allow_neg_inf);
    if (at == n) return;
    while (place + at < least && !first.compare_exchange_weak(least, place + at)) {
    }
  });
  const int64_t found = first.load();
  return found == none ? -1 : found;
}

}  // namespace

int64_t first_non_finite(const FirstNonFinite& view) {
  switch (view.dtype) {
    case DType::float32:
      return search(view, kFloat32);
    case DType::bfloat16:
      return search(view, kBfloat16);
    case DType::float16:
      break;
  }
  return search(view, kFloat16);
}

}  // namespace sweet
