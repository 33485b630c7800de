// Controls of the emulator, and its reports, for tests.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace emulator {

/** Determines the order of blocks, threads and streams from here on. */
void set_seed(uint64_t seed);

/** Why the last launch failed; empty if none did. */
const std::string& report();

/** Clears the report and the error that every call returns after a failed launch. */
void reset();

/** The n-th call of the runtime from now on (1: the next) fails with this error. */
void fail_call(int n, cudaError_t error);

/** How many devices the machine has (0: no driver); 2 by default. */
void set_devices(int count);

/** The compute capability of a device (80: 8.0, as at first), and whether it supports memory pools. */
void set_device(int device, int capability, bool pools);

struct PoolReport {
  int device;
  bool is_default;
  uint64_t threshold, used, reserved;
};
std::vector<PoolReport> pool_reports();

/** Allocations of device and pinned memory, streams and events that were not freed. */
size_t live_objects();

}  // namespace emulator
