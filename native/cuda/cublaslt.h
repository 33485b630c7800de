// cuBLASLt, loaded when it is first needed and not linked: PyTorch and the CUDA toolkit bring it.
#pragma once

#include "product.h"

namespace sweet {
namespace cuda {

/** False, with nothing launched, where cuBLASLt is unavailable or has no algorithm for this product. */
bool multiply_by_cublaslt(LaunchContext& context, const Product& product);

/** Destroys this thread's handles and plans. */
void close_cublaslt();

}  // namespace cuda
}  // namespace sweet
