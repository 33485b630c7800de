// The products of bf16_pairs.h by the instruction of AVX512-BF16 (Cooper Lake, Sapphire Rapids, Zen 4 and later), which
// takes subnormal numbers as 0.
#include "bf16_pairs.h"

namespace sweet {
namespace {

/** Elements that are pairs. */
struct Pairs {
  static __m512i broadcast(const uint32_t* a) { return _mm512_set1_epi32(static_cast<int>(*a)); }
  static __m512 fma(__m512i x, const uint32_t* b, __m512 sum) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(_mm512_loadu_si512(b)));
  }
};

void narrow_tile(const Tile& tile, uint32_t* pairs, bf16* rows) {
  using namespace avx512;
  for (int64_t v = 0; v < tile.entries; v += 2) {
    const float* const x = tile.x + v * tile.row_stride;
    for (int64_t i = 0; i < tile.tokens; i += kLanes) {
      const V a = load(x + i), b = load(x + tile.row_stride + i);
      store2(reinterpret_cast<bf16*>(pairs + v / 2 * tile.row_stride + i), a, b);
      store(rows + v * tile.row_stride + i, a);
      store(rows + (v + 1) * tile.row_stride + i, b);
    }
  }
}

constexpr Bf16PairKernels kPairKernels = {avx512::product<Pairs>, narrow_tile};

/** Twelve independent sums hide the latency; each starts with another value, or the compiler would compute one only. */
template <class Step>
float exercise(int rounds) {
  using namespace avx512;
  alignas(64) uint32_t elements[kLanes];
  for (uint32_t i = 0; i < kLanes; i++) elements[i] = 0x3f803f80;  // about 1, as a number and as a pair
  V sums[12];
  for (int i = 0; i < 12; i++) sums[i] = set1(static_cast<float>(i));
  const auto x = Step::broadcast(elements);
  for (int r = 0; r < rounds; r++) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++) sums[i] = Step::fma(x, elements, sums[i]);
  }
  V sum = sums[0];
  for (int i = 1; i < 12; i++) sum = add(sum, sums[i]);
  return max_lanes(sum);
}

}  // namespace

const Bf16PairKernels* bf16_pair_kernels_avx512() { return &kPairKernels; }
float exercise_bf16_pairs_avx512(int rounds) { return exercise<Pairs>(rounds); }
float exercise_float32_avx512(int rounds) { return exercise<avx512::Float32>(rounds); }

}  // namespace sweet
