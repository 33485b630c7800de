// What the kernels share: 16-byte vectors of the storage types, and reductions over a warp and a block.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "../dtype.h"
#include "intrinsics.h"
#include "launch.h"

namespace sweet {
namespace cuda {

// No constant of these kernels was measured on a GPU. The comment at each gives the registers and the shared memory
// that nvcc 13 reports for sm_90 (npm run test:cuda:nvcc), and how many threads an SM of 65,536 registers then runs at
// once, of 2048 at most.

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

/** Whether offsets or pair indices are invalid: kernels that look for empty turns and items would read out of bounds.
 */
__device__ inline bool has_layout_fault(const DeviceResult* result) { return result->layout_fault != kNoFault; }

/** Kernels that write results return at once if so. Uniform over the grid, since they record no fault themselves. */
__device__ inline bool has_fault(const DeviceResult* result) {
  return has_layout_fault(result) || result->empty_fault != kNoFault;
}

/** The first fault in the order of the rules stays, whichever thread comes first. */
__device__ inline void record_fault(unsigned long long* fault, Rule rule, int64_t index) {
  atomicMin(fault, encode_fault(rule, index));
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

/** Elements of a row that one 16-byte access loads or stores. */
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

/** The vector at any address, from the two aligned vectors in which it lies. */
template <class T>
__device__ inline Vector<T> load_unaligned(const T* x) {
  const unsigned offset = static_cast<unsigned>(reinterpret_cast<uintptr_t>(x) % 16);
  const uint4* const aligned = reinterpret_cast<const uint4*>(reinterpret_cast<const char*>(x) - offset);
  const uint4 low = aligned[0], high = aligned[1];
  uint32_t bits[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (int i = 0; i < 6; i++) bits[i] = offset & 8 ? bits[i + 2] : bits[i];
#pragma unroll
  for (int i = 0; i < 5; i++) bits[i] = offset & 4 ? bits[i + 1] : bits[i];
#pragma unroll
  for (int i = 0; i < 4; i++) bits[i] = offset & 2 ? bits[i] >> 16 | bits[i + 1] << 16 : bits[i];
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

/** The elements first ... last - 1 of an array are whole aligned vectors; those before and after go one by one. */
struct AlignedRange {
  int first, last;
};

template <class T>
__device__ inline AlignedRange aligned_range(const T* x, int n) {
  constexpr int size = Vector<T>::kSize;
  const int offset = static_cast<int>(reinterpret_cast<uintptr_t>(x) / sizeof(T) % size);
  const int first = min(offset == 0 ? 0 : size - offset, n);
  return {first, first + (n - first) / size * size};
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

/** Reduces the warps' results in their order. `shared` holds one of each warp and may be used again afterwards. */
template <class T, class Reduce>
__device__ inline T block_reduce(T of_warp, T* shared, Reduce reduce) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  if (threadIdx.x % kWarp == 0) shared[warp] = of_warp;
  __syncthreads();
  T all = shared[0];
  for (int w = 1; w < warps; w++) all = reduce(all, shared[w]);
  __syncthreads();
  return all;
}

__device__ inline double block_sum(double x, double* shared) {
  return block_reduce(warp_sum(x), shared, [](double a, double b) { return a + b; });
}

__device__ inline float block_max(float x, float* shared) {
  return block_reduce(warp_max(x), shared, [](float a, float b) { return fmaxf(a, b); });
}

__device__ inline int block_min(int x, int* shared) {
#pragma unroll
  for (int i = kWarp / 2; i > 0; i /= 2) x = min(x, __shfl_xor_sync(kAllLanes, x, i));
  return block_reduce(x, shared, [](int a, int b) { return min(a, b); });
}

}  // namespace cuda
}  // namespace sweet
