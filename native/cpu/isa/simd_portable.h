// The vector extension of GCC and Clang with four lanes, compiled for the CPU's baseline: SSE2 on x86-64.
#pragma once

namespace sweet::portable {
namespace {

// The register tile takes 8 of 16 (SSE2) registers. Not varied.
constexpr int kLanes = 4, kTileRows = 4, kTileVectors = 2, kPairsAtOnce = 2;
constexpr bool kHasFma = false;

typedef float V __attribute__((vector_size(16)));
typedef uint32_t U __attribute__((vector_size(16)));
typedef uint16_t H __attribute__((vector_size(8)));

/** 2^t = scale * 2^r */
struct ReducedExp2 {
  V r, scale;
};

constexpr float kMagic = 0x1.8p23f + 127;
struct RangeTracker {
  U bits{};

  bool out_of_range() const {
    const U others = bits & ~(0x4b400000u | 0xff);
    return (others[0] | others[1] | others[2] | others[3]) != 0;
  }
};

inline V set1(float x) { return V{x, x, x, x}; }

template <class To, class From>
inline To bits(From x) {
  return reinterpret_cast<To>(x);
}
inline V choose(U mask, V yes, V no) { return bits<V>((bits<U>(yes) & mask) | (bits<U>(no) & ~mask)); }

template <class T>
inline U widen(const T* p) {
  H h;
  memcpy(&h, p, sizeof(H));
  return __builtin_convertvector(h, U);
}

inline V load(const float* p) {
  V x;
  memcpy(&x, p, sizeof(V));
  return x;
}
inline V load(const bf16* p) { return bits<V>(widen(p) << 16); }
// A factor of 2^112 changes the exponent's bias from 15 to 127, for subnormal numbers too; infinities and NaN are set
// apart.
inline V load(const f16* p) {
  const U h = widen(p), magnitude = (h & 0x7fff) << 13;
  const V finite = bits<V>(magnitude) * 0x1p112f;
  const U special = bits<U>(magnitude >= 0x0f800000);
  return bits<V>(bits<U>(choose(special, bits<V>(magnitude | 0x7f800000), finite)) | ((h & 0x8000) << 16));
}

template <class T>
inline void load2(const T* p, V& a, V& b) {
  a = load(p);
  b = load(p + kLanes);
}
// a gets the even elements, b the odd ones: no shuffle.
inline void load2(const bf16* p, V& a, V& b) {
  U packed;
  memcpy(&packed, p, sizeof(U));
  a = bits<V>(packed << 16);
  b = bits<V>(packed & 0xffff0000);
}

template <class T>
inline V load_n(const T* p, int n, float fill) {
  V x = set1(fill);
  for (int i = 0; i < n; i++) x[i] = to_float(p[i]);
  return x;
}

template <class T>
inline void store_n(T* p, V x, int n) {
  for (int i = 0; i < n; i++) from_float(x[i], p + i);
}

// The upper half of each lane is the rounded bfloat16; the lower half is undefined. Ties round up: they carry no
// information, since x was rounded to float32 before.
inline U round_to_bf16(V x) { return bits<U>(x) + 0x8000; }

inline void store(float* p, V x) { memcpy(p, &x, sizeof(V)); }
template <class T>
inline void store(T* p, V x) {
  store_n(p, x, kLanes);
}

template <class T>
inline void store2(T* p, V a, V b) {
  store(p, a);
  store(p + kLanes, b);
}
inline void store2(bf16* p, V a, V b) {
  const U packed = (round_to_bf16(a) >> 16) | (round_to_bf16(b) & 0xffff0000);
  memcpy(p, &packed, sizeof(U));
}

template <class T>
inline void store_nontemporal2(T* p, V a, V b) {
  store2(p, a, b);
}
inline void fence_nontemporal() {}

template <class T>
inline void prefetch2(const T* p) {
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kPrefetchL2, 0, 2);
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kPrefetchL1);
}

inline V add(V a, V b) { return a + b; }
inline V sub(V a, V b) { return a - b; }
inline V mul(V a, V b) { return a * b; }
inline V div(V a, V b) { return a / b; }
inline V fma(V a, V b, V c) { return a * b + c; }
inline V choose_greater(V a, V b, V yes, V no) { return choose(bits<U>(a > b), yes, no); }
inline bool any(U mask) { return (mask[0] | mask[1] | mask[2] | mask[3]) != 0; }
inline bool any_equal(V a, V b) { return any(bits<U>(a == b)); }
inline bool any_greater(V a, V b) { return any(bits<U>(a > b)); }
inline V max(V a, V b) { return choose(bits<U>(a > b), a, b); }
inline V min(V a, V b) { return choose(bits<U>(a < b), a, b); }

inline float max_lanes(V x) {
  float m = x[0];
  for (int i = 1; i < kLanes; i++) m = x[i] > m ? x[i] : m;
  return m;
}
inline double sum_lanes(V x) {
  const double even = static_cast<double>(x[0]) + x[2], odd = static_cast<double>(x[1]) + x[3];
  return even + odd;
}
inline V choose_less(V a, V b, V yes, V no) { return choose(bits<U>(a < b), yes, no); }

struct Mantissa {
  V m, exponent;
};
inline Mantissa split_exponent(V x) {
  typedef int32_t I __attribute__((vector_size(16)));
  const I from = bits<I>(bits<U>(x) - 0x3f3504f3u);  // unsigned: of a negative or NaN lane it wraps
  return {bits<V>((from & 0x7fffff) + 0x3f3504f3), __builtin_convertvector(from >> 23, V)};
}

constexpr Exp2Polynomial kExp2 = kExp2Degree6, kExp2Bf16 = kExp2Degree4;
constexpr bool kExp2Saturates = false;

// Adding 1.5 * 2^23 + 127 rounds t to an integer: the eight lowest bits are the biased exponent, and others change only
// where t is out of range.
inline ReducedExp2 reduce_exp2(V y, const Exponent& exponent, RangeTracker& range) {
  const V product = y * exponent.scale_log2, magic = set1(kMagic + exponent.bias), integer = product + magic;
  range.bits |= bits<U>(integer);
  return {product + (magic - integer), bits<V>(bits<U>(integer) << 23)};
}

}  // namespace
}  // namespace sweet::portable
