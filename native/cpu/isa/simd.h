// The vector type of the instruction set that this translation unit is compiled for. kernels.cpp is compiled once per
// instruction set, with SWEET_ISA naming the namespace. Every set offers, over a register `V` of `kLanes` float32:
//
// clang-format off
//   load(p)  load_n(p, n, fill)      from float, bf16 or f16; lanes at and past n become fill
//   store(p, x)  store_n(p, x, n)    to float, bf16 or f16, rounded to nearest; of a NaN for bf16 the lower half must be 0
//   load2(p, a, b)  store2(p, a, b)  twice as many, shared out between a and b in whatever order is cheapest
//   stream2(p, a, b)  end_stream()   store2 past the caches where it can, p aligned to 64 bytes; after the last of them
//   fetch2(p)                        asks for what load2 will need some way ahead of p
//   set1  add  sub  mul
//   fma(a, b, c)                     a*b + c, rounded once if kFused
//   max(a, b)  min(a, b)             b where either is a NaN
//   max_lanes(x)                     the largest lane
//   power(y, line, seen)             2^t in two factors, t = y * slope + shift. Where -127 <= t < 128 does not hold, what comes
//                                    out means nothing and seen.strayed() says so from then on; never if kPowersAreEndless.
//   kPower  kBf16Gradient            2^r for power's r: as good as float32 takes; for bfloat16 gradients
//   kTileRows  kTileVectors          the register tile of the matrix product
//   kPairsAtOnce                     so many times load2 before the first gradient is stored, as was quickest
// clang-format on
#pragma once

#include "../../dtype.h"

// Bytes that memory is asked for ahead of its use. One distance alone leaves a core waiting for about a fifth of its
// time.
constexpr int kFar = 65536, kNear = 4096;

namespace sweet {
namespace {

/** t = y * slope + shift; shift is an integer. t is -127 at y = low and just under 128 at y = high. */
struct Line {
  float slope, shift, low, high;
};

/** 2^r = 1 + c[0]*r + c[1]*r^2 + ..., a minimax polynomial over the range that power() leaves. */
struct Exp2 {
  int degree;
  float c[6];
};

// For -1/2 <= r <= 1/2, of sets without a table: to 28 and 18 bits.
constexpr Exp2 kNearest6 = {
    6, {6.9314720286e-1f, 2.4022647914e-1f, 5.5503324703e-2f, 9.6184373571e-3f, 1.3398874755e-3f, 1.5353362886e-4f}};
constexpr Exp2 kNearest4 = {4, {6.9312419292e-1f, 2.4024098608e-1f, 5.5906428981e-2f, 9.5828547598e-3f}};

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
#else
#define SWEET_ISA portable
#include "simd_portable.h"
#endif

namespace sweet::SWEET_ISA {
namespace {

// Joins the lanes in float64, always in the same tree.
inline double sum_lanes(V x) {
  float lanes[kLanes];
  double d[kLanes];
  store(lanes, x);
  for (int i = 0; i < kLanes; i++) d[i] = lanes[i];
  for (int w = kLanes / 2; w > 0; w /= 2) {
    for (int i = 0; i < w; i++) d[i] += d[i + w];
  }
  return d[0];
}

}  // namespace
}  // namespace sweet::SWEET_ISA
