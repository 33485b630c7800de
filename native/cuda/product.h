// Matrix products in float32: by cuBLASLt where it is found, else by the kernels of product.cu.
#pragma once

#include "../dtype.h"
#include "launch.h"

namespace sweet {
namespace cuda {

/** Row-major, rows `stride` elements apart. */
struct Matrix {
  const void* data;
  int64_t stride;
  bool transposed;  // before it is multiplied
};

/** out = alpha * op(a) * op(b) + bias or, with `add`, + out;  op(a) [rows, depth], op(b) [depth, columns]. */
struct Product {
  DType dtype;  // of a and b
  int64_t rows, columns, depth;
  Matrix a, b;
  float alpha;
  bool add;
  float* out;  // [rows, columns], rows `stride` elements apart
  int64_t stride;
  const float* bias;  // [columns] or null
};

/** Fails where SWEET_RL_CUBLASLT names a file that cannot be used; before anything is written. */
void require_products(LaunchContext& context);

void multiply(LaunchContext& context, const Product& product);

/** Without cuBLASLt. */
void multiply_by_kernels(LaunchContext& context, const Product& product);

}  // namespace cuda
}  // namespace sweet
