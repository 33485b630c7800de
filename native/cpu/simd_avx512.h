// AVX-512 F, BW, DQ and VL (Skylake server and later): sixteen lanes, thirty-two registers, masks for the tails.
#pragma once

#include <immintrin.h>

namespace sweet::avx512 {
namespace {

constexpr int kLanes = 16, kTileRows = 6, kTileVectors = 4;
constexpr bool kFused = true;

using V = __m512;

inline __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }

inline V widen(__m256i h, bf16) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }
inline V widen(__m256i h, f16) { return _mm512_cvtph_ps(h); }

// The upper half of each lane, rounded; what is left in the lower half has no meaning. A NaN's lower half must be 0.
inline __m512i round_to_bf16(V x) {
  const __m512i u = _mm512_castps_si512(x), up = _mm512_add_epi32(u, _mm512_set1_epi32(0x7fff));
  return _mm512_mask_sub_epi32(up, _mm512_test_epi32_mask(u, _mm512_set1_epi32(0x10000)), up, _mm512_set1_epi32(-1));
}
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
// The even words, then the odd ones: no shuffle.
inline void load2(const bf16* p, V& a, V& b) {
  const __m512i words = _mm512_loadu_si512(p);
  a = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
  b = _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(-65536)));
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
inline void store2(bf16* p, V a, V b) {
  const __m512i even = _mm512_srli_epi32(round_to_bf16(a), 16);
  _mm512_storeu_si512(p, _mm512_mask_mov_epi16(even, 0xaaaaaaaa, round_to_bf16(b)));
}

inline void store_n(float* p, V x, int n) { _mm512_mask_storeu_ps(p, first(n), x); }
template <class T>
inline void store_n(T* p, V x, int n) {
  _mm256_mask_storeu_epi16(p, first(n), narrow(x, T{}));
}

template <class T>
inline void fetch(const T* p) {
  const char* const at = reinterpret_cast<const char*>(p);
  for (int i = 0; i < 4 * kLanes * static_cast<int>(sizeof(T)); i += 64) {
    _mm_prefetch(at + kFar + i, _MM_HINT_T1);
    _mm_prefetch(at + kNear + i, _MM_HINT_T0);
  }
}

inline V set1(float x) { return _mm512_set1_ps(x); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V max(V a, V b) { return _mm512_max_ps(a, b); }
inline V fraction(V t) { return _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline V keep_from(V x, float low, V y) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, set1(low), _CMP_NLT_UQ), y);
}
inline V scale2(V x, V t) { return _mm512_scalef_ps(x, t); }
inline V scale2_low(V x, V t) { return _mm512_scalef_ps(x, t); }
inline float max_lanes(V x) { return _mm512_reduce_max_ps(x); }

}  // namespace
}  // namespace sweet::avx512
