// The kernels of emulator_test.cu. A template argument says whether a kernel has the line whose absence is the fault.
#pragma once

#include <cuda_runtime.h>

namespace {

constexpr unsigned kAll = 0xffffffffu;

__device__ float warp_sum(float x) {
  for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(kAll, x, i);
  return x;
}

template <bool kBarrier, int kShift = 0>
__device__ float block_sum(float x) {
  __shared__ float sums[32];
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  x = warp_sum(x);
  if (lane == 0) sums[warp + kShift] = x;
  if (kBarrier) __syncthreads();
  return warp_sum(lane < blockDim.x / 32 ? sums[lane] : 0);
}

template <bool kBarrier, int kShift>
__global__ void sum_kernel(const float* x, float* out) {
  const float sum = block_sum<kBarrier, kShift>(x[threadIdx.x]);
  if (threadIdx.x == 0) out[0] = sum;
}

template <bool kBarrier>
__global__ void two_sums_kernel(const float* x, float* out) {
  const float first = block_sum<true>(x[threadIdx.x]);
  if (kBarrier) __syncthreads();  // before sums[] is used again
  out[threadIdx.x] = first + block_sum<true>(2 * x[threadIdx.x]);
}

template <bool kBarrier>
__global__ void neighbour_kernel(const float* x, float* out) {
  __shared__ float shared[32];
  shared[threadIdx.x] = x[threadIdx.x];
  if (kBarrier) __syncwarp();
  out[threadIdx.x] = shared[(threadIdx.x + 1) % 32];
}

__global__ void overrun_kernel(const float* x, float* out, int n) {
  for (int i = static_cast<int>(threadIdx.x); i <= n; i += static_cast<int>(blockDim.x)) out[i % n] = x[i];
}

template <int kOffset>
__global__ void vector_kernel(const float* x, float* out) {
  out[threadIdx.x] = reinterpret_cast<const float4*>(x + kOffset)[threadIdx.x].x;
}

template <bool kAllWritten>
__global__ void written_kernel(const float* x, float* out) {
  __shared__ float shared[64];
  if (kAllWritten || threadIdx.x < 32) shared[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = shared[63 - threadIdx.x];
}

template <bool kAtomic>
__global__ void count_kernel(const float*, float* out) {
  if (kAtomic) {
    atomicAdd(out, 1.0f);
  } else {
    out[0] += 1;
  }
}

__global__ void divergent_kernel(const float* x, float* out) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = x[threadIdx.x];
}

__global__ void returned_kernel(const float* x, float* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[threadIdx.x] = x[threadIdx.x];
}

__global__ void half_a_warp_kernel(const float* x, float* out) {
  float sum = x[threadIdx.x];
  if (threadIdx.x % 32 < 16) sum += __shfl_xor_sync(kAll, sum, 1);
  __syncwarp();
  out[threadIdx.x] = sum;
}

__global__ void foreign_lane_kernel(const float* x, float* out) {
  float sum = x[threadIdx.x];
  if (threadIdx.x % 32 < 16) sum += __shfl_down_sync(0xffffu, sum, 8);
  out[threadIdx.x] = sum;
}

__global__ void intrinsics_kernel(const float*, float* out) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  bool right = __shfl_sync(kAll, lane, 5) == 5 && __shfl_sync(kAll, lane, 3, 8) == lane / 8 * 8 + 3;
  right &= __shfl_up_sync(kAll, lane, 2) == (lane < 2 ? lane : lane - 2);
  right &= __shfl_down_sync(kAll, lane, 2) == (lane > 29 ? lane : lane + 2);
  right &= __shfl_xor_sync(kAll, 1.5 * lane, 7) == 1.5 * (lane ^ 7);
  right &= __ballot_sync(kAll, lane % 3 == 0) == 0x49249249u;
  right &= __any_sync(kAll, lane == 31) && !__any_sync(kAll, lane == 32) && __all_sync(kAll, lane < 32);
  if (lane < 16) {
    right &= __shfl_xor_sync(0xffffu, lane, 1) == (lane ^ 1);
  } else {
    right &= __shfl_xor_sync(0xffff0000u, lane, 2) == (lane ^ 2);
  }
  out[threadIdx.x] = right;
}

__global__ void shape_kernel(const float*, float* out) {
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  atomicAdd(&out[block * blockDim.x * blockDim.y * blockDim.z + thread], 1.0f);
}

}  // namespace
