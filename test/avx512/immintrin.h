// AVX-512 for processors without it: what native/cpu/simd_avx512.h and pairs_avx512bf16.cpp ask for, to the bit, on
// pairs of AVX2's registers or lane by lane. It stands before the compiler's own header, whose functions no such
// processor can run.
#pragma once

#include_next <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace sweet::emulated {
namespace {

typedef float F __attribute__((vector_size(64)));
typedef uint32_t U __attribute__((vector_size(64)));

template <class V>
inline V load(const void* p) {
  V x;
  memcpy(&x, p, sizeof(V));
  return x;
}
template <class V>
inline void store(void* p, V x) {
  memcpy(p, &x, sizeof(V));
}
template <class To, class From>
inline To bits(const From& x) {
  static_assert(sizeof(To) == sizeof(From));
  return load<To>(&x);
}

struct Halves {
  __m256 low, high;
};

/** The result of `half` on both halves of its arguments. */
template <class Half, class... V>
inline __m512 halves(Half half, V... x) {
  return bits<__m512>(Halves{half(bits<Halves>(x).low...), half(bits<Halves>(x).high...)});
}

template <class Lane, class... V>
inline __m512 lanes(Lane lane, V... x) {
  __m512 y;
  for (int i = 0; i < 16; i++) y[i] = lane(x[i]...);
  return y;
}

template <class T>
inline void load_masked(T* to, uint32_t mask, const void* p, int count) {
  for (int i = 0; i < count; i++) {
    if (mask >> i & 1) memcpy(to + i, static_cast<const T*>(p) + i, sizeof(T));
  }
}
template <class T>
inline void store_masked(void* p, uint32_t mask, const T* from, int count) {
  for (int i = 0; i < count; i++) {
    if (mask >> i & 1) memcpy(static_cast<T*>(p) + i, from + i, sizeof(T));
  }
}

/** The real one ends the process too where p is not aligned. */
template <class V>
inline void stream(void* p, V x) {
  if (reinterpret_cast<uintptr_t>(p) % 64 != 0) __builtin_trap();
  store(p, x);
}

inline __m512 mask_loadu_ps(__m512 x, __mmask16 mask, const void* p) {
  float words[16];
  store(words, x);
  load_masked(words, mask, p, 16);
  return load<__m512>(words);
}
inline __m256i maskz_loadu_epi16(__mmask16 mask, const void* p) {
  uint16_t words[16] = {};
  load_masked(words, mask, p, 16);
  return bits<__m256i>(words);
}
inline void mask_storeu_ps(void* p, __mmask16 mask, __m512 x) {
  float words[16];
  store(words, x);
  store_masked(p, mask, words, 16);
}
inline void mask_storeu_epi16(void* p, __mmask16 mask, __m256i x) {
  uint16_t words[16];
  store(words, x);
  store_masked(p, mask, words, 16);
}
inline __m512 mask_mov_ps(__m512 x, __mmask16 mask, __m512 y) {
  for (int i = 0; i < 16; i++) x[i] = mask >> i & 1 ? y[i] : x[i];
  return x;
}
inline __m512i mask_mov_epi16(__m512i x, __mmask32 mask, __m512i y) {
  uint16_t a[32], b[32];
  store(a, x);
  store(b, y);
  load_masked(a, mask, b, 32);
  return load<__m512i>(a);
}

inline __m512 set1_ps(float x) { return bits<__m512>(F{} + x); }
inline __m512i set1_epi32(int x) { return bits<__m512i>(U{} + static_cast<uint32_t>(x)); }

inline __m512 add_ps(__m512 a, __m512 b) { return a + b; }
inline __m512 sub_ps(__m512 a, __m512 b) { return a - b; }
inline __m512 mul_ps(__m512 a, __m512 b) { return a * b; }
inline __m512 fmadd_ps(__m512 a, __m512 b, __m512 c) {
  return halves([](__m256 x, __m256 y, __m256 z) { return _mm256_fmadd_ps(x, y, z); }, a, b, c);
}
inline __m512 max_ps(__m512 a, __m512 b) {
  return halves([](__m256 x, __m256 y) { return _mm256_max_ps(x, y); }, a, b);
}
inline __m512 min_ps(__m512 a, __m512 b) {
  return halves([](__m256 x, __m256 y) { return _mm256_min_ps(x, y); }, a, b);
}
inline float reduce_max_ps(__m512 x) {
  const Halves h = bits<Halves>(x);
  const __m256 eight = _mm256_max_ps(h.high, h.low);
  const __m128 four = _mm_max_ps(_mm256_extractf128_ps(eight, 1), _mm256_castps256_ps128(eight));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/** a + b rounded down: what the sum to nearest gained is known exactly, and was too much if it is above 0. */
inline __m512 add_down_ps(__m512 a, __m512 b) {
  const auto down = [](float x, float y) {
    const float sum = x + y, y_part = sum - x;
    const float lost = (x - (sum - y_part)) + (y - y_part);
    return lost < 0 ? std::nextafterf(sum, -INFINITY) : sum;
  };
  return lanes(down, a, b);
}
/** What a is above a multiple of 1/32, of infinities 0. */
inline __m512 reduce_32_ps(__m512 a) {
  const auto rest = [](float x) {
    if (std::isinf(x)) return 0.0f;
    return static_cast<float>(x - std::floor(x * 32.0) / 32.0);
  };
  return lanes(rest, a);
}
/** a * 2^floor(b) */
inline __m512 scalef_ps(__m512 a, __m512 b) {
  const auto scaled = [](float x, float y) {
    if (std::isnan(y)) return y;
    return std::scalbn(x, static_cast<int>(std::floor(std::fmin(std::fmax(y, -600.0f), 600.0f))));
  };
  return lanes(scaled, a, b);
}
inline __m512 permutex2var_ps(__m512 a, __m512i index, __m512 b) {
  float table[32];
  store(table, a);
  store(table + 16, b);
  const U at = bits<U>(index) % 32;
  __m512 x;
  for (int i = 0; i < 16; i++) x[i] = table[at[i]];
  return x;
}

inline __m512i add_epi32(__m512i a, __m512i b) { return bits<__m512i>(bits<U>(a) + bits<U>(b)); }
inline __m512i and_si512(__m512i a, __m512i b) { return bits<__m512i>(bits<U>(a) & bits<U>(b)); }
inline __m512i slli_epi32(__m512i x, uint32_t n) { return bits<__m512i>(bits<U>(x) << n); }
inline __m512i srli_epi32(__m512i x, uint32_t n) { return bits<__m512i>(bits<U>(x) >> n); }

struct Quarters {
  __m128i low, high;
};
inline __m512 cvtph_ps(__m256i h) {
  const Quarters q = bits<Quarters>(h);
  return bits<__m512>(Halves{_mm256_cvtph_ps(q.low), _mm256_cvtph_ps(q.high)});
}
inline __m256i cvtps_ph_nearest(__m512 x) {
  const Halves h = bits<Halves>(x);
  return bits<__m256i>(
      Quarters{_mm256_cvtps_ph(h.low, _MM_FROUND_TO_NEAREST_INT), _mm256_cvtps_ph(h.high, _MM_FROUND_TO_NEAREST_INT)});
}
inline __m512i cvtepu16_epi32(__m256i h) {
  uint16_t words[16];
  store(words, h);
  U x;
  for (int i = 0; i < 16; i++) x[i] = words[i];
  return bits<__m512i>(x);
}
inline __m256i cvtepi32_epi16(__m512i x) {
  const U u = bits<U>(x);
  uint16_t words[16];
  for (int i = 0; i < 16; i++) words[i] = static_cast<uint16_t>(u[i]);
  return bits<__m256i>(words);
}
inline __m512i castsi256_si512(__m256i x) {
  __m256i both[2] = {x, x};
  return load<__m512i>(both);
}
inline __m512i inserti64x4(__m512i x, __m256i half, int at) {
  __m256i both[2];
  store(both, x);
  both[at] = half;
  return load<__m512i>(both);
}

/** The products of the odd numbers, then of the even ones; subnormal numbers count as 0. */
inline __m512 dpbf16_ps(__m512 sum, __m512bh a, __m512bh b) {
  const auto normal = [](float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; };
  const U x = bits<U>(a), y = bits<U>(b);
  const auto word = [&](uint32_t w) { return normal(bits<float>(w)); };
  for (int i = 0; i < 16; i++) {
    const float odd = normal(std::fma(word(x[i] & 0xffff0000), word(y[i] & 0xffff0000), normal(sum[i])));
    sum[i] = normal(std::fma(word(x[i] << 16), word(y[i] << 16), odd));
  }
  return sum;
}

}  // namespace
}  // namespace sweet::emulated

#undef _mm512_add_round_ps
#undef _mm512_reduce_ps
#undef _mm512_scalef_ps
#undef _mm512_slli_epi32
#undef _mm512_srli_epi32
#undef _mm512_cvtps_ph
#undef _mm512_inserti64x4
#define _mm256_mask_storeu_epi16 sweet::emulated::mask_storeu_epi16
#define _mm256_maskz_loadu_epi16 sweet::emulated::maskz_loadu_epi16
#define _mm512_add_epi32 sweet::emulated::add_epi32
#define _mm512_add_ps sweet::emulated::add_ps
#define _mm512_and_si512 sweet::emulated::and_si512
#define _mm512_castps_si512 sweet::emulated::bits<__m512i>
#define _mm512_castsi256_si512 sweet::emulated::castsi256_si512
#define _mm512_castsi512_ps sweet::emulated::bits<__m512>
#define _mm512_cvtepi32_epi16 sweet::emulated::cvtepi32_epi16
#define _mm512_cvtepu16_epi32 sweet::emulated::cvtepu16_epi32
#define _mm512_cvtph_ps sweet::emulated::cvtph_ps
#define _mm512_dpbf16_ps sweet::emulated::dpbf16_ps
#define _mm512_fmadd_ps sweet::emulated::fmadd_ps
#define _mm512_inserti64x4 sweet::emulated::inserti64x4
#define _mm512_loadu_ps sweet::emulated::load<__m512>
#define _mm512_loadu_si512 sweet::emulated::load<__m512i>
#define _mm512_mask_loadu_ps sweet::emulated::mask_loadu_ps
#define _mm512_mask_mov_epi16 sweet::emulated::mask_mov_epi16
#define _mm512_mask_mov_ps sweet::emulated::mask_mov_ps
#define _mm512_mask_storeu_ps sweet::emulated::mask_storeu_ps
#define _mm512_max_ps sweet::emulated::max_ps
#define _mm512_min_ps sweet::emulated::min_ps
#define _mm512_mul_ps sweet::emulated::mul_ps
#define _mm512_permutex2var_ps sweet::emulated::permutex2var_ps
#define _mm512_reduce_max_ps sweet::emulated::reduce_max_ps
#define _mm512_scalef_ps sweet::emulated::scalef_ps
#define _mm512_set1_epi32 sweet::emulated::set1_epi32
#define _mm512_set1_ps sweet::emulated::set1_ps
#define _mm512_slli_epi32 sweet::emulated::slli_epi32
#define _mm512_srli_epi32 sweet::emulated::srli_epi32
#define _mm512_storeu_ps sweet::emulated::store
#define _mm512_storeu_si512 sweet::emulated::store
#define _mm512_stream_ps sweet::emulated::stream
#define _mm512_stream_si512 sweet::emulated::stream
#define _mm512_sub_ps sweet::emulated::sub_ps
// With a way of rounding, which must be the one that is emulated.
#define SWEET_ROUNDED(how, expected, value) ((how) == (expected) ? (value) : (__builtin_trap(), (value)))
#define _mm512_add_round_ps(a, b, how) \
  SWEET_ROUNDED(how, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC, sweet::emulated::add_down_ps(a, b))
#define _mm512_reduce_ps(a, how) \
  SWEET_ROUNDED(how, 5 << 4 | _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC, sweet::emulated::reduce_32_ps(a))
#define _mm512_cvtps_ph(a, how) \
  SWEET_ROUNDED(how, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC, sweet::emulated::cvtps_ph_nearest(a))
