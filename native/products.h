// What the matrix products of linear heads on a device are computed by.
#pragma once

#include <string>

#include "status.h"

namespace sweet {
namespace device {

/**
 * cuBLASLt with its version and its file or, where there is none, that kernels of ours do and where it was looked for.
 * Where SWEET_RL_CUBLASLT names a file that cannot be used, why not; then nothing computes products (Code::products).
 * The answer stays the same as long as the process lives.
 */
const std::string& products();

}  // namespace device
}  // namespace sweet
