#include "launch.h"

#include <atomic>

#include "../device_memory.h"

namespace sweet {
namespace cuda {
namespace {

std::atomic<int64_t> peak_scratch{0};

void update_peak(int64_t bytes) {
  int64_t known = peak_scratch.load();
  while (bytes > known && !peak_scratch.compare_exchange_weak(known, bytes)) {
  }
}

/** One element of device memory. */
template <class T>
T element(const T* array, int64_t i) {
  T value{};
  cudaMemcpy(&value, array + i, sizeof(T), cudaMemcpyDeviceToHost);
  return value;
}

Status label_fault(const Labels& labels, int64_t i) {
  const int64_t label = labels.wide ? element(static_cast<const int64_t*>(labels.data), i)
                                    : element(static_cast<const int32_t*>(labels.data), i);
  return {Code::label, i, label};
}

Status pair_fault_at(const CheckedInputs& checked, int64_t p) {
  const Pairs& pairs = checked.pairs;
  const int32_t chosen = element(pairs.chosen, p), rejected = element(pairs.rejected, p);
  const Code code = pair_fault(chosen, rejected, pairs.weights ? element(pairs.weights, p) : 1.0f, checked.items);
  return {code, p, code == Code::rejected ? rejected : chosen};
}

}  // namespace

LaunchContext::LaunchContext() {
  status_ = stream_of_thread(&stream_);
  if (status_.ok()) status_ = wait_for_fence(stream_->handle);
  result_ = scratch<DeviceResult>(1);
  // All bits set: no fault, and scalars that are NaN until a kernel writes them.
  if (status_.ok()) {
    record_error(cudaMemsetAsync(result_, 0xff, sizeof(DeviceResult), stream_->handle), "cudaMemsetAsync");
  }
}

LaunchContext::~LaunchContext() { free_from(0); }

void LaunchContext::free_from(int first) {
  while (scratch_count_ > first) {
    const Buffer& buffer = scratch_[--scratch_count_];
    scratch_bytes_ -= buffer.bytes;
    free_scratch(*stream_, buffer.memory);
  }
}

void* LaunchContext::scratch_bytes(int64_t bytes) {
  if (!status_.ok() || bytes == 0) return nullptr;
  void* memory = nullptr;
  status_ = allocate_scratch(*stream_, bytes, &memory);
  if (!status_.ok()) return nullptr;
  scratch_[scratch_count_++] = {memory, bytes};
  scratch_bytes_ += bytes;
  update_peak(scratch_bytes_);
  return memory;
}

void LaunchContext::set_bytes(void* memory, int value, int64_t bytes) {
  if (!status_.ok() || bytes == 0) return;
  record_error(cudaMemsetAsync(memory, value, static_cast<size_t>(bytes), stream_->handle), "cudaMemsetAsync");
}

void LaunchContext::copy(void* to, const void* from, int64_t bytes) {
  if (!status_.ok() || bytes == 0) return;
  record_error(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_->handle),
               "cudaMemcpyAsync");
}

void LaunchContext::fail(const Status& status) {
  if (status_.ok()) status_ = status;
}

void LaunchContext::record_error(cudaError_t error, const char* operation) {
  if (status_.ok()) status_ = status_of(error, operation);
}

DeviceResult LaunchContext::wait() {
  if (!status_.ok()) return {};
  record_error(cudaMemcpyAsync(stream_->page, result_, sizeof(DeviceResult), cudaMemcpyDeviceToHost, stream_->handle),
               "cudaMemcpyAsync");
  if (status_.ok()) status_ = wait_for(*stream_);
  if (!status_.ok()) return {};
  const DeviceResult result = *static_cast<const DeviceResult*>(stream_->page);
  const unsigned long long fault = result.layout_fault != kNoFault ? result.layout_fault : result.empty_fault;
  if (fault != kNoFault) status_ = status_of_fault(fault);
  return result;
}

Status LaunchContext::finish(double* scalars, int count) {
  const DeviceResult result = wait();
  for (int i = 0; scalars && status_.ok() && i < count; i++) scalars[i] = result.scalars[i];
  return status_;
}

Status LaunchContext::status_of_fault(unsigned long long fault) const {
  const int64_t index = static_cast<int64_t>(fault & ((1ull << 40) - 1));
  switch (static_cast<Rule>(fault >> 40)) {
    case Rule::label:
      return label_fault(checked.labels, index);
    case Rule::turn_offsets:
      return {Code::turn_offsets, index, element(checked.turn_offsets, index)};
    case Rule::trajectory_offsets:
      return {Code::trajectory_offsets, index, element(checked.trajectory_offsets, index)};
    case Rule::pair:
      return pair_fault_at(checked, index);
    case Rule::zero_weights:
      return {Code::zero_weights, 0, 0};
    case Rule::unit_weight:
      return {Code::unit_weight, index, weight_bits(element(checked.unit_weights, index))};
    case Rule::token_weight:
      return {Code::token_weight, index, weight_bits(element(checked.token_weights, index))};
    case Rule::top_k: {
      // Of a row: an index out of range, an index twice, the sum of the probabilities; see check_top_k_kernel.
      const int64_t k = checked.teacher_k, row = index / (2 * k + 1), rule = index % (2 * k + 1);
      if (rule == 2 * k) return {Code::teacher_logps, row, 0};
      const int64_t at = row * k + rule % k;
      const Code code = rule < k ? Code::teacher_index : Code::teacher_twice;
      return {code, at, element(checked.teacher_indices, at)};
    }
    case Rule::empty_turn:
      return {Code::empty_turn, index, 0};
    case Rule::empty_trajectory:
      break;
  }
  return {Code::empty_trajectory, index, 0};
}

}  // namespace cuda

int64_t device::take_peak_scratch() { return cuda::peak_scratch.exchange(0); }

}  // namespace sweet
