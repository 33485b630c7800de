// PTX instructions by name. An emulator replaces this header by one with the same include guard and the same functions.
#ifndef SWEET_CUDA_INTRINSICS_H
#define SWEET_CUDA_INTRINSICS_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace sweet {
namespace cuda {

/** 2^x to 2 ulp; below 2^-126 it may be 0. */
__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/**
 * c += a * b by the tensor cores of one warp, a [16, 16] by rows and b [16, 8] by columns in the type of the last
 * argument, c [16, 8] in float32. Lane 4 g + j has of a columns 2 j, 2 j + 1 (registers 0, 1) and those + 8 (2, 3) of
 * rows g (0, 2) and g + 8 (1, 3); of b rows 2 j, 2 j + 1 (register 0) and those + 8 (1) of column g; of c columns 2 j,
 * 2 j + 1 of rows g (0, 1) and g + 8 (2, 3).
 */
__device__ inline void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __half*) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __nv_bfloat16*) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace cuda
}  // namespace sweet

#endif
