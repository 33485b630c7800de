// The compiler's own vectors of four lanes: whatever the processor's baseline is, SSE2 on x86-64.
#pragma once

namespace sweet::portable {
namespace {

constexpr int kLanes = 4, kTileRows = 4, kTileVectors = 2;

typedef float V __attribute__((vector_size(16)));
typedef int32_t I __attribute__((vector_size(16)));

inline V set1(float x) { return V{x, x, x, x}; }

template <class T>
inline V load(const T* p) {
  return V{to_float(p[0]), to_float(p[1]), to_float(p[2]), to_float(p[3])};
}
inline V load(const float* p) {
  V x;
  memcpy(&x, p, sizeof(V));
  return x;
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

template <class T>
inline void store(T* p, V x) {
  store_n(p, x, kLanes);
}
inline void store(float* p, V x) { memcpy(p, &x, sizeof(V)); }

template <class T>
inline void fetch(const T* p, int bytes) {
  __builtin_prefetch(reinterpret_cast<const char*>(p) + bytes);
}

inline V add(V a, V b) { return a + b; }
inline V sub(V a, V b) { return a - b; }
inline V mul(V a, V b) { return a * b; }
inline V fma(V a, V b, V c) { return a * b + c; }
inline V max(V a, V b) { return a > b ? a : b; }

// Adding 1.5 · 2^23 leaves the nearest integer in the low bits of the mantissa.
constexpr float kRounder = 12582912.0f;

inline V floor_of(V t) {
  const V nearest = t + kRounder - kRounder;
  return nearest > t ? nearest - 1.0f : nearest;
}
inline V fraction(V t) { return t - floor_of(t); }
// In two factors: 2^(⌊t⌋+64) is a normal number for every t, and the product comes down from there.
inline V scale2(V x, V t) {
  const I exponent = reinterpret_cast<I>(floor_of(t) + kRounder) - reinterpret_cast<I>(set1(kRounder)) + (127 + 64);
  return x * reinterpret_cast<V>(exponent << 23) * 0x1p-64f;
}
inline float max_lanes(V x) {
  float m = x[0];
  for (int i = 1; i < kLanes; i++) m = x[i] > m ? x[i] : m;
  return m;
}
inline V keep_from(V x, float low, V y) { return x < set1(low) ? set1(0.0f) : y; }

}  // namespace
}  // namespace sweet::portable
