// One operation on the device, from its first launch to its status. Everything goes to one stream in order; the host
// waits once, in finish(), or before that where it must know a number, in settle(). After a failed call nothing more is
// launched; after a broken rule of the input every kernel leaves at once, so that nothing is written.
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
  int64_t kept;      // of keep_rows()
  unsigned largest;  // the bits of the largest |gradient| of a log-prob, where one was asked for
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

  /** Memory that was taken in between goes back at its end, in the stream's order. */
  class Scope {
   public:
    explicit Scope(Run& run) : run_(run), first_(run.scratch_count_) {}
    ~Scope() { run_.free_from(first_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Run& run_;
    const int first_;
  };

  void set_zero(void* memory, int64_t bytes);
  /** Between host and device; on the host it is there after settle(). */
  void copy(void* to, const void* from, int64_t bytes);

  bool ok() const { return status_.ok(); }
  cudaStream_t stream() const { return stream_->handle; }
  /** Nothing more is launched, and finish() answers this. */
  void fail(const Status& status);

  /** In device memory. Kernels ask it whether the input was refused. */
  Outcome* outcome() const { return outcome_; }

  /** Waits for what the kernels left so far; of no meaning unless ok() afterwards. */
  Outcome settle();

  /** Waits. scalars (may be null) gets what the kernels left in the outcome. */
  Status finish(double* scalars);

  /** What the checks have read, for the report of a fault. */
  Sources sources{};

 private:
  void* scratch_bytes(int64_t bytes);
  void note(cudaError_t error, const char* operation);
  Status report(unsigned long long fault);
  void free_from(int first);

  struct Room {
    void* memory;
    int64_t bytes;
  };
  static constexpr int kMostScratch = 64;
  Stream* stream_ = nullptr;
  Status status_;
  Outcome* outcome_ = nullptr;
  Room scratch_[kMostScratch];
  int64_t scratch_bytes_ = 0;
  int scratch_count_ = 0;
};

inline int64_t blocks_for(int64_t items, int64_t per_block) { return (items + per_block - 1) / per_block; }

}  // namespace cuda
}  // namespace sweet
