// NEON of 64-bit Arm: four lanes, thirty-two registers.
#pragma once

#include <arm_neon.h>

namespace sweet::neon {
namespace {

// The register tile takes 24 of 32 registers. Not varied.
constexpr int kLanes = 4, kTileRows = 6, kTileVectors = 4, kPairsAtOnce = 2;
constexpr bool kHasFma = true;

using V = float32x4_t;

/** 2^t = scale * 2^r */
struct ReducedExp2 {
  V r, scale;
};

constexpr float kMagic = 0x1.8p23f + 127;
struct RangeTracker {
  uint32x4_t bits = vdupq_n_u32(0);

  bool out_of_range() const { return vmaxvq_u32(vbicq_u32(bits, vdupq_n_u32(0x4b400000 | 0xff))) != 0; }
};

inline V load(const float* p) { return vld1q_f32(p); }
inline V load(const bf16* p) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p)), 16));
}
inline V load(const f16* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p))));
}

template <class T>
inline void load2(const T* p, V& a, V& b) {
  a = load(p);
  b = load(p + kLanes);
}
// a gets the even elements, b the odd ones.
inline void load2(const bf16* p, V& a, V& b) {
  const uint32x4_t packed = vreinterpretq_u32_u16(vld1q_u16(reinterpret_cast<const uint16_t*>(p)));
  a = vreinterpretq_f32_u32(vshlq_n_u32(packed, 16));
  b = vreinterpretq_f32_u32(vandq_u32(packed, vdupq_n_u32(0xffff0000)));
}

template <class T>
inline V load_n(const T* p, int n, float fill) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; i++) lanes[i] = i < n ? to_float(p[i]) : fill;
  return vld1q_f32(lanes);
}

// The upper half of each lane is the rounded bfloat16; the lower half is undefined. Ties round up: they carry no
// information, since x was rounded to float32 before.
inline uint32x4_t round_to_bf16(V x) { return vaddq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x8000)); }

inline void store(float* p, V x) { vst1q_f32(p, x); }
inline void store(bf16* p, V x) { vst1_u16(reinterpret_cast<uint16_t*>(p), vshrn_n_u32(round_to_bf16(x), 16)); }
inline void store(f16* p, V x) { vst1_u16(reinterpret_cast<uint16_t*>(p), vreinterpret_u16_f16(vcvt_f16_f32(x))); }

template <class T>
inline void store2(T* p, V a, V b) {
  store(p, a);
  store(p + kLanes, b);
}
inline void store2(bf16* p, V a, V b) {
  const uint32x4_t even = vshrq_n_u32(round_to_bf16(a), 16), odd = vdupq_n_u32(0xffff0000);
  vst1q_u16(reinterpret_cast<uint16_t*>(p), vreinterpretq_u16_u32(vbslq_u32(odd, round_to_bf16(b), even)));
}

template <class T>
inline void store_nontemporal2(T* p, V a, V b) {
  store2(p, a, b);
}
inline void fence_nontemporal() {}

template <class T>
inline void store_n(T* p, V x, int n) {
  float lanes[kLanes];
  vst1q_f32(lanes, x);
  for (int i = 0; i < n; i++) from_float(lanes[i], p + i);
}

template <class T>
inline void prefetch2(const T* p) {
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kPrefetchL2, 0, 2);
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kPrefetchL1);
}

inline V set1(float x) { return vdupq_n_f32(x); }
inline V add(V a, V b) { return vaddq_f32(a, b); }
inline V sub(V a, V b) { return vsubq_f32(a, b); }
inline V mul(V a, V b) { return vmulq_f32(a, b); }
inline V div(V a, V b) { return vdivq_f32(a, b); }
inline V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
inline V max(V a, V b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline V min(V a, V b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline V choose_greater(V a, V b, V yes, V no) { return vbslq_f32(vcgtq_f32(a, b), yes, no); }
inline bool any_equal(V a, V b) { return vmaxvq_u32(vceqq_f32(a, b)) != 0; }
inline bool any_greater(V a, V b) { return vmaxvq_u32(vcgtq_f32(a, b)) != 0; }
inline float max_lanes(V x) { return vmaxvq_f32(x); }
inline double sum_lanes(V x) { return vaddvq_f64(vaddq_f64(vcvt_f64_f32(vget_low_f32(x)), vcvt_high_f64_f32(x))); }
inline V choose_less(V a, V b, V yes, V no) { return vbslq_f32(vcltq_f32(a, b), yes, no); }

struct Mantissa {
  V m, exponent;
};
inline Mantissa split_exponent(V x) {
  const int32x4_t sqrt_half = vdupq_n_s32(0x3f3504f3), bits = vsubq_s32(vreinterpretq_s32_f32(x), sqrt_half);
  const int32x4_t mantissa = vandq_s32(bits, vdupq_n_s32(0x7fffff));
  return {vreinterpretq_f32_s32(vaddq_s32(mantissa, sqrt_half)), vcvtq_f32_s32(vshrq_n_s32(bits, 23))};
}

constexpr Exp2Polynomial kExp2 = kExp2Degree6, kExp2Bf16 = kExp2Degree4;
constexpr bool kExp2Saturates = false;

// Adding 1.5 * 2^23 + 127 rounds t to an integer: the eight lowest bits are the biased exponent, and others change only
// where t is out of range. The FMA computes r exactly and rounds it once.
inline ReducedExp2 reduce_exp2(V y, const Exponent& exponent, RangeTracker& range) {
  const V magic = set1(kMagic + exponent.bias);
  const V integer = fma(y, set1(exponent.scale_log2), magic);
  const V r = fma(y, set1(exponent.scale_log2), sub(magic, integer));
  const uint32x4_t bits = vreinterpretq_u32_f32(integer);
  range.bits = vorrq_u32(range.bits, bits);
  return {r, vreinterpretq_f32_u32(vshlq_n_u32(bits, 23))};
}

}  // namespace
}  // namespace sweet::neon
