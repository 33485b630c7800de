// Takes the place of native/cuda/intrinsics.h by its include guard: the same functions without PTX.
#ifndef SWEET_CUDA_INTRINSICS_H
#define SWEET_CUDA_INTRINSICS_H

#include "cuda_emulator.h"

namespace sweet {
namespace cuda {

inline float exp2_approx(float x) { return exp2f(x); }

/** Element i of the two in a register. */
template <class T>
float unpack(uint32_t bits, int i) {
  const uint16_t half = static_cast<uint16_t>(i == 0 ? bits : bits >> 16);
  T value;
  memcpy(static_cast<void*>(&value), &half, sizeof(half));
  return static_cast<float>(value);
}

/** In the fragments of PTX's mma.m16n8k16, whose elements the lanes exchange by shuffles. */
template <class T>
void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], T*) {
  constexpr unsigned all = 0xffffffffu;
  const int lane = static_cast<int>(threadIdx.x) % 32, group = lane / 4, pair = lane % 4 * 2;
  for (int half = 0; half < 2; half++) {
    for (int j = 0; j < 4; j++) {
      const uint32_t rows[2] = {__shfl_sync(all, a[2 * half], group * 4 + j),
                                __shfl_sync(all, a[2 * half + 1], group * 4 + j)};
      const uint32_t columns[2] = {__shfl_sync(all, b[half], pair * 4 + j),
                                   __shfl_sync(all, b[half], (pair + 1) * 4 + j)};
      for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 2; k++) c[i] += unpack<T>(rows[i / 2], k) * unpack<T>(columns[i % 2], k);
      }
    }
  }
}

}  // namespace cuda
}  // namespace sweet

#endif
