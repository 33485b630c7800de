// What the bytes of an input mean: choices of shapes, types, options, faults. After the last byte, choices come from a
// generator that the whole input seeds, as all numbers do. So every input, the empty one too, is a complete case.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "../../native/dtype.h"

namespace fuzz {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();

class Reader {
 public:
  Reader(const uint8_t* data, size_t size) : data_(data), end_(data + size), state_(size) {
    for (size_t i = 0; i < size; i++) state_ = (state_ ^ data[i]) * 0x100000001b3u;
  }

  /** From the generator alone (splitmix64). It decides on slow cases: mutations cannot raise their rate. */
  uint64_t random() {
    uint64_t x = state_ += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }

  /** A whole number in low ... high. */
  int64_t pick(int64_t low, int64_t high) {
    const uint64_t range = static_cast<uint64_t>(high - low) + 1;
    uint64_t x = data_ < end_ ? *data_++ : random();
    if (range > 256 && data_ < end_) x |= static_cast<uint64_t>(*data_++) << 8;
    return low + static_cast<int64_t>(x % range);
  }

  bool one_in(int64_t n) { return pick(1, n) == n; }

  template <class T, size_t kCount>
  T any_of(const T (&values)[kCount]) {
    return values[pick(0, kCount - 1)];
  }

  /** In (-1, 1); the sum of two is close enough to normal. */
  double uniform() { return static_cast<double>(static_cast<int64_t>(random()) >> 11) * 0x1p-52; }

 private:
  const uint8_t* data_;
  const uint8_t* const end_;
  uint64_t state_;
};

/** The distribution of an array's numbers. From kWild on float32 has few or no correct digits. */
enum class Pattern {
  normal,
  wide,
  outliers,
  masked,
  equal,
  rising,
  two,
  tiny,
  huge,
  nan,
  infinite,
  raw,
  single,
  kCount
};
constexpr Pattern kWild = Pattern::tiny;

/** Whether numbers repeat or come in steps, so that their roundings are not independent. */
inline bool repeats(Pattern pattern) {
  return pattern == Pattern::equal || pattern == Pattern::rising || pattern == Pattern::two;
}

inline Pattern pick_pattern(Reader& reader, bool wild) {
  if (!reader.one_in(3)) return Pattern::normal;
  return static_cast<Pattern>(reader.pick(0, static_cast<int64_t>(wild ? Pattern::kCount : kWild) - 1));
}

/** The next of n numbers. */
class Numbers {
 public:
  Numbers(Reader& reader, Pattern pattern, double scale, int64_t n)
      : reader_(reader), pattern_(pattern), scale_(scale), n_(n) {
    first_ = normal(), second_ = normal();
    odd_ = static_cast<int64_t>(reader.random() % static_cast<uint64_t>(n > 0 ? n : 1));
  }

  float next() {
    const int64_t i = i_++;
    const uint64_t dice = pattern_ == Pattern::normal ? 0 : reader_.random();
    switch (pattern_) {
      case Pattern::wide:
        return static_cast<float>(100 * reader_.uniform());
      case Pattern::outliers:
        return dice % 16 == 0 ? 1000 * normal() : normal();
      case Pattern::masked:
        return dice % 3 == 0 || i < odd_ / 2 ? -kInfinity : normal();
      case Pattern::equal:
        return first_;
      case Pattern::rising:
        return first_ + static_cast<float>(static_cast<double>(i) * scale_ / 16) * (second_ > 0 ? 1.0f : -1.0f);
      case Pattern::two:
        return dice % 2 ? first_ : second_;
      case Pattern::tiny:
        return normal() * (dice % 2 ? 0x1p-130f : 0x1p-20f);
      case Pattern::huge:
        return normal() * (dice % 2 ? 1e30f : 1e4f);
      case Pattern::nan:
        return i == odd_ ? kNaN : normal();
      case Pattern::infinite:
        return i == odd_ ? kInfinity : normal();
      case Pattern::raw:
        return sweet::float_of(static_cast<uint32_t>(dice));
      case Pattern::single:
        return i == odd_ && n_ > 1 ? first_ : -kInfinity;
      default:
        return normal();
    }
  }

 private:
  float normal() { return static_cast<float>(scale_ * (reader_.uniform() + reader_.uniform())); }

  Reader& reader_;
  const Pattern pattern_;
  const double scale_;
  const int64_t n_;
  int64_t i_ = 0, odd_;
  float first_, second_;
};

inline void store(sweet::DType dtype, void* to, int64_t i, float x) {
  if (dtype == sweet::DType::float32) return sweet::from_float(x, static_cast<float*>(to) + i);
  if (dtype == sweet::DType::bfloat16) return sweet::from_float(x, static_cast<sweet::bf16*>(to) + i);
  sweet::from_float(x, static_cast<sweet::f16*>(to) + i);
}

inline void fill(Numbers&& numbers, float* to, int64_t n) {
  for (int64_t i = 0; i < n; i++) to[i] = numbers.next();
}

}  // namespace fuzz
