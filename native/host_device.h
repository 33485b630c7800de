// Marks functions that are compiled for CPU and GPU.
#pragma once

#ifdef __CUDACC__
#define SWEET_HOST_DEVICE __host__ __device__
#else
#define SWEET_HOST_DEVICE
#endif
