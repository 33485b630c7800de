// cuBLASLt, loaded when it is first needed and never linked with: who has PyTorch or the CUDA toolkit has it already.
#pragma once

#include "product.h"

namespace sweet {
namespace cuda {

/** False, with nothing launched, where cuBLASLt is not to be had or has no algorithm for this product. */
bool multiply_by_cublaslt(Run& run, const Product& product);

/** Ends what this thread keeps of it. */
void close_cublaslt();

}  // namespace cuda
}  // namespace sweet
