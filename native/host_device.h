// Marks what the CPU's and the GPU's code both compile.
#pragma once

#ifdef __CUDACC__
#define SWEET_HOST_DEVICE __host__ __device__
#else
#define SWEET_HOST_DEVICE
#endif
