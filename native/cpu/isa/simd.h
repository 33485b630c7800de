// The vector type of the instruction set that this translation unit is compiled for. kernels.cpp is compiled once per
// instruction set, with SWEET_ISA naming the namespace. Every set offers, over a register `V` of `kLanes` float32:
//
// clang-format off
//   load(p)  load_n(p, n, fill)      from float, bf16 or f16; lanes at and past n become fill
//   store(p, x)  store_n(p, x, n)    to float, bf16 or f16, rounded to nearest; for bf16, a NaN's lower half must be 0
//   load2(p, a, b)  store2(p, a, b)  2 * kLanes elements, distributed over a and b in the cheapest order
//   store_nontemporal2(p, a, b)      store2 with non-temporal stores where the set has them; p aligned to 64 bytes
//   fence_nontemporal()              orders them before later stores
//   prefetch2(p)                     prefetches what load2 reads kPrefetchL1 and kPrefetchL2 bytes after p
//   set1  add  sub  mul  div
//   fma(a, b, c)                     a * b + c, rounded once if kHasFma
//   max(a, b)  min(a, b)             b where either is a NaN
//   choose_greater(a, b, yes, no)    yes where a > b, else no
//   any_equal(a, b)                  whether a == b in any lane
//   any_greater(a, b)                whether a > b in any lane
//   max_lanes(x)                     the largest lane
//   sum_lanes(x)                     the sum of the lanes in float64: halves are added until one is left
//   choose_less(a, b, yes, no)       yes where a < b, else no
//   split_exponent(x)                x = m * 2^exponent with sqrt(1/2) <= m < sqrt(2), x > 0
//   reduce_exp2(y, exponent, range)  range reduction of t = y * scale_log2 + bias: 2^t = scale * 2^r. Valid for
//                                    -127 <= t < 128; other t set range.out_of_range(). If kExp2Saturates, every t is
//                                    valid: 2^t is 0 or infinite beyond float32.
//   kExp2  kExp2Bf16                 2^r for this r: to float32's precision; to that of bfloat16 gradients
//   kTileRows  kTileVectors          the register tile of the matrix product, see gemm/product.h
//   kPairsAtOnce                     load2 calls before the first store of a gradient, see rows/softmax_gradient.h
// clang-format on
#pragma once

#include "../../dtype.h"

// Prefetch distances in bytes, into L1 and into L2. On Zen 5, over 64 to 128 MiB, the forward pass takes 1.2 to 1.5
// times as long without prefetches, a gradient 0.79 to 0.95 of the time, or 0.94 to 1.03 with non-temporal stores. Only
// one of the distances, or half or twice one of them, takes 0.92 to 1.08. On an earlier CPU, one distance alone left a
// core waiting for about a fifth of its time.
constexpr int kPrefetchL1 = 4096, kPrefetchL2 = 65536;

namespace sweet {
namespace {

/** t = y * scale_log2 + bias; bias is an integer. t is -127 at y = low and just under 128 at y = high. */
struct Exponent {
  float scale_log2, bias, low, high;
};

/** 2^r = 1 + c[0]*r + c[1]*r^2 + ..., a minimax polynomial over the range of r that reduce_exp2() leaves. */
struct Exp2Polynomial {
  int degree;
  float c[6];
};

// For -1/2 <= r <= 1/2, of sets without a table: to 28 and 18 bits.
constexpr Exp2Polynomial kExp2Degree6 = {
    6, {6.9314720286e-1f, 2.4022647914e-1f, 5.5503324703e-2f, 9.6184373571e-3f, 1.3398874755e-3f, 1.5353362886e-4f}};
constexpr Exp2Polynomial kExp2Degree4 = {4, {6.9312419292e-1f, 2.4024098608e-1f, 5.5906428981e-2f, 9.5828547598e-3f}};

}  // namespace
}  // namespace sweet

#if defined(SWEET_ISA_AVX512)
#define SWEET_ISA avx512
#include "simd_avx512.h"
#elif defined(SWEET_ISA_AVX2)
#define SWEET_ISA avx2
#include "simd_avx2.h"
#elif defined(SWEET_ISA_NEON)
#define SWEET_ISA neon
#include "simd_neon.h"
#elif defined(SWEET_ISA_WASM)
#define SWEET_ISA wasm
#include "simd_wasm.h"
#else
#define SWEET_ISA portable
#include "simd_portable.h"
#endif
