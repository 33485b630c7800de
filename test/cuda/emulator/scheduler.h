// The interface between the emulator's parts: the scheduler runs grids, the runtime owns memory and streams, and the
// access check is told of both.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <string>

namespace emulator {

/** Runs a whole grid; false after a thread violated a rule of CUDA, with the reason in report(). */
bool run_grid(dim3 grid, dim3 threads, const std::function<void()>& thread);

/** Uniform in [0, n), from the seed. */
size_t random_below(size_t n);

constexpr int kOutside = -1;

/** The index of the running thread in its block, or kOutside a kernel. */
int current_thread();

/** Ends the launch at the thread's next barrier; report() has the first violation. */
void record_violation(const std::string& what);
void clear_report();

constexpr unsigned kMaxThreads = 1024;

/** Receives the events of the scheduler and the runtime: the access check, where access_check.cpp is linked. */
struct Listener {
  virtual ~Listener() = default;
  virtual void allocated(void* memory, size_t bytes) = 0;
  virtual void freed(void* memory) = 0;
  virtual void written(void* memory, size_t bytes) = 0;  // by a copy or a memset
  virtual void launch_started() = 0;
  virtual void block_started() = 0;
  virtual void block_synced() = 0;                         // by __syncthreads
  virtual void warp_synced(int warp, unsigned lanes) = 0;  // by __syncwarp
  virtual void atomic(void* address, size_t bytes, const void* code) = 0;
};
extern Listener* listener;

}  // namespace emulator
