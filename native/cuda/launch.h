// One operation on the device, from its first launch to its status. All its work goes to one stream in order. The host
// waits once, in finish(), or earlier in wait(), where it needs a number. After a failed call nothing more is launched;
// after a fault of the input every kernel returns at once, so that nothing is written.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../layout.h"
#include "stream.h"

namespace sweet {
namespace cuda {

/** What the kernels of an operation leave for the host. */
struct DeviceResult {
  double scalars[6];  // of a loss, as many as it has
  // The least encode_fault() that was recorded: of labels, offsets and pairs, and, where these are valid, of turns and
  // items without an unmasked token.
  unsigned long long layout_fault, empty_fault;
  int64_t compacted_rows;  // of compact_rows()
  double labels_checksum;  // of the labels of a vocabulary shard, ../vocab_parallel.h
  unsigned max_grad;       // bits of the largest |gradient| of a log-prob, where one was computed
};

constexpr unsigned long long kNoFault = ~0ull;

// The rules in the order in which they are reported; all rules of one pair are one.
enum class Rule : unsigned {
  label,
  turn_offsets,
  trajectory_offsets,
  pair,
  zero_weights,
  unit_weight,
  token_weight,
  top_k,
  empty_turn,
  empty_trajectory
};

SWEET_HOST_DEVICE inline unsigned long long encode_fault(Rule rule, int64_t index) {
  return static_cast<unsigned long long>(rule) << 40 | static_cast<unsigned long long>(index);
}

/** The arrays that were checked, in device memory: a fault names an element of them. */
struct CheckedInputs {
  Labels labels;
  const float *token_weights, *unit_weights;
  const int32_t *turn_offsets, *trajectory_offsets;
  Pairs pairs;
  int64_t items;
  const int32_t* teacher_indices;
  int64_t teacher_k;
};

class LaunchContext {
 public:
  LaunchContext();
  ~LaunchContext();
  LaunchContext(const LaunchContext&) = delete;
  LaunchContext& operator=(const LaunchContext&) = delete;

  /** Memory until the operation ends; null after a failure and for 0 elements. */
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
    record_error(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
  }

  /** Scratch memory allocated during its life is freed at its end, in the stream's order. */
  class ScratchScope {
   public:
    explicit ScratchScope(LaunchContext& context) : context_(context), first_(context.scratch_count_) {}
    ~ScratchScope() { context_.free_from(first_); }
    ScratchScope(const ScratchScope&) = delete;
    ScratchScope& operator=(const ScratchScope&) = delete;

   private:
    LaunchContext& context_;
    const int first_;
  };

  void set_zero(void* memory, int64_t bytes) { set_bytes(memory, 0, bytes); }
  /** Each of the bytes. */
  void set_bytes(void* memory, int value, int64_t bytes);
  /** Between host and device; a copy to the host is complete after wait(). */
  void copy(void* to, const void* from, int64_t bytes);

  bool ok() const { return status_.ok(); }
  cudaStream_t stream() const { return stream_->handle; }
  /** Nothing more is launched, and finish() returns this status. */
  void fail(const Status& status);

  /** In device memory. Kernels read it to see whether the input has a fault. */
  DeviceResult* result() const { return result_; }

  /** Waits for the kernels launched so far; undefined unless ok() afterwards. */
  DeviceResult wait();

  /** Waits and returns the status; scalars (may be null) gets the first `count` of the result. */
  Status finish(double* scalars, int count = 4);

  CheckedInputs checked{};

 private:
  void* scratch_bytes(int64_t bytes);
  void record_error(cudaError_t error, const char* operation);
  Status status_of_fault(unsigned long long fault) const;
  void free_from(int first);

  struct Buffer {
    void* memory;
    int64_t bytes;
  };
  static constexpr int kMaxBuffers = 64;  // an update of a linear head with a bias has 22 at once
  Stream* stream_ = nullptr;
  Status status_;
  DeviceResult* result_ = nullptr;
  Buffer scratch_[kMaxBuffers];
  int64_t scratch_bytes_ = 0;
  int scratch_count_ = 0;
};

inline int64_t blocks_for(int64_t items, int64_t per_block) { return (items + per_block - 1) / per_block; }

}  // namespace cuda
}  // namespace sweet
