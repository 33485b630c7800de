// Products of pairs of bfloat16 numbers, summed in float32, by the instruction of AVX512-BF16 (Cooper Lake, Sapphire
// Rapids, Zen 4 and later). It takes subnormal numbers as 0.
#include "product.h"

namespace sweet {
namespace {

struct Pairs {
  static __m512i spread(const uint32_t* a) { return _mm512_set1_epi32(static_cast<int>(*a)); }
  static __m512 multiply_add(__m512i x, const uint32_t* b, __m512 sum) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(_mm512_loadu_si512(b)));
  }
};

void narrow_tile(const Tile& tile, uint32_t* pairs, bf16* words) {
  using namespace avx512;
  for (int64_t v = 0; v < tile.words; v += 2) {
    const float* const x = tile.x + v * tile.row;
    for (int64_t i = 0; i < tile.tokens; i += kLanes) {
      const V a = load(x + i), b = load(x + tile.row + i);
      store2(reinterpret_cast<bf16*>(pairs + v / 2 * tile.row + i), a, b);
      store(words + v * tile.row + i, a);
      store(words + (v + 1) * tile.row + i, b);
    }
  }
}

constexpr PairKernels kPairKernels = {avx512::product<Pairs>, narrow_tile};

}  // namespace

const PairKernels* pair_kernels_avx512bf16() { return &kPairKernels; }

}  // namespace sweet
