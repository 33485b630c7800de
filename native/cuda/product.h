// Matrix products in float32: by cuBLASLt where it is found, else by kernels of ours.
#pragma once

#include "../dtype.h"
#include "run.h"

namespace sweet {
namespace cuda {

/** Rows as they lie in memory, `stride` numbers apart. */
struct Matrix {
  const void* data;
  int64_t stride;
  bool transposed;  // before it is multiplied
};

/** out = alpha * op(a) * op(b) + bias or, to add, + out;  op(a) [rows, depth], op(b) [depth, columns]. */
struct Product {
  DType dtype;  // of a and b
  int64_t rows, columns, depth;
  Matrix a, b;
  float alpha;
  bool add;
  float* out;  // rows `stride` numbers apart
  int64_t stride;
  const float* bias;  // [columns] or null
};

/** Fails where SWEET_RL_CUBLASLT names what cannot be used; before anything is written. */
void require_products(Run& run);

void multiply(Run& run, const Product& product);

/** By kernels of ours. */
void multiply_ourselves(Run& run, const Product& product);

}  // namespace cuda
}  // namespace sweet
