// Between the emulator's parts: the scheduler runs grids, the runtime owns memory and streams, the access check
// listens.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <string>

namespace emulator {

/** Runs a whole grid; false once a thread broke a rule, with the reason in report(). */
bool run_grid(dim3 grid, dim3 threads, const std::function<void()>& thread);

/** Uniform in [0, n), from the seed. */
size_t random_below(size_t n);

constexpr int kOutside = -1;

/** The index in its block of the thread that runs, or kOutside a kernel. */
int current_thread();

/** The launch ends at the thread's next barrier; the first reason stays. */
void broke_a_rule(const std::string& what);

constexpr unsigned kMostThreads = 1024;

/** What the scheduler and the runtime tell the access check, where one is linked in (access_check.cpp). */
struct Listener {
  virtual ~Listener() = default;
  virtual void allocated(void* memory, size_t bytes) = 0;
  virtual void freed(void* memory) = 0;
  virtual void written(void* memory, size_t bytes) = 0;  // by a copy or a memset
  virtual void launch_began() = 0;
  virtual void block_began() = 0;
  virtual void block_met() = 0;                         // all of its threads, in a barrier
  virtual void warp_met(int warp, unsigned lanes) = 0;  // in __syncwarp
  virtual void atomic(void* address, size_t bytes, const void* code) = 0;
};
extern Listener* listener;

}  // namespace emulator
