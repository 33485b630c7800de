// Plain C++: eight lanes in an array, which any compiler may vectorise for its baseline.
#pragma once

namespace sweet::portable {
namespace {

constexpr int kLanes = 8, kTileRows = 4, kTileVectors = 2;

struct V {
  float lane[kLanes];
};

template <class F>
inline V map(F f) {
  V r;
  for (int i = 0; i < kLanes; i++) r.lane[i] = f(i);
  return r;
}

template <class T>
inline V load(const T* p) {
  return map([&](int i) { return to_float(p[i]); });
}

template <class T>
inline V load_n(const T* p, int n, float fill) {
  return map([&](int i) { return i < n ? to_float(p[i]) : fill; });
}

template <class T>
inline void store_n(T* p, V x, int n) {
  for (int i = 0; i < n; i++) from_float(x.lane[i], p + i);
}

template <class T>
inline void store(T* p, V x) {
  store_n(p, x, kLanes);
}

template <class T>
inline void fetch(const T*, int) {}

inline V set1(float x) {
  return map([&](int) { return x; });
}
inline V add(V a, V b) {
  return map([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline V sub(V a, V b) {
  return map([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline V mul(V a, V b) {
  return map([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline V fma(V a, V b, V c) {
  return map([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
}
inline V max(V a, V b) {
  return map([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}

// Adding 1.5 · 2^23 leaves the nearest integer in the low bits of the mantissa.
constexpr float kRounder = 12582912.0f;

inline float floor_of(float t) {
  const float nearest = t + kRounder - kRounder;
  return nearest > t ? nearest - 1 : nearest;
}
inline V fraction(V t) {
  return map([&](int i) { return t.lane[i] - floor_of(t.lane[i]); });
}
// In two factors: 2^(⌊t⌋+64) is a normal number for every t, and the product comes down from there.
inline V scale2(V x, V t) {
  return map([&](int i) {
    const uint32_t exponent = bits_of(floor_of(t.lane[i]) + kRounder) - bits_of(kRounder) + 127 + 64;
    return x.lane[i] * float_of(exponent << 23) * 0x1p-64f;
  });
}
inline float max_lanes(V x) {
  float m = x.lane[0];
  for (int i = 1; i < kLanes; i++) m = x.lane[i] > m ? x.lane[i] : m;
  return m;
}
inline V keep_from(V x, float low, V y) {
  return map([&](int i) { return x.lane[i] < low ? 0.0f : y.lane[i]; });
}

}  // namespace
}  // namespace sweet::portable
