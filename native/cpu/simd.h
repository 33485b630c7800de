// The vector type of the instruction set that this translation unit is compiled for. kernels.cpp is compiled once per
// instruction set, with SWEET_ISA naming the namespace. Every set offers, over a register `V` of `kLanes` float32:
//
//   load(p) load_n(p, n, fill)      from float, bf16 or f16; lanes at and past n become fill
//   store(p, x) store_n(p, x, n)    to float, bf16 or f16, rounded to nearest even
//   set1 add sub mul fma(a, b, c) = a·b + c, fnma(a, b, c) = c − a·b
//   max(a, b)                       b where either is a NaN
//   round(x)                        to the nearest integer
//   scale2(x, n)                    x · 2^n for 0.5 < x < 2 and integral n, −151 ≤ n ≤ 60
//   keep_from(x, low, y)            y where x ≥ low or x is a NaN, else 0
//   kTileRows kTileVectors          the register tile of the matrix product
#pragma once

#include "../dtype.h"

#if defined(SWEET_ISA_AVX512)
#define SWEET_ISA avx512
#include "simd_avx512.h"
#elif defined(SWEET_ISA_AVX2)
#define SWEET_ISA avx2
#include "simd_avx2.h"
#else
#define SWEET_ISA portable
#include "simd_portable.h"
#endif

namespace sweet::SWEET_ISA {
namespace {

inline V add4(V a, V b, V c, V d) { return add(add(a, b), add(c, d)); }

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

inline float max_lanes(V x) {
  float lanes[kLanes];
  store(lanes, x);
  float m = lanes[0];
  for (int i = 1; i < kLanes; i++) m = lanes[i] > m ? lanes[i] : m;
  return m;
}

}  // namespace
}  // namespace sweet::SWEET_ISA
