// WebAssembly's SIMD128: four lanes, no FMA. The relaxed FMA rounds once on some machines and twice on others, so it is
// not used. Every operation gives the bits of simd_portable.h.
#pragma once

#include <wasm_simd128.h>

namespace sweet::wasm {
namespace {

// The register tile of simd_portable.h; engines map vectors to the 16 registers of SSE or the 32 of NEON. Not varied.
constexpr int kLanes = 4, kTileRows = 4, kTileVectors = 2, kPairsAtOnce = 2;
constexpr bool kHasFma = false;

typedef float V __attribute__((vector_size(16)));

/** 2^t = scale * 2^r */
struct ReducedExp2 {
  V r, scale;
};

constexpr float kMagic = 0x1.8p23f + 127;
struct RangeTracker {
  v128_t bits = wasm_i32x4_const_splat(0);

  bool out_of_range() const {
    return wasm_v128_any_true(wasm_v128_andnot(bits, wasm_i32x4_const_splat(0x4b400000 | 0xff)));
  }
};

inline V set1(float x) { return V(wasm_f32x4_splat(x)); }

inline V load(const float* p) { return V(wasm_v128_load(p)); }
inline V load(const bf16* p) { return V(wasm_i32x4_shl(wasm_u32x4_load16x4(p), 16)); }
// A factor of 2^112 changes the exponent's bias from 15 to 127, for subnormal numbers too; infinities and NaN are set
// apart.
inline V load(const f16* p) {
  const v128_t h = wasm_u32x4_load16x4(p);
  const v128_t magnitude = wasm_i32x4_shl(wasm_v128_and(h, wasm_i32x4_const_splat(0x7fff)), 13);
  const v128_t finite = wasm_f32x4_mul(magnitude, wasm_f32x4_const_splat(0x1p112f));
  const v128_t special = wasm_i32x4_ge(magnitude, wasm_i32x4_const_splat(0x0f800000));
  const v128_t infinite = wasm_v128_or(magnitude, wasm_i32x4_const_splat(0x7f800000));
  const v128_t sign = wasm_i32x4_shl(wasm_v128_and(h, wasm_i32x4_const_splat(0x8000)), 16);
  return V(wasm_v128_or(wasm_v128_bitselect(infinite, finite, special), sign));
}

template <class T>
inline void load2(const T* p, V& a, V& b) {
  a = load(p);
  b = load(p + kLanes);
}
// a gets the even elements, b the odd ones: no shuffle.
inline void load2(const bf16* p, V& a, V& b) {
  const v128_t packed = wasm_v128_load(p);
  a = V(wasm_i32x4_shl(packed, 16));
  b = V(wasm_v128_and(packed, wasm_u32x4_const_splat(0xffff0000)));
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
inline v128_t round_to_bf16(V x) { return wasm_i32x4_add(v128_t(x), wasm_i32x4_const_splat(0x8000)); }

inline void store(float* p, V x) { wasm_v128_store(p, v128_t(x)); }
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
  const v128_t odd = wasm_v128_and(round_to_bf16(b), wasm_u32x4_const_splat(0xffff0000));
  wasm_v128_store(p, wasm_v128_or(wasm_u32x4_shr(round_to_bf16(a), 16), odd));
}

template <class T>
inline void store_nontemporal2(T* p, V a, V b) {
  store2(p, a, b);
}
inline void fence_nontemporal() {}

template <class T>
inline void prefetch2(const T*) {}

inline V add(V a, V b) { return a + b; }
inline V sub(V a, V b) { return a - b; }
inline V mul(V a, V b) { return a * b; }
inline V div(V a, V b) { return a / b; }
inline V fma(V a, V b, V c) { return a * b + c; }
inline V max(V a, V b) { return V(wasm_f32x4_pmax(v128_t(b), v128_t(a))); }
inline V min(V a, V b) { return V(wasm_f32x4_pmin(v128_t(b), v128_t(a))); }
inline V choose_greater(V a, V b, V yes, V no) {
  return V(wasm_v128_bitselect(v128_t(yes), v128_t(no), v128_t(a > b)));
}
inline V choose_less(V a, V b, V yes, V no) { return V(wasm_v128_bitselect(v128_t(yes), v128_t(no), v128_t(a < b))); }
inline bool any_equal(V a, V b) { return wasm_v128_any_true(v128_t(a == b)); }
inline bool any_greater(V a, V b) { return wasm_v128_any_true(v128_t(a > b)); }

inline float max_lanes(V x) {
  float m = x[0];
  for (int i = 1; i < kLanes; i++) m = x[i] > m ? x[i] : m;
  return m;
}
inline double sum_lanes(V x) {
  const double even = static_cast<double>(x[0]) + x[2], odd = static_cast<double>(x[1]) + x[3];
  return even + odd;
}

struct Mantissa {
  V m, exponent;
};
inline Mantissa split_exponent(V x) {
  const v128_t sqrt_half = wasm_i32x4_const_splat(0x3f3504f3), bits = wasm_i32x4_sub(v128_t(x), sqrt_half);
  const v128_t mantissa = wasm_v128_and(bits, wasm_i32x4_const_splat(0x7fffff));
  return {V(wasm_i32x4_add(mantissa, sqrt_half)), V(wasm_f32x4_convert_i32x4(wasm_i32x4_shr(bits, 23)))};
}

constexpr Exp2Polynomial kExp2 = kExp2Degree6, kExp2Bf16 = kExp2Degree4;
constexpr bool kExp2Saturates = false;

// Adding 1.5 * 2^23 + 127 rounds t to an integer: the eight lowest bits are the biased exponent, and others change only
// where t is out of range.
inline ReducedExp2 reduce_exp2(V y, const Exponent& exponent, RangeTracker& range) {
  const V product = y * exponent.scale_log2, magic = set1(kMagic + exponent.bias), integer = product + magic;
  range.bits = wasm_v128_or(range.bits, v128_t(integer));
  return {product + (magic - integer), V(wasm_i32x4_shl(v128_t(integer), 23))};
}

}  // namespace
}  // namespace sweet::wasm
