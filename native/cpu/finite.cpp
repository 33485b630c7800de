// One pass over memory, in pieces that threads share. A number is not finite where all bits of its exponent are set.
#include "../finite.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "../backend.h"
#include "parallel.h"

namespace sweet {
namespace {

template <class Word>
struct Bits {
  Word exponent, minus_infinity;
};

constexpr Bits<uint32_t> kFloat32 = {0x7f800000u, 0xff800000u};
constexpr Bits<uint16_t> kBfloat16 = {0x7f80u, 0xff80u};
constexpr Bits<uint16_t> kFloat16 = {0x7c00u, 0xfc00u};

constexpr int64_t kPiece = 16384;  // numbers
constexpr int64_t kBlock = 1024;   // looked through without a branch

template <class Word>
bool is_found(Word word, Bits<Word> bits, bool masked_words) {
  return (word & bits.exponent) == bits.exponent && !(masked_words && word == bits.minus_infinity);
}

/** The first of n words, or n. */
template <class Word>
int64_t first_of(const Word* words, int64_t n, Bits<Word> bits, bool masked_words) {
  for (int64_t from = 0; from < n; from += kBlock) {
    const int64_t to = std::min(n, from + kBlock);
    Word found = 0;
    for (int64_t i = from; i < to; i++) {
      found = static_cast<Word>(found | static_cast<Word>(is_found(words[i], bits, masked_words)));
    }
    for (int64_t i = from; found && i < to; i++) {
      if (is_found(words[i], bits, masked_words)) return i;
    }
  }
  return n;
}

template <class Word>
int64_t search(const Numbers& numbers, Bits<Word> bits) {
  const Word* const words = static_cast<const Word*>(numbers.data);
  const int64_t none = numbers.rows * numbers.width, per_row = (numbers.width + kPiece - 1) / kPiece;
  std::atomic<int64_t> first{none};
  parallel_for(threads(), numbers.rows * per_row, none, [&](int64_t item, int) {
    const int64_t row = item / per_row, column = item % per_row * kPiece, place = row * numbers.width + column;
    if (numbers.mask && numbers.mask[row] == 0) return;
    int64_t least = first.load(std::memory_order_relaxed);
    if (place >= least) return;
    const int64_t n = std::min(kPiece, numbers.width - column);
    const int64_t at = first_of(words + row * numbers.stride + column, n, bits, numbers.masked_words);
    if (at == n) return;
    while (place + at < least && !first.compare_exchange_weak(least, place + at)) {
    }
  });
  const int64_t found = first.load();
  return found == none ? -1 : found;
}

}  // namespace

int64_t first_not_finite(const Numbers& numbers) {
  switch (numbers.dtype) {
    case DType::float32:
      return search(numbers, kFloat32);
    case DType::bfloat16:
      return search(numbers, kBfloat16);
    case DType::float16:
      break;
  }
  return search(numbers, kFloat16);
}

}  // namespace sweet
