// One operation on the device, from its first launch to its status. Everything goes to one stream in order; the host
// waits once, in finish(). After a failed call nothing more is launched; after a broken rule of the input every kernel
// leaves at once, so that nothing is written.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../layout.h"
#include "stream.h"

namespace sweet {
namespace cuda {

/** What comes back from the device in the end. */
struct Outcome {
  double scalars[4];
  // The least of the faults found, as fault_of() counts them: of what stands in the arrays, and of turns and
  // trajectories without a token, which can be looked for only where the arrays are sound.
  unsigned long long fault, empty_fault;
};

constexpr unsigned long long kNoFault = ~0ull;

// The rules in the order in which they are reported; all rules of one pair are one.
enum class Rule : unsigned {
  label,
  turn_offsets,
  trajectory_offsets,
  pair,
  zero_weights,
  empty_turn,
  empty_trajectory
};

SWEET_HOST_DEVICE inline unsigned long long fault_of(Rule rule, int64_t index) {
  return static_cast<unsigned long long>(rule) << 40 | static_cast<unsigned long long>(index);
}

/** Where the values stand that a fault names; device memory. */
struct Sources {
  Labels labels;
  const int32_t *turn_offsets, *trajectory_offsets;
  Pairs pairs;
  int64_t units;
};

class Run {
 public:
  Run();
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  /** Memory until the run ends; null after a failure and for no element at all. */
  template <class T>
  T* scratch(int64_t count) {
    return static_cast<T*>(scratch_bytes(count * static_cast<int64_t>(sizeof(T))));
  }

  template <class... Parameters, class... Arguments>
  void launch(const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads, Arguments&&... arguments) {
    if (!status_.ok() || blocks == 0) return;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.stream = stream_->handle;
    note(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
  }

  /** In device memory. Kernels ask it whether the input was refused. */
  Outcome* outcome() const { return outcome_; }

  /** Waits. scalars (may be null) gets what the kernels left in the outcome. */
  Status finish(double* scalars);

  /** What the checks have read, for the report of a fault. */
  Sources sources{};

 private:
  void* scratch_bytes(int64_t bytes);
  void note(cudaError_t error, const char* operation);
  Status report(unsigned long long fault);

  static constexpr int kMostScratch = 32;
  Stream* stream_ = nullptr;
  Status status_;
  Outcome* outcome_ = nullptr;
  void* scratch_[kMostScratch];
  int scratch_count_ = 0;
};

inline int64_t blocks_for(int64_t items, int64_t per_block) { return (items + per_block - 1) / per_block; }

}  // namespace cuda
}  // namespace sweet
