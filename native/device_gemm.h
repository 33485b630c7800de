// What computes the matrix products of linear heads on a device.
#pragma once

#include <string>

#include "status.h"

namespace sweet {
namespace device {

/**
 * cuBLASLt with its version and file, or our own kernels with the places where cuBLASLt was looked for. Where
 * SWEET_RL_CUBLASLT names a file that cannot be used: the reason; linear heads then fail with Code::device_gemm. The
 * answer is fixed for the life of the process.
 */
const std::string& gemm_library();

}  // namespace device
}  // namespace sweet
