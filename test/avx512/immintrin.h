// AVX-512 for tests on a CPU with AVX2, FMA and F16C: SIMDe (Debian's libsimde-dev), and the intrinsics of native/cpu
// that SIMDe 0.7.4-rc2 lacks or computes with other bits. The compiler finds this file before its own <immintrin.h>.
#pragma once

#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace sweet::emulated {
namespace {

// -- Not in SIMDe.

/** Copies the elements whose bit in the mask is set; touches no other memory. */
template <class T>
inline void copy_masked(void* to, __mmask16 mask, const void* from) {
  for (int i = 0; i < 16; i++) {
    if (mask >> i & 1) memcpy(static_cast<T*>(to) + i, static_cast<const T*>(from) + i, sizeof(T));
  }
}
inline __m512 mask_loadu_ps(__m512 x, __mmask16 mask, const void* p) {
  copy_masked<float>(&x, mask, p);
  return x;
}
inline __m256i maskz_loadu_epi16(__mmask16 mask, const void* p) {
  __m256i x{};
  copy_masked<uint16_t>(&x, mask, p);
  return x;
}
inline void mask_storeu_ps(void* p, __mmask16 mask, __m512 x) { copy_masked<float>(p, mask, &x); }
inline void mask_storeu_epi16(void* p, __mmask16 mask, __m256i x) { copy_masked<uint16_t>(p, mask, &x); }

/** Stops the process where p is not aligned, as the instruction does. */
template <class V>
inline void stream(void* p, V x) {
  if (reinterpret_cast<uintptr_t>(p) % 64 != 0) __builtin_trap();
  memcpy(p, &x, sizeof(V));
}

inline __m512i cvtepu16_epi32(__m256i x) {
  simde__m512i_private y;
  for (int i = 0; i < 2; i++) y.m256i[i] = _mm256_cvtepu16_epi32(simde__m256i_to_private(x).m128i[i]);
  return simde__m512i_from_private(y);
}
inline __m256i cvtepi32_epi16(__m512i x) {
  simde__m256i_private y;
  for (int i = 0; i < 16; i++) y.i16[i] = static_cast<int16_t>(simde__m512i_to_private(x).i32[i]);
  return simde__m256i_from_private(y);
}
inline __m512 cvtph_ps(__m256i x) {
  simde__m512_private y;
  for (int i = 0; i < 2; i++) y.m256[i] = _mm256_cvtph_ps(simde__m256i_to_private(x).m128i[i]);
  return simde__m512_from_private(y);
}
inline __m512d cvtps_pd(__m256 x) {
  simde__m512d_private y;
  for (int i = 0; i < 8; i++) y.f64[i] = x[i];
  return simde__m512d_from_private(y);
}
inline __m512 cvtepi32_ps(__m512i x) {
  simde__m512_private y;
  for (int i = 0; i < 2; i++) y.m256[i] = _mm256_cvtepi32_ps(simde__m512i_to_private(x).m256i[i]);
  return simde__m512_from_private(y);
}
inline __m512i srai_epi32(__m512i x, int count) {
  simde__m512i_private y;
  for (int i = 0; i < 2; i++) y.m256i[i] = _mm256_srai_epi32(simde__m512i_to_private(x).m256i[i], count);
  return simde__m512i_from_private(y);
}
template <int kHalf>
inline __m256 extractf32x8_ps(__m512 x) {
  return simde__m512_to_private(x).m256[kHalf];
}
template <int kHow>
inline __m256i cvtps_ph(__m512 x) {
  simde__m256i_private y;
  for (int i = 0; i < 2; i++) y.m128i[i] = _mm256_cvtps_ph(simde__m512_to_private(x).m256[i], kHow);
  return simde__m256i_from_private(y);
}

/** In the order of GCC's header, which decides between NaN and a number, and between -0 and 0. */
inline float reduce_max_ps(__m512 x) {
  const simde__m512_private halves = simde__m512_to_private(x);
  const __m256 eight = _mm256_max_ps(halves.m256[1], halves.m256[0]);
  const __m128 four = _mm_max_ps(_mm256_extractf128_ps(eight, 1), _mm256_castps256_ps128(eight));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/**
 * operation(x...) with these bits of MXCSR set. The empty asm statements keep it between the writes of MXCSR. Not
 * inlined, or the compiler might move the caller's arithmetic there.
 */
template <class Operation, class... V>
__attribute__((noinline)) __m512 with_mxcsr(unsigned flags, Operation operation, V... x) {
  const unsigned saved = _mm_getcsr();
  _mm_setcsr(saved | flags);
  const auto opaque = [](auto& v) { asm volatile("" : "+m"(v)); };
  (opaque(x), ...);
  __m512 y = operation(x...);
  opaque(y);
  _mm_setcsr(saved);
  return y;
}
/** The bits of MXCSR for a rounding mode; none are set by default. */
constexpr unsigned rounding(int how) { return static_cast<unsigned>(how & 3) << 13; }

inline __m512 add_round_ps(__m512 a, __m512 b, int how) {
  const auto add = [](__m512 x, __m512 y) { return _mm512_add_ps(x, y); };
  return with_mxcsr(rounding(how), add, a, b);
}
/** a - a rounded to a multiple of 2^-M; of infinities 0. */
template <int kHow>
inline __m512 reduce_ps(__m512 a) {
  const auto sub = [](__m512 x, __m512 y) { return _mm512_sub_ps(x, y); };
  __m512 rest = with_mxcsr(rounding(kHow), sub, a, simde_mm512_roundscale_ps(a, kHow));
  for (int i = 0; i < 16; i++) {
    if (std::isinf(a[i])) rest[i] = 0;
  }
  return rest;
}

// -- In SIMDe with other results.

/**
 * a * 2^floor(b), a no NaN. SIMDe takes subnormal numbers as 0 and multiplies by 2^floor(b) as a float32, which is 0 or
 * infinite where the result may not be.
 */
inline __m512 scalef_ps(__m512 a, __m512 b) {
  const auto scaled = [](float x, float y) {
    if (!std::isfinite(y)) return x * (y < 0 ? 0 : y);
    return std::scalbn(x, static_cast<int>(std::floor(std::clamp(y, -600.0f, 600.0f))));
  };
  for (int i = 0; i < 16; i++) a[i] = scaled(a[i], b[i]);
  return a;
}

/**
 * sum + a * b of the odd elements + a * b of the even ones, fused, subnormal numbers taken and returned as 0. SIMDe
 * adds the even products first, rounds each product and keeps subnormal numbers.
 */
inline __m512 dpbf16_ps(__m512 sum, __m512bh a, __m512bh b) {
  const auto add_products = [](__m512 c, __m512i x, __m512i y) {
    const auto odd = [](__m512i v) { return _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(-65536))); };
    const auto even = [](__m512i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)); };
    return _mm512_fmadd_ps(even(x), even(y), _mm512_fmadd_ps(odd(x), odd(y), c));
  };
  const unsigned subnormals_as_zero = _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON;
  return with_mxcsr(subnormals_as_zero, add_products, sum, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
}

}  // namespace
}  // namespace sweet::emulated

#undef _mm512_add_round_ps
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtps_pd
#undef _mm512_cvtps_ph
#undef _mm512_dpbf16_ps
#undef _mm512_extractf32x8_ps
#undef _mm512_reduce_ps
#undef _mm512_scalef_ps
#undef _mm512_srai_epi32
#define _mm256_mask_storeu_epi16 sweet::emulated::mask_storeu_epi16
#define _mm256_maskz_loadu_epi16 sweet::emulated::maskz_loadu_epi16
#define _mm512_add_round_ps sweet::emulated::add_round_ps
#define _mm512_cvtepi32_epi16 sweet::emulated::cvtepi32_epi16
#define _mm512_cvtepi32_ps sweet::emulated::cvtepi32_ps
#define _mm512_cvtepu16_epi32 sweet::emulated::cvtepu16_epi32
#define _mm512_cvtph_ps sweet::emulated::cvtph_ps
#define _mm512_cvtps_pd sweet::emulated::cvtps_pd
#define _mm512_cvtps_ph(x, how) sweet::emulated::cvtps_ph<how>(x)
#define _mm512_dpbf16_ps sweet::emulated::dpbf16_ps
#define _mm512_extractf32x8_ps(x, half) sweet::emulated::extractf32x8_ps<(half)>(x)
#define _mm512_mask_loadu_ps sweet::emulated::mask_loadu_ps
#define _mm512_mask_storeu_ps sweet::emulated::mask_storeu_ps
#define _mm512_reduce_max_ps sweet::emulated::reduce_max_ps
#define _mm512_reduce_ps(x, how) sweet::emulated::reduce_ps<(how)>(x)
#define _mm512_scalef_ps sweet::emulated::scalef_ps
#define _mm512_srai_epi32 sweet::emulated::srai_epi32
#define _mm512_stream_ps sweet::emulated::stream
#define _mm512_stream_si512 sweet::emulated::stream
