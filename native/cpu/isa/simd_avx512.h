// AVX-512 F, BW, DQ and VL (Skylake server and later): sixteen lanes, thirty-two registers, masks for the tails.
#pragma once

#include <immintrin.h>

namespace sweet::avx512 {
namespace {

constexpr int kLanes = 16;

// 24 of 32 registers. Zen 5, float32 (bfloat16 pairs): 4 x 4 takes 1.00 to 1.06 (1.03) of the time, 6 x 3 0.97 to 1.03
// (1.02), 8 x 3 0.98 to 1.01 (1.05), 4 x 6 1.03 to 1.08 (1.12), 12 x 2 1.22 to 1.29 (1.04).
constexpr int kTileRows = 6, kTileVectors = 4;

// Zen 5, in cache: 1 takes 1.01 to 1.08 of the time; 4 takes 0.94 to 0.95 for bfloat16, 0.88 for float16, 0.99 to 1.06
// for float32.
constexpr int kPairsAtOnce = 2;
constexpr bool kHasFma = true;

using V = __m512;

/** 2^t = scale * 2^r */
struct ReducedExp2 {
  V r, scale;
};
struct RangeTracker {
  bool out_of_range() const { return false; }
};

inline __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }

inline V widen(__m256i h, bf16) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }
inline V widen(__m256i h, f16) { return _mm512_cvtph_ps(h); }

// The upper half of each lane is the rounded bfloat16; the lower half is undefined. Ties round up: they carry no
// information, since x was rounded to float32 before.
inline __m512i round_to_bf16(V x) { return _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000)); }
inline __m256i narrow(V x, bf16) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_to_bf16(x), 16)); }
inline __m256i narrow(V x, f16) { return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

inline V load(const float* p) { return _mm512_loadu_ps(p); }
template <class T>
inline V load(const T* p) {
  return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), T{});
}

template <class T>
inline void load2(const T* p, V& a, V& b) {
  a = load(p);
  b = load(p + kLanes);
}
// a gets the even elements, b the odd ones: no shuffle.
inline void load2(const bf16* p, V& a, V& b) {
  const __m512i packed = _mm512_loadu_si512(p);
  a = _mm512_castsi512_ps(_mm512_slli_epi32(packed, 16));
  b = _mm512_castsi512_ps(_mm512_and_si512(packed, _mm512_set1_epi32(-65536)));
}

inline V load_n(const float* p, int n, float fill) { return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), first(n), p); }
template <class T>
inline V load_n(const T* p, int n, float fill) {
  return _mm512_mask_mov_ps(_mm512_set1_ps(fill), first(n), widen(_mm256_maskz_loadu_epi16(first(n), p), T{}));
}

inline void store(float* p, V x) { _mm512_storeu_ps(p, x); }
template <class T>
inline void store(T* p, V x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(x, T{}));
}

template <class T>
inline void store2(T* p, V a, V b) {
  store(p, a);
  store(p + kLanes, b);
}
inline __m512i pack(V even, V odd) {
  return _mm512_mask_mov_epi16(_mm512_srli_epi32(round_to_bf16(even), 16), 0xaaaaaaaa, round_to_bf16(odd));
}
inline void store2(bf16* p, V a, V b) { _mm512_storeu_si512(p, pack(a, b)); }

inline void store_nontemporal2(float* p, V a, V b) {
  _mm512_stream_ps(p, a);
  _mm512_stream_ps(p + kLanes, b);
}
inline void store_nontemporal2(bf16* p, V a, V b) { _mm512_stream_si512(reinterpret_cast<__m512i*>(p), pack(a, b)); }
inline void store_nontemporal2(f16* p, V a, V b) {
  const __m512i low = _mm512_castsi256_si512(narrow(a, f16{}));
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), _mm512_inserti64x4(low, narrow(b, f16{}), 1));
}
inline void fence_nontemporal() { _mm_sfence(); }

inline void store_n(float* p, V x, int n) { _mm512_mask_storeu_ps(p, first(n), x); }
template <class T>
inline void store_n(T* p, V x, int n) {
  _mm256_mask_storeu_epi16(p, first(n), narrow(x, T{}));
}

template <class T>
inline void prefetch2(const T* p) {
  const char* const at = reinterpret_cast<const char*>(p);
  for (int i = 0; i < 2 * kLanes * static_cast<int>(sizeof(T)); i += 64) {
    _mm_prefetch(at + kPrefetchL2 + i, _MM_HINT_T1);
    _mm_prefetch(at + kPrefetchL1 + i, _MM_HINT_T0);
  }
}

inline V set1(float x) { return _mm512_set1_ps(x); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V div(V a, V b) { return _mm512_div_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V max(V a, V b) { return _mm512_max_ps(a, b); }
inline V min(V a, V b) { return _mm512_min_ps(a, b); }
inline V choose_greater(V a, V b, V yes, V no) {
  return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), yes);
}
inline bool any_equal(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ) != 0; }
inline bool any_greater(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
inline float max_lanes(V x) { return _mm512_reduce_max_ps(x); }
inline double sum_lanes(V x) {
  const __m512d eight =
      _mm512_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(x)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
  const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
inline V choose_less(V a, V b, V yes, V no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}

struct Mantissa {
  V m, exponent;
};
inline Mantissa split_exponent(V x) {
  const __m512i sqrt_half = _mm512_set1_epi32(0x3f3504f3), bits = _mm512_sub_epi32(_mm512_castps_si512(x), sqrt_half);
  const __m512i mantissa = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffff));
  return {_mm512_castsi512_ps(_mm512_add_epi32(mantissa, sqrt_half)), _mm512_cvtepi32_ps(_mm512_srai_epi32(bits, 23))};
}

// 2^(i/32)
alignas(64) constexpr float kExp2Table[32] = {
    1.0f,        1.02189715f, 1.04427378f, 1.0671404f,  1.09050773f, 1.11438674f, 1.13878863f, 1.16372486f,
    1.18920712f, 1.21524736f, 1.24185781f, 1.26905096f, 1.29683955f, 1.32523664f, 1.35425555f, 1.38390988f,
    1.41421356f, 1.44518081f, 1.47682615f, 1.50916443f, 1.54221083f, 1.57598085f, 1.61049033f, 1.64575548f,
    1.68179283f, 1.7186193f,  1.75625216f, 1.79470908f, 1.83400809f, 1.87416763f, 1.91520656f, 1.95714412f};

// 0 <= r < 1/32
constexpr Exp2Polynomial kExp2 = {3, {6.9314723461e-1f, 2.4021599464e-1f, 5.6084225333e-2f}};  // to 33 bits
constexpr Exp2Polynomial kExp2Bf16 = {2, {6.9312373179e-1f, 2.4265268570e-1f}};                // to 23 bits
constexpr bool kExp2Saturates = true;

// Adding 1.5 * 2^18 leaves the table index, the multiple of 1/32 below t, in the lowest bits. Beyond +-2^17 the index
// is wrong, but the scale is infinite or 0 there.
inline ReducedExp2 reduce_exp2(V y, const Exponent& exponent, RangeTracker&) {
  const V t = fma(y, set1(exponent.scale_log2), set1(exponent.bias));
  const V index = _mm512_add_round_ps(t, set1(0x1.8p18f), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  const V entry = _mm512_permutex2var_ps(load(kExp2Table), _mm512_castps_si512(index), load(kExp2Table + kLanes));
  return {_mm512_reduce_ps(t, 5 << 4 | _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC), _mm512_scalef_ps(entry, t)};
}

}  // namespace
}  // namespace sweet::avx512
