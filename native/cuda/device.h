// What the kernels share: 16-byte vectors of the storage types, powers of two, reductions over a warp and a block.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "../dtype.h"
#include "run.h"

namespace sweet {
namespace cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

/** Kernels that count what may be empty ask this first: the arrays are not sound. */
__device__ inline bool unsound(const Outcome* outcome) { return outcome->fault != kNoFault; }

/** Every kernel that writes results asks this first. Uniform over the grid, as no such kernel refuses anything. */
__device__ inline bool refused(const Outcome* outcome) { return unsound(outcome) || outcome->empty_fault != kNoFault; }

/** The first fault in the order of the rules stays, whichever thread comes first. */
__device__ inline void refuse(unsigned long long* fault, Rule rule, int64_t index) {
  atomicMin(fault, fault_of(rule, index));
}

__device__ inline int64_t global_thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

// -- storage types

__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float to_float(float x) { return x; }

__device__ inline void from_float(float x, float* out) { *out = x; }
__device__ inline void from_float(float x, __half* out) { *out = __float2half_rn(x); }
__device__ inline void from_float(float x, __nv_bfloat16* out) { *out = __float2bfloat16_rn(x); }

/** Calls f with a null pointer to the storage type. */
template <class F>
void with_type(DType dtype, F f) {
  switch (dtype) {
    case DType::float32:
      return f(static_cast<float*>(nullptr));
    case DType::bfloat16:
      return f(static_cast<__nv_bfloat16*>(nullptr));
    case DType::float16:
      return f(static_cast<__half*>(nullptr));
  }
}

/** 16 bytes of a row, loaded and stored at once. */
template <class T>
struct Vector {
  static constexpr int kSize = 16 / sizeof(T);
  T at[kSize];
};

template <class T>
__device__ inline Vector<T> load(const T* x) {
  const uint4 bits = *reinterpret_cast<const uint4*>(x);
  Vector<T> vector;
  memcpy(&vector, &bits, sizeof(bits));
  return vector;
}

/** The same of words that start anywhere, out of the two aligned vectors in which they lie. */
template <class T>
__device__ inline Vector<T> load_across(const T* x) {
  const unsigned past = static_cast<unsigned>(reinterpret_cast<uintptr_t>(x) % 16);
  const uint4* const from = reinterpret_cast<const uint4*>(reinterpret_cast<const char*>(x) - past);
  const uint4 low = from[0], high = from[1];
  uint32_t bits[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (int i = 0; i < 6; i++) bits[i] = past & 8 ? bits[i + 2] : bits[i];
#pragma unroll
  for (int i = 0; i < 5; i++) bits[i] = past & 4 ? bits[i + 1] : bits[i];
#pragma unroll
  for (int i = 0; i < 4; i++) bits[i] = past & 2 ? bits[i] >> 16 | bits[i + 1] << 16 : bits[i];
  Vector<T> vector;
  memcpy(&vector, bits, sizeof(vector));
  return vector;
}

template <class T>
__device__ inline void store(const Vector<T>& vector, T* out) {
  uint4 bits;
  memcpy(&bits, &vector, sizeof(bits));
  *reinterpret_cast<uint4*>(out) = bits;
}

/** n words from x on: [0, first) and [last, n) go one by one, what lies between as aligned vectors. */
struct Split {
  int first, last;
};

template <class T>
__device__ inline Split split(const T* x, int n) {
  constexpr int size = Vector<T>::kSize;
  const int past = static_cast<int>(reinterpret_cast<uintptr_t>(x) / sizeof(T) % size);
  const int first = min(past == 0 ? 0 : size - past, n);
  return {first, first + (n - first) / size * size};
}

// -- arithmetic

/** 2^x to 2 ulp; below 2^-126 it may be 0. */
__device__ inline float power_of_two(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

// -- reductions: every lane gets the result, in an order that is always the same

__device__ inline double warp_sum(double x) {
#pragma unroll
  for (int i = kWarp / 2; i > 0; i /= 2) x += __shfl_xor_sync(kAllLanes, x, i);
  return x;
}

__device__ inline float warp_max(float x) {
#pragma unroll
  for (int i = kWarp / 2; i > 0; i /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, i));
  return x;
}

/** The warps' results joined in their order. `room` holds one number per warp and may be used again afterwards. */
template <class T, class Join>
__device__ inline T block_join(T of_warp, T* room, Join join) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  if (threadIdx.x % kWarp == 0) room[warp] = of_warp;
  __syncthreads();
  T all = room[0];
  for (int w = 1; w < warps; w++) all = join(all, room[w]);
  __syncthreads();
  return all;
}

__device__ inline double block_sum(double x, double* room) {
  return block_join(warp_sum(x), room, [](double a, double b) { return a + b; });
}

__device__ inline float block_max(float x, float* room) {
  return block_join(warp_max(x), room, [](float a, float b) { return fmaxf(a, b); });
}

}  // namespace cuda
}  // namespace sweet
