// float32 copy of x[n], exact: bfloat16 and float16 are subsets of float32.
#pragma once

#include "../isa/simd.h"

namespace sweet::reference {

template <class T>
static void widen(const T* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i++) out[i] = to_float(x[i]);
}

}  // namespace sweet::reference

namespace sweet::SWEET_ISA {
namespace {

template <class T>
void widen(const T* x, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, load(x + i));
  for (; i < n; i++) out[i] = to_float(x[i]);
}

}  // namespace
}  // namespace sweet::SWEET_ISA
