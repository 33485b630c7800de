// Storage types of logits, hidden states and weights: exact conversions to float32, and rounding from float32.
// The functions are static: the linker must not merge copies compiled for different instruction sets.
#pragma once

#include <cstdint>
#include <cstring>

namespace sweet {

enum class DType : int32_t { float32, bfloat16, float16 };

struct bf16 {
  uint16_t bits;
};

struct f16 {
  uint16_t bits;
};

inline int64_t bytes_of(DType dtype) { return dtype == DType::float32 ? 4 : 2; }

static inline uint32_t bits_of(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  return u;
}

static inline float float_of(uint32_t u) {
  float x;
  memcpy(&x, &u, 4);
  return x;
}

static inline float to_float(float x) { return x; }

static inline float to_float(bf16 x) { return float_of(uint32_t{x.bits} << 16); }

// A subnormal float16 is mantissa * 2^-24, exact in float32; the other cases change the exponent bias from 15 to 127.
static inline float to_float(f16 x) {
  const uint32_t sign = (x.bits & 0x8000u) << 16, exponent = (x.bits >> 10) & 31u, mantissa = x.bits & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return float_of(sign | ((exponent == 31 ? 255u : exponent + 112u) << 23) | (mantissa << 13));
}

static inline float element(const void* array, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::float32:
      return static_cast<const float*>(array)[i];
    case DType::bfloat16:
      return to_float(static_cast<const bf16*>(array)[i]);
    case DType::float16:
      break;
  }
  return to_float(static_cast<const f16*>(array)[i]);
}

static inline void from_float(float x, float* out) { *out = x; }

// Round to nearest, ties to even; a NaN keeps its sign and stays a NaN.
static inline void from_float(float x, bf16* out) {
  const uint32_t u = bits_of(x);
  const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
  out->bits = static_cast<uint16_t>(nan ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

static inline void from_float(float x, f16* out) {
  const uint32_t u = bits_of(x), sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
  uint32_t h;
  if (magnitude > 0x7f800000u) {
    h = 0x7e00u;  // NaN
  } else if (magnitude >= 0x477ff000u) {
    h = 0x7c00u;  // 65520 and above round to infinity
  } else if (magnitude < 0x38800000u) {
    // Below 2^-14: adding 0.5 leaves the subnormal's mantissa, rounded to nearest even, in the low bits.
    h = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    h = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  out->bits = static_cast<uint16_t>(sign | h);
}

}  // namespace sweet
