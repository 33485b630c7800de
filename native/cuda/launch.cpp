#include <atomic>

#include "../device_memory.h"
#include "run.h"

namespace sweet {
namespace cuda {
namespace {

std::atomic<int64_t> peak{0};

void note_peak(int64_t bytes) {
  int64_t known = peak.load();
  while (bytes > known && !peak.compare_exchange_weak(known, bytes)) {
  }
}

}  // namespace

Run::Run() {
  status_ = stream_of_thread(&stream_);
  if (status_.ok()) status_ = wait_at_gate(stream_->handle);
  outcome_ = scratch<Outcome>(1);
  // All bits set: no fault, and scalars that are NaN until a kernel writes them.
  if (status_.ok()) note(cudaMemsetAsync(outcome_, 0xff, sizeof(Outcome), stream_->handle), "cudaMemsetAsync");
}

Run::~Run() { free_from(0); }

void Run::free_from(int first) {
  while (scratch_count_ > first) {
    const Room& room = scratch_[--scratch_count_];
    scratch_bytes_ -= room.bytes;
    cudaFreeAsync(room.memory, stream_->handle);
  }
}

void* Run::scratch_bytes(int64_t bytes) {
  if (!status_.ok() || bytes == 0) return nullptr;
  void* memory = nullptr;
  note(cudaMallocAsync(&memory, static_cast<size_t>(bytes), stream_->handle), "cudaMallocAsync");
  if (!status_.ok()) return nullptr;
  scratch_[scratch_count_++] = {memory, bytes};
  scratch_bytes_ += bytes;
  note_peak(scratch_bytes_);
  return memory;
}

void Run::set_zero(void* memory, int64_t bytes) {
  if (!status_.ok() || bytes == 0) return;
  note(cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), stream_->handle), "cudaMemsetAsync");
}

void Run::copy(void* to, const void* from, int64_t bytes) {
  if (!status_.ok() || bytes == 0) return;
  note(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_->handle), "cudaMemcpyAsync");
}

void Run::fail(const Status& status) {
  if (status_.ok()) status_ = status;
}

void Run::note(cudaError_t error, const char* operation) {
  if (status_.ok()) status_ = status_of(error, operation);
}

Outcome Run::settle() {
  if (!status_.ok()) return {};
  note(cudaMemcpyAsync(stream_->page, outcome_, sizeof(Outcome), cudaMemcpyDeviceToHost, stream_->handle),
       "cudaMemcpyAsync");
  if (status_.ok()) note(cudaStreamSynchronize(stream_->handle), "cudaStreamSynchronize");
  if (!status_.ok()) return {};
  const Outcome outcome = *static_cast<const Outcome*>(stream_->page);
  const unsigned long long fault = outcome.fault != kNoFault ? outcome.fault : outcome.empty_fault;
  if (fault != kNoFault) status_ = report(fault);
  return outcome;
}

Status Run::finish(double* scalars) {
  const Outcome outcome = settle();
  for (int i = 0; scalars && status_.ok() && i < 4; i++) scalars[i] = outcome.scalars[i];
  return status_;
}

namespace {

/** One element of device memory. */
template <class T>
T element(const T* array, int64_t i) {
  T value{};
  cudaMemcpy(&value, array + i, sizeof(T), cudaMemcpyDeviceToHost);
  return value;
}

Status report_label(const Labels& labels, int64_t i) {
  const int64_t label = labels.wide ? element(static_cast<const int64_t*>(labels.data), i)
                                    : element(static_cast<const int32_t*>(labels.data), i);
  return {Code::label, i, label};
}

Status report_pair(const Sources& sources, int64_t p) {
  const Pairs& pairs = sources.pairs;
  const int32_t chosen = element(pairs.chosen, p), rejected = element(pairs.rejected, p);
  const Code code = pair_fault(chosen, rejected, pairs.weights ? element(pairs.weights, p) : 1.0f, sources.units);
  return {code, p, code == Code::rejected ? rejected : chosen};
}

}  // namespace

Status Run::report(unsigned long long fault) {
  const int64_t index = static_cast<int64_t>(fault & ((1ull << 40) - 1));
  switch (static_cast<Rule>(fault >> 40)) {
    case Rule::label:
      return report_label(sources.labels, index);
    case Rule::turn_offsets:
      return {Code::turn_offsets, index, element(sources.turn_offsets, index)};
    case Rule::trajectory_offsets:
      return {Code::trajectory_offsets, index, element(sources.trajectory_offsets, index)};
    case Rule::pair:
      return report_pair(sources, index);
    case Rule::zero_weights:
      return {Code::zero_weights, 0, 0};
    case Rule::empty_turn:
      return {Code::empty_turn, index, 0};
    case Rule::empty_trajectory:
      break;
  }
  return {Code::empty_trajectory, index, 0};
}

}  // namespace cuda

int64_t device::take_peak_scratch() { return cuda::peak.exchange(0); }

}  // namespace sweet
