// The compiler's own vectors of four lanes: whatever the processor's baseline is, SSE2 on x86-64.
#pragma once

namespace sweet::portable {
namespace {

constexpr int kLanes = 4, kTileRows = 4, kTileVectors = 2, kPairsAtOnce = 2;
constexpr bool kFused = false;

typedef float V __attribute__((vector_size(16)));
typedef uint32_t U __attribute__((vector_size(16)));
typedef uint16_t H __attribute__((vector_size(8)));

struct Power {
  V r, scale;
};

constexpr float kMagic = 0x1.8p23f + 127;
struct Seen {
  U bits{};

  bool strayed() const {
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
// A factor of 2^112 moves the exponent's bias from 15 to 127, for subnormal numbers too; infinities and NaN keep
// theirs.
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
// The even words, then the odd ones: no shuffle.
inline void load2(const bf16* p, V& a, V& b) {
  U words;
  memcpy(&words, p, sizeof(U));
  a = bits<V>(words << 16);
  b = bits<V>(words & 0xffff0000);
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

// The upper half of each lane, rounded; what is left in the lower half has no meaning. Half a unit is rounded up: words
// that were rounded to float32 before know no better.
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
  const U words = (round_to_bf16(a) >> 16) | (round_to_bf16(b) & 0xffff0000);
  memcpy(p, &words, sizeof(U));
}

template <class T>
inline void stream2(T* p, V a, V b) {
  store2(p, a, b);
}
inline void end_stream() {}

template <class T>
inline void fetch2(const T* p) {
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kFar, 0, 2);
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kNear);
}

inline V add(V a, V b) { return a + b; }
inline V sub(V a, V b) { return a - b; }
inline V mul(V a, V b) { return a * b; }
inline V fma(V a, V b, V c) { return a * b + c; }
inline V max(V a, V b) { return choose(bits<U>(a > b), a, b); }
inline V min(V a, V b) { return choose(bits<U>(a < b), a, b); }

inline float max_lanes(V x) {
  float m = x[0];
  for (int i = 1; i < kLanes; i++) m = x[i] > m ? x[i] : m;
  return m;
}

constexpr Exp2 kPower = kNearest6, kBf16Gradient = kNearest4;
constexpr bool kPowersAreEndless = false;

// Added to 1.5 * 2^23 + 127, t loses its fraction: the biased exponent lies in the eight lowest bits, and others change
// only where t strays.
inline Power power(V y, const Line& line, Seen& seen) {
  const V product = y * line.slope, magic = set1(kMagic + line.shift), integer = product + magic;
  seen.bits |= bits<U>(integer);
  return {product + (magic - integer), bits<V>(bits<U>(integer) << 23)};
}

}  // namespace
}  // namespace sweet::portable
