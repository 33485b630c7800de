// Matrix products without cuBLASLt, for linear heads where it is not installed:
//
//   out_ij = alpha * sum_k op(a)_ik op(b)_kj + bias_j (+ out_ij),  op(a) [rows, depth], op(b) [depth, columns]
//
// A block computes a tile of kTile x kTile of the result and goes through the depth in steps of kDepth, whose parts of
// a and b lie in shared memory: each element of a and b is loaded columns / kTile or rows / kTile times instead of once
// for each product. 16-bit types are multiplied by the tensor cores (mma.m16n8k16), float32 by FMAs. Each element of
// the result is one float32 sum in the order of the depth, whatever the other sizes. Nothing is split over the depth,
// and no partial sum is stored.
#include <type_traits>

#include "cublaslt.h"
#include "device.h"
#include "product.h"
#include "reference.h"

namespace sweet {

void reference::product(const double* a, const double* b, const double* bias, int64_t rows, int64_t columns,
                        int64_t depth, double alpha, double* out) {
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t j = 0; j < columns; j++) {
      double sum = 0;
      for (int64_t k = 0; k < depth; k++) sum += a[i * depth + k] * b[k * columns + j];
      out[i * columns + j] = alpha * sum + bias[j];
    }
  }
}

namespace cuda {
namespace {

constexpr int kThreads = 128;  // four warps
constexpr int kTile = 64;      // rows and columns of a block's part of the result: 32 x 32 of each warp, see Sums

// Depth of a step, between two barriers. Registers, shared memory and threads an SM, of 16-bit types and of float32:
//   16: 55 and 61 registers,  6 and  8.5 KiB, 1152 and 1024 threads
//   32: 56 and 61 registers, 10 and 16.5 KiB, 1152 and 1024 threads
//   64: 64 and 74 registers, 18 and 32.5 KiB, 1024 and 768 threads
constexpr int kDepth = 32;

// Elements from one row of a tile in shared memory to the next. A warp reads 8 rows at a time: with 8 more 16-bit
// elements than kDepth (20 banks) or one more float (33 banks) their addresses lie in different banks; 16-bit rows stay
// whole vectors.
template <class T>
constexpr int kPitch = sizeof(T) == 2 ? kDepth + 8 : kDepth + 1;

template <class T>
struct alignas(16) Tile {
  T at[kTile * kPitch<T>];
};

/**
 * A step's part of an operand as tile [kTile][kDepth], rows first ... of `count`, columns from ... of `depth`; 0
 * outside. kAlong: the depth runs along the rows in memory. Neighbouring threads read neighbouring elements either way.
 */
template <bool kAlong, class T>
__device__ inline void load_tile(const Matrix& matrix,  // [count, depth], or its transpose unless kAlong
                                 int64_t first, int64_t count, int64_t from, int64_t depth, Tile<T>& tile) {
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

/** A thread's part of the tile of the result, for 16-bit types. Each of four warps has 32 x 32. */
template <class T>
struct Sums {
  float c[2][4][4] = {};  // fragments of 16 x 8

  /** Two neighbours along the depth, as a register of a fragment. */
  __device__ static uint32_t load_pair(const Tile<T>& tile, int row, int k) {
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
        rows[i][0] = load_pair(a, row, k + pair);
        rows[i][1] = load_pair(a, row + 8, k + pair);
        rows[i][2] = load_pair(a, row, k + pair + 8);
        rows[i][3] = load_pair(a, row + 8, k + pair + 8);
      }
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const int column = first_column() + 8 * j + group;
        columns[j][0] = load_pair(b, column, k + pair);
        columns[j][1] = load_pair(b, column, k + pair + 8);
      }
#pragma unroll
      for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) mma_m16n8k16(c[i][j], rows[i], columns[j], static_cast<T*>(nullptr));
      }
    }
  }

  /** Calls use(row, column, sum) for each. */
  template <class Use>
  __device__ void for_each(Use use) const {
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

/** The same for float32: 8 x 4 of the result, 8 rows and 16 columns apart. */
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
  __device__ void for_each(Use use) const {
    const int row = static_cast<int>(threadIdx.x) / 16, column = static_cast<int>(threadIdx.x) % 16;
#pragma unroll
    for (int i = 0; i < 8; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) use(row + 8 * i, column + 16 * j, c[i][j]);
    }
  }
};

template <class T, bool kTransposedA, bool kTransposedB>
__global__ void __launch_bounds__(kThreads) product_kernel(Product p,  // shapes: see product.h
                                                           const DeviceResult* result) {
  __shared__ Tile<T> a, b;
  if (has_fault(result)) return;
  const int64_t tiles_per_row = (p.columns + kTile - 1) / kTile;
  const int64_t row = blockIdx.x / tiles_per_row * kTile, column = blockIdx.x % tiles_per_row * kTile;
  Sums<T> sums;
  for (int64_t from = 0; from < p.depth; from += kDepth) {
    load_tile<!kTransposedA>(p.a, row, p.rows, from, p.depth, a);
    load_tile<kTransposedB>(p.b, column, p.columns, from, p.depth, b);
    __syncthreads();
    sums.add(a, b);
    __syncthreads();
  }
  sums.for_each([&](int i, int j, float sum) {
    if (row + i >= p.rows || column + j >= p.columns) return;
    float* const out = p.out + (row + i) * p.stride + column + j;
    float value = p.alpha * sum;
    if (p.bias) value += p.bias[column + j];
    *out = p.add ? *out + value : value;
  });
}

}  // namespace

void multiply_by_kernels(LaunchContext& context, const Product& p) {
  with_type(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const int64_t blocks = blocks_for(p.rows, kTile) * blocks_for(p.columns, kTile);
    const auto kernel = p.a.transposed   ? product_kernel<T, true, false>
                        : p.b.transposed ? product_kernel<T, false, true>
                                         : product_kernel<T, false, false>;
    context.launch("product_kernel", kernel, blocks, kThreads, p, context.result());
  });
}

void multiply(LaunchContext& context, const Product& product) {
  if (!context.ok() || product.rows == 0 || product.columns == 0) return;
  if (!multiply_by_cublaslt(context, product)) multiply_by_kernels(context, product);
}

}  // namespace cuda
}  // namespace sweet
