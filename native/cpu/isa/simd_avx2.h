// AVX2 with FMA and F16C (Haswell and later): eight lanes, sixteen registers.
#pragma once

#include <immintrin.h>

namespace sweet::avx2 {
namespace {

constexpr int kLanes = 8;

// 12 of 16 registers. Zen 5: 4 x 2 takes 1.11 of the time, 4 x 3 1.03, 3 x 4 1.20, 6 x 1 1.36.
constexpr int kTileRows = 6, kTileVectors = 2;

// Zen 5: 2 takes 0.99 to 1.09 of the time in cache and up to 1.15 in memory, 4 takes 0.98 to 1.20 and up to 1.27.
constexpr int kPairsAtOnce = 1;
constexpr bool kHasFma = true;

using V = __m256;

/** 2^t = scale * 2^r */
struct ReducedExp2 {
  V r, scale;
};

constexpr float kMagic = 0x1.8p20f + 127;
struct RangeTracker {
  __m256i bits = _mm256_setzero_si256();

  bool out_of_range() const { return !_mm256_testc_si256(_mm256_set1_epi32(0x49c00000 | 0x7ff), bits); }
};

inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline V load(const bf16* p) {
  const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
inline V load(const f16* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }

template <class T>
inline void load2(const T* p, V& a, V& b) {
  a = load(p);
  b = load(p + kLanes);
}
// a gets the even elements, b the odd ones: no shuffle.
inline void load2(const bf16* p, V& a, V& b) {
  const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  a = _mm256_castsi256_ps(_mm256_slli_epi32(packed, 16));
  b = _mm256_castsi256_ps(_mm256_and_si256(packed, _mm256_set1_epi32(-65536)));
}

template <class T>
inline V load_n(const T* p, int n, float fill) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; i++) lanes[i] = i < n ? to_float(p[i]) : fill;
  return _mm256_loadu_ps(lanes);
}

// The upper half of each lane is the rounded bfloat16; the lower half is undefined. Ties round up: they carry no
// information, since x was rounded to float32 before.
inline __m256i round_to_bf16(V x) { return _mm256_add_epi32(_mm256_castps_si256(x), _mm256_set1_epi32(0x8000)); }

inline void store(float* p, V x) { _mm256_storeu_ps(p, x); }
inline void store(bf16* p, V x) {
  const __m256i h = _mm256_srli_epi32(round_to_bf16(x), 16);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(h, h), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
inline __m128i to_f16(V x) { return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline void store(f16* p, V x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_f16(x)); }

template <class T>
inline void store2(T* p, V a, V b) {
  store(p, a);
  store(p + kLanes, b);
}
inline __m256i pack(V even, V odd) {
  return _mm256_blend_epi16(_mm256_srli_epi32(round_to_bf16(even), 16), round_to_bf16(odd), 0xaa);
}
inline void store2(bf16* p, V a, V b) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), pack(a, b)); }

inline void store_nontemporal2(float* p, V a, V b) {
  _mm256_stream_ps(p, a);
  _mm256_stream_ps(p + kLanes, b);
}
inline void store_nontemporal2(bf16* p, V a, V b) { _mm256_stream_si256(reinterpret_cast<__m256i*>(p), pack(a, b)); }
inline void store_nontemporal2(f16* p, V a, V b) {
  const __m256i low = _mm256_castsi128_si256(to_f16(a));
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), _mm256_inserti128_si256(low, to_f16(b), 1));
}
inline void fence_nontemporal() { _mm_sfence(); }

template <class T>
inline void store_n(T* p, V x, int n) {
  float lanes[kLanes];
  _mm256_storeu_ps(lanes, x);
  for (int i = 0; i < n; i++) from_float(lanes[i], p + i);
}

template <class T>
inline void prefetch2(const T* p) {
  const char* const at = reinterpret_cast<const char*>(p);
  for (int i = 0; i < 2 * kLanes * static_cast<int>(sizeof(T)); i += 64) {
    _mm_prefetch(at + kPrefetchL2 + i, _MM_HINT_T1);
    _mm_prefetch(at + kPrefetchL1 + i, _MM_HINT_T0);
  }
}

inline V set1(float x) { return _mm256_set1_ps(x); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V div(V a, V b) { return _mm256_div_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V max(V a, V b) { return _mm256_max_ps(a, b); }
inline V min(V a, V b) { return _mm256_min_ps(a, b); }
inline V choose_greater(V a, V b, V yes, V no) { return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ)); }
inline bool any_equal(V a, V b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)) != 0; }
inline bool any_greater(V a, V b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0; }
inline float max_lanes(V x) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
inline double sum_lanes(V x) {
  const __m256d four =
      _mm256_add_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
inline V choose_less(V a, V b, V yes, V no) { return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }

struct Mantissa {
  V m, exponent;
};
inline Mantissa split_exponent(V x) {
  const __m256i sqrt_half = _mm256_set1_epi32(0x3f3504f3), bits = _mm256_sub_epi32(_mm256_castps_si256(x), sqrt_half);
  const __m256i mantissa = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffff));
  return {_mm256_castsi256_ps(_mm256_add_epi32(mantissa, sqrt_half)), _mm256_cvtepi32_ps(_mm256_srai_epi32(bits, 23))};
}

// 2^(i/8)
alignas(32) constexpr float kExp2Table[8] = {1.0f,        1.09050773f, 1.18920712f, 1.29683955f,
                                             1.41421356f, 1.54221083f, 1.68179283f, 1.83400809f};

// -1/16 <= r <= 1/16
constexpr Exp2Polynomial kExp2 = {3, {6.9314721428e-1f, 2.4025763005e-1f, 5.5496209696e-2f}};  // to 25 bits
constexpr Exp2Polynomial kExp2Bf16 = {2, {6.9330887646e-1f, 2.4022590492e-1f}};                // to 18 bits
constexpr bool kExp2Saturates = false;

// Adding 1.5 * 2^20 + 127 rounds t to eighths: the three lowest bits are the table index, the next eight the biased
// exponent; other bits change only where t is out of range. The shift into place leaves index << 20 in the mantissa, so
// that is subtracted from the table's entries. The FMA computes r exactly and rounds it once.
inline ReducedExp2 reduce_exp2(V y, const Exponent& exponent, RangeTracker& range) {
  const V magic = set1(kMagic + exponent.bias);
  const V eighths = fma(y, set1(exponent.scale_log2), magic);
  const V r = fma(y, set1(exponent.scale_log2), sub(magic, eighths));
  const __m256i bits = _mm256_castps_si256(eighths);
  range.bits = _mm256_or_si256(range.bits, bits);
  const __m256i exponent_of_1 = _mm256_set1_epi32(127 << 23);
  const __m256i index = _mm256_slli_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), 20);
  const __m256i table = _mm256_sub_epi32(_mm256_castps_si256(load(kExp2Table)), _mm256_add_epi32(exponent_of_1, index));
  return {r,
          _mm256_castsi256_ps(_mm256_add_epi32(_mm256_permutevar8x32_epi32(table, bits), _mm256_slli_epi32(bits, 20)))};
}

}  // namespace
}  // namespace sweet::avx2
