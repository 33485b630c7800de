// The vector type of the instruction set that this translation unit is compiled for. kernels.cpp is compiled once per
// instruction set, with SWEET_ISA naming the namespace. Every set offers, over a register `V` of `kLanes` float32:
//
//   load(p) load_n(p, n, fill)      from float, bf16 or f16; lanes at and past n become fill
//   store(p, x) store_n(p, x, n)    to float, bf16 or f16, rounded to nearest even; a NaN for bf16 has a lower half of
//   0 load2(p, a, b) store2(p, a, b)  twice as many, shared out between a and b in whatever order is cheapest fetch(p,
//   bytes)                 four registers' worth of memory, that far ahead of p, into the cache set1 add sub mul fma(a,
//   b, c) = a·b + c max(a, b)                       b where either is a NaN fraction(t)                     t − ⌊t⌋; 0
//   or a NaN where t is infinite scale2(x, t)                    x · 2^⌊t⌋ for 1 ≤ x < 2 and t < 60, 0 where t < −126
//   scale2_low(x, t)                the same down into the subnormal numbers, 0 where t < −151
//   max_lanes(x)                    the largest lane
//   keep_from(x, low, y)            y where x ≥ low or x is a NaN, else 0
//   kFused                          whether fma rounds once
//   kTileRows kTileVectors          the register tile of the matrix product
#pragma once

#include "../dtype.h"

// Bytes that memory is asked for ahead of its use. One distance alone leaves a core waiting for about a fifth of its
// time.
constexpr int kFar = 65536, kNear = 4096;

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
