// Products without a library: a block computes a tile of the result, in steps of the depth that lie in shared memory,
// 16-bit numbers by the tensor cores, float32 by plain multiply-adds. Each number of the result is one sum in the order
// of the depth, whatever stands beside it.
#include <type_traits>

#include "cublaslt.h"
#include "device.h"
#include "product.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTile = 64;   // rows and columns of a block's part of the result
constexpr int kDepth = 32;  // of a step

// Numbers from one row of a tile in shared memory to the next, so that no two lanes ask one bank; of 16 bits, whole
// vectors.
template <class T>
constexpr int kPitch = sizeof(T) == 2 ? kDepth + 8 : kDepth + 1;

template <class T>
struct alignas(16) Tile {
  T at[kTile * kPitch<T>];
};

/**
 * A step's part of an operand, as [kTile][kDepth]; what lies outside is 0. kAlong: the depth runs along the rows in
 * memory, so that neighbouring threads read neighbouring numbers either way.
 */
template <bool kAlong, class T>
__device__ inline void load_tile(const Matrix& matrix, int64_t first, int64_t count, int64_t from, int64_t depth,
                                 Tile<T>& tile) {
  constexpr int size = Vector<T>::kSize;
  const T* const data = static_cast<const T*>(matrix.data);
  const bool aligned = reinterpret_cast<uintptr_t>(data) % 16 == 0 && matrix.stride % size == 0;
  for (int v = static_cast<int>(threadIdx.x) * size; v < kTile * kDepth; v += kThreads * size) {
    const int row = kAlong ? v / kDepth : v % kTile, k = kAlong ? v % kDepth : v / kTile;
    const int64_t i = first + row, d = from + k;
    const int64_t inside = kAlong ? (i < count ? depth - d : 0) : (d < depth ? count - i : 0);
    const T* const x = data + (kAlong ? i * matrix.stride + d : d * matrix.stride + i);
    Vector<T> vector;
    if (aligned && inside >= size) {
      vector = load(x);
    } else {
#pragma unroll
      for (int j = 0; j < size; j++) {
        if (j < inside) {
          vector.at[j] = x[j];
        } else {
          from_float(0.0f, &vector.at[j]);
        }
      }
    }
    if constexpr (kAlong && kPitch<T> % size == 0) {
      store(vector, &tile.at[row * kPitch<T> + k]);
    } else {
#pragma unroll
      for (int j = 0; j < size; j++) {
        tile.at[kAlong ? row * kPitch<T> + k + j : (row + j) * kPitch<T> + k] = vector.at[j];
      }
    }
  }
}

// -- the tensor cores' product of a warp: c [16, 8] += a [16, 16] * b [16, 8], in the fragments of PTX's m16n8k16

/** One of the two numbers of a register. */
template <class T>
__device__ inline float half_of(uint32_t bits, int i) {
  const uint16_t half = static_cast<uint16_t>(i == 0 ? bits : bits >> 16);
  T value;
  memcpy(static_cast<void*>(&value), &half, sizeof(half));
  return to_float(value);
}

/** The same by shuffles alone. */
template <class T>
__device__ inline void multiply_fragments_by_shuffles(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, group = lane / 4, pair = lane % 4 * 2;
  // Lane 4 g + j has columns 2 j, 2 j + 1 (registers 0, 1) and those + 8 (2, 3) of rows g (0, 2) and g + 8 (1, 3) of a,
  // and rows 2 j, 2 j + 1 (register 0) and those + 8 (1) of column g of b.
  for (int half = 0; half < 2; half++) {
    for (int j = 0; j < 4; j++) {
      const uint32_t rows[2] = {__shfl_sync(kAllLanes, a[2 * half], group * 4 + j),
                                __shfl_sync(kAllLanes, a[2 * half + 1], group * 4 + j)};
      const uint32_t columns[2] = {__shfl_sync(kAllLanes, b[half], pair * 4 + j),
                                   __shfl_sync(kAllLanes, b[half], (pair + 1) * 4 + j)};
      for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 2; k++) {
          c[i] += half_of<T>(rows[i / 2], k) * half_of<T>(columns[i % 2], k);
        }
      }
    }
  }
}

__device__ inline void multiply_fragments(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __half*) {
#ifdef __CUDA_ARCH__
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  multiply_fragments_by_shuffles<__half>(c, a, b);
#endif
}

__device__ inline void multiply_fragments(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                          __nv_bfloat16*) {
#ifdef __CUDA_ARCH__
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  multiply_fragments_by_shuffles<__nv_bfloat16>(c, a, b);
#endif
}

// -- a thread's sums of the tile, and where they belong

/** Four warps, each 32 x 32 of the result. */
template <class T>
struct Sums {
  float c[2][4][4] = {};

  __device__ static uint32_t two(const Tile<T>& tile, int row, int k) {
    uint32_t bits;
    memcpy(&bits, &tile.at[row * kPitch<T> + k], sizeof(bits));
    return bits;
  }

  __device__ void add(const Tile<T>& a, const Tile<T>& b) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, group = lane / 4, pair = lane % 4 * 2;
#pragma unroll
    for (int k = 0; k < kDepth; k += 16) {
      uint32_t rows[2][4], columns[4][2];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int row = first_row() + 16 * i + group;
        rows[i][0] = two(a, row, k + pair);
        rows[i][1] = two(a, row + 8, k + pair);
        rows[i][2] = two(a, row, k + pair + 8);
        rows[i][3] = two(a, row + 8, k + pair + 8);
      }
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const int column = first_column() + 8 * j + group;
        columns[j][0] = two(b, column, k + pair);
        columns[j][1] = two(b, column, k + pair + 8);
      }
#pragma unroll
      for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) multiply_fragments(c[i][j], rows[i], columns[j], static_cast<T*>(nullptr));
      }
    }
  }

  /** Calls use(row, column, sum) for each. */
  template <class Use>
  __device__ void each(Use use) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, group = lane / 4, pair = lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
#pragma unroll
        for (int n = 0; n < 4; n++) {
          use(first_row() + 16 * i + group + n / 2 * 8, first_column() + 8 * j + pair + n % 2, c[i][j][n]);
        }
      }
    }
  }

 private:
  __device__ static int first_row() { return static_cast<int>(threadIdx.x) / kWarp / 2 * 32; }
  __device__ static int first_column() { return static_cast<int>(threadIdx.x) / kWarp % 2 * 32; }
};

/** 8 x 4 of the result each. */
template <>
struct Sums<float> {
  float c[8][4] = {};

  __device__ void add(const Tile<float>& a, const Tile<float>& b) {
    const int row = static_cast<int>(threadIdx.x) / 16, column = static_cast<int>(threadIdx.x) % 16;
#pragma unroll 4
    for (int k = 0; k < kDepth; k++) {
#pragma unroll
      for (int i = 0; i < 8; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
          c[i][j] += a.at[(row + 8 * i) * kPitch<float> + k] * b.at[(column + 16 * j) * kPitch<float> + k];
        }
      }
    }
  }

  template <class Use>
  __device__ void each(Use use) const {
    const int row = static_cast<int>(threadIdx.x) / 16, column = static_cast<int>(threadIdx.x) % 16;
#pragma unroll
    for (int i = 0; i < 8; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) use(row + 8 * i, column + 16 * j, c[i][j]);
    }
  }
};

template <class T, bool kTransposedA, bool kTransposedB>
__global__ void __launch_bounds__(kThreads) product_kernel(Product p, const Outcome* outcome) {
  __shared__ Tile<T> a, b;
  if (refused(outcome)) return;
  const int64_t across = (p.columns + kTile - 1) / kTile;
  const int64_t row = blockIdx.x / across * kTile, column = blockIdx.x % across * kTile;
  Sums<T> sums;
  for (int64_t from = 0; from < p.depth; from += kDepth) {
    load_tile<!kTransposedA>(p.a, row, p.rows, from, p.depth, a);
    load_tile<kTransposedB>(p.b, column, p.columns, from, p.depth, b);
    __syncthreads();
    sums.add(a, b);
    __syncthreads();
  }
  sums.each([&](int i, int j, float sum) {
    if (row + i >= p.rows || column + j >= p.columns) return;
    float* const out = p.out + (row + i) * p.stride + column + j;
    float value = p.alpha * sum;
    if (p.bias) value += p.bias[column + j];
    *out = p.add ? *out + value : value;
  });
}

}  // namespace

void multiply_ourselves(Run& run, const Product& p) {
  with_type(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const int64_t blocks = blocks_for(p.rows, kTile) * blocks_for(p.columns, kTile);
    const auto kernel = p.a.transposed   ? product_kernel<T, true, false>
                        : p.b.transposed ? product_kernel<T, false, true>
                                         : product_kernel<T, false, false>;
    run.launch("product_kernel", kernel, blocks, kThreads, p, run.outcome());
  });
}

void multiply(Run& run, const Product& product) {
  if (!run.ok() || product.rows == 0 || product.columns == 0) return;
  if (!multiply_by_cublaslt(run, product)) multiply_ourselves(run, product);
}

}  // namespace cuda
}  // namespace sweet
