// What the emulator must do, and faults that it must find. Each case runs in a process of its own, which some of them
// end:
//
//   emulator_test               the names; those of faults start with "fault: "
//   emulator_test NAME SEED     runs one; 0: the result is right and nothing was reported
#include <cuda_runtime.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "control.h"
#include "emulator_test_kernels.h"

namespace {

// -- running the kernels

using Kernel = void (*)(const float*, float*);

template <class T>
class Device {
 public:
  explicit Device(size_t count) : count_(count) { cudaMalloc(reinterpret_cast<void**>(&data), count * sizeof(T)); }
  ~Device() { cudaFree(data); }
  std::vector<T> values() const {
    std::vector<T> values(count_);
    cudaMemcpy(values.data(), data, count_ * sizeof(T), cudaMemcpyDeviceToHost);
    return values;
  }
  T* data = nullptr;

 private:
  size_t count_;
};

std::vector<float> numbers(size_t n) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; i++) x[i] = static_cast<float>(i % 7 + 1);
  return x;
}

float total(const std::vector<float>& x) {
  float sum = 0;
  for (const float value : x) sum += value;
  return sum;
}

template <class Function, class... Arguments>
cudaError_t launch(dim3 grid, dim3 threads, cudaStream_t stream, Function kernel, Arguments... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = threads;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

/** The results of a kernel over `n` numbers; results start at 0. */
std::vector<float> results_of(Kernel kernel, dim3 grid, dim3 threads, size_t n, size_t results) {
  const std::vector<float> host = numbers(n);
  const Device<float> x(n), out(results);
  cudaMemcpy(x.data, host.data(), n * sizeof(float), cudaMemcpyHostToDevice);
  cudaMemset(out.data, 0, results * sizeof(float));
  launch(grid, threads, nullptr, kernel, static_cast<const float*>(x.data), out.data);
  return out.values();
}

bool sums_right(Kernel kernel, unsigned threads) {
  return results_of(kernel, 1, threads, threads, 1)[0] == total(numbers(threads));
}

bool two_sums_right(Kernel kernel) {
  for (const float result : results_of(kernel, 1, 256, 256, 256)) {
    if (result != 3 * total(numbers(256))) return false;
  }
  return true;
}

bool neighbours_right(Kernel kernel) {
  const std::vector<float> x = numbers(32), results = results_of(kernel, 1, 32, 32, 32);
  for (size_t i = 0; i < 32; i++) {
    if (results[i] != x[(i + 1) % 32]) return false;
  }
  return true;
}

bool copies_right(Kernel kernel, unsigned threads) {
  return results_of(kernel, 1, threads, threads, threads) == numbers(threads);
}

bool written_right(Kernel kernel) {
  const std::vector<float> results = results_of(kernel, 1, 64, 64, 64);
  return results[0] == numbers(64)[63];
}

bool vectors_right(Kernel kernel, size_t offset) {
  return results_of(kernel, 1, 32, 132, 32)[1] == numbers(132)[4 + offset];
}

bool overruns() {
  const Device<float> x(100), out(100);
  cudaMemset(x.data, 0, 400);
  launch(1, 32, nullptr, overrun_kernel, static_cast<const float*>(x.data), out.data, 100);
  return out.values()[0] == 0;
}

bool orders_streams_by_events() {
  cudaStream_t first, second;
  cudaEvent_t written;
  cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking);
  cudaEventCreate(&written);
  const Device<float> x(64), out(64);
  std::vector<float> host = numbers(64), results(64);
  cudaMemcpyAsync(x.data, host.data(), 256, cudaMemcpyHostToDevice, first);
  cudaEventRecord(written, first);
  cudaStreamWaitEvent(second, written, 0);
  launch(1, 64, second, written_kernel<true>, static_cast<const float*>(x.data), out.data);
  cudaMemcpyAsync(results.data(), out.data, 256, cudaMemcpyDeviceToHost, second);
  cudaStreamSynchronize(second);
  cudaEventDestroy(written);
  cudaStreamDestroy(first);
  cudaStreamDestroy(second);
  return results[0] == host[63];
}

/** A wait for an event waits for its last record, not for later ones, of any stream. */
bool keeps_records_apart() {
  cudaStream_t first, second, third;
  cudaEvent_t event;
  for (cudaStream_t* const stream : {&first, &second, &third}) cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  const Device<float> x(128);
  const std::vector<float> host = numbers(128);
  std::vector<float> results(128);
  cudaMemcpyAsync(x.data, host.data(), 256, cudaMemcpyHostToDevice, first);
  cudaEventRecord(event, first);
  cudaStreamWaitEvent(third, event, 0);
  cudaMemcpyAsync(x.data + 64, host.data() + 64, 256, cudaMemcpyHostToDevice, second);
  cudaEventRecord(event, second);
  cudaStreamWaitEvent(third, event, 0);
  cudaEventDestroy(event);
  cudaMemcpyAsync(results.data(), x.data, 512, cudaMemcpyDeviceToHost, third);
  cudaStreamSynchronize(third);
  for (const cudaStream_t stream : {first, second, third}) cudaStreamDestroy(stream);
  return results == host;
}

/** A child process doubles numbers in the parent's memory. */
bool shares_memory() {
  const Device<float> x(64);
  const std::vector<float> host = numbers(64);
  cudaMemcpy(x.data, host.data(), 256, cudaMemcpyHostToDevice);
  cudaIpcMemHandle_t handle;
  void* opened = nullptr;
  if (cudaIpcGetMemHandle(&handle, x.data) != cudaSuccess) return false;
  const unsigned flags = cudaIpcMemLazyEnablePeerAccess;
  if (cudaIpcOpenMemHandle(&opened, handle, flags) != cudaErrorDeviceUninitialized) return false;
  cudaGetLastError();
  const pid_t child = fork();
  if (child == 0) {
    std::vector<float> twice(64);
    void* again = nullptr;
    bool right = cudaIpcOpenMemHandle(&opened, handle, flags) == cudaSuccess &&
                 cudaIpcOpenMemHandle(&again, handle, flags) == cudaSuccess && again == opened && opened != x.data &&
                 cudaFree(opened) == cudaErrorInvalidValue && cudaIpcCloseMemHandle(again) == cudaSuccess;
    right = right && cudaMemcpy(twice.data(), opened, 256, cudaMemcpyDeviceToHost) == cudaSuccess && twice == host;
    for (float& number : twice) number *= 2;
    right = right && cudaMemcpy(opened, twice.data(), 256, cudaMemcpyHostToDevice) == cudaSuccess &&
            cudaIpcCloseMemHandle(opened) == cudaSuccess && cudaIpcCloseMemHandle(opened) == cudaErrorInvalidValue;
    _exit(right ? 0 : 1);
  }
  int status = 1;
  waitpid(child, &status, 0);
  const std::vector<float> results = x.values();
  for (size_t i = 0; i < 64; i++) {
    if (results[i] != 2 * host[i]) return false;
  }
  return status == 0;
}

/** A stream reads what another one has not written yet. */
bool reads_across_streams(bool waits) {
  cudaStream_t first, second;
  cudaEvent_t written;
  cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking);
  cudaEventCreate(&written);
  const Device<float> x(64);
  std::vector<float> results(64);
  cudaMemsetAsync(x.data, 0, 256, first);
  cudaEventRecord(written, first);
  if (waits) cudaStreamWaitEvent(second, written, 0);
  cudaMemcpyAsync(results.data(), x.data, 256, cudaMemcpyDeviceToHost, second);
  cudaStreamSynchronize(second);
  cudaEventDestroy(written);
  cudaStreamDestroy(first);
  cudaStreamDestroy(second);
  return results[0] == 0;
}

/** Pinned memory that is read before the copy is waited for. */
bool reads_too_early(bool waits) {
  float* pinned = nullptr;
  cudaMallocHost(reinterpret_cast<void**>(&pinned), 256);
  const Device<float> x(64);
  cudaMemset(x.data, 0, 256);
  cudaMemcpyAsync(pinned, x.data, 256, cudaMemcpyDeviceToHost, nullptr);
  if (waits) cudaStreamSynchronize(nullptr);
  const bool right = pinned[3] == 0;
  cudaFreeHost(pinned);
  return right;
}

bool fails_as_planned() {
  void* memory = nullptr;
  emulator::fail_call(2, cudaErrorMemoryAllocation);
  const bool first = cudaMalloc(&memory, 4) == cudaSuccess;
  cudaFree(memory);
  const bool later = cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess;
  return first && later && launch(1, 2048, nullptr, shape_kernel, nullptr, nullptr) == cudaErrorInvalidConfiguration;
}

bool stays_failed() {
  results_of(divergent_kernel, 1, 64, 64, 64);
  void* memory = nullptr;
  const bool sticky = cudaMalloc(&memory, 4) == cudaErrorLaunchFailure &&
                      cudaGetLastError() == cudaErrorLaunchFailure && cudaGetLastError() == cudaErrorLaunchFailure;
  const bool told = emulator::report().find("emulator_test_kernels.h") != std::string::npos;
  emulator::reset();
  return sticky && told && cudaGetLastError() == cudaSuccess;
}

bool wrong_pointer() {
  std::vector<float> host = numbers(64);
  const Device<float> out(64);
  launch(1, 64, nullptr, written_kernel<true>, static_cast<const float*>(host.data()), out.data);
  return out.values()[0] == host[63];
}

bool freed_memory() {
  const Device<float> out(64);
  float* x = nullptr;
  cudaMalloc(reinterpret_cast<void**>(&x), 256);
  cudaMemset(x, 0, 256);
  cudaFree(x);
  launch(1, 64, nullptr, written_kernel<true>, static_cast<const float*>(x), out.data);
  return out.values()[0] == 0;
}

bool unwritten_memory() {
  const Device<float> x(64), out(64);
  launch(1, 64, nullptr, written_kernel<true>, static_cast<const float*>(x.data), out.data);
  return out.values()[0] == 0;
}

bool host_reads_device() {
  const Device<float> x(4);
  cudaMemset(x.data, 0, 16);
  cudaDeviceSynchronize();
  return *static_cast<volatile float*>(x.data) == 0;
}

struct Case {
  const char* name;
  std::function<bool()> right;
};

const Case kCases[] = {
    {"a sum", [] { return sums_right(sum_kernel<true, 0>, 1024) && sums_right(sum_kernel<true, 0>, 96); }},
    {"two sums", [] { return two_sums_right(two_sums_kernel<true>); }},
    {"neighbours", [] { return neighbours_right(neighbour_kernel<true>); }},
    {"vectors", [] { return vectors_right(vector_kernel<0>, 0); }},
    {"shared memory", [] { return written_right(written_kernel<true>); }},
    {"atomics", [] { return results_of(count_kernel<true>, 9, 33, 1, 1)[0] == 297; }},
    {"intrinsics", [] { return results_of(intrinsics_kernel, 1, 96, 1, 96) == std::vector<float>(96, 1); }},
    {"shapes",
     [] { return results_of(shape_kernel, dim3(3, 2, 2), dim3(4, 3, 5), 1, 720) == std::vector<float>(720, 1); }},
    {"streams and events", orders_streams_by_events},
    {"records of an event", keeps_records_apart},
    {"memory of another process", shares_memory},
    {"a stream that waits for another", [] { return reads_across_streams(true); }},
    {"a copy that is waited for", [] { return reads_too_early(true); }},
    {"planned failures", fails_as_planned},
    {"sticky failures", stays_failed},
    {"fault: a missing barrier", [] { return sums_right(sum_kernel<false, 0>, 256); }},
    {"fault: a missing barrier before shared memory is used again",
     [] { return two_sums_right(two_sums_kernel<false>); }},
    {"fault: a missing barrier within a warp", [] { return neighbours_right(neighbour_kernel<false>); }},
    {"fault: an overrun of shared memory", [] { return sums_right(sum_kernel<true, 1>, 1024); }},
    {"fault: an overrun of device memory", overruns},
    {"fault: a misaligned vector", [] { return vectors_right(vector_kernel<1>, 1); }},
    {"fault: an uninitialised read of shared memory", [] { return written_right(written_kernel<false>); }},
    {"fault: an uninitialised read of device memory", unwritten_memory},
    {"fault: a missing atomic", [] { return results_of(count_kernel<false>, 9, 33, 1, 1)[0] == 297; }},
    {"fault: a barrier in two branches", [] { return copies_right(divergent_kernel, 64); }},
    {"fault: a barrier after some returned", [] { return copies_right(returned_kernel, 64); }},
    {"fault: a shuffle with half a warp", [] { return !copies_right(half_a_warp_kernel, 32); }},
    {"fault: a shuffle from a lane outside", [] { return !copies_right(foreign_lane_kernel, 32); }},
    {"fault: a stream that does not wait for another", [] { return reads_across_streams(false); }},
    {"fault: a copy that is not waited for", [] { return reads_too_early(false); }},
    {"fault: a pointer to the host's memory", wrong_pointer},
    {"fault: memory that was freed", freed_memory},
    {"fault: the host reads device memory", host_reads_device},
};

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    for (const Case& each : kCases) puts(each.name);
    return 0;
  }
  if (count > 2) emulator::set_seed(strtoull(arguments[2], nullptr, 10));
  for (const Case& each : kCases) {
    if (arguments[1] != std::string(each.name)) continue;
    const bool right = each.right();
    if (!emulator::report().empty()) {
      puts(emulator::report().c_str());
      return 3;
    }
    if (emulator::live_objects() > 0) puts("something was not freed");
    if (!right) puts("wrong result");
    return right && emulator::live_objects() == 0 ? 0 : 1;
  }
  fprintf(stderr, "no case %s\n", arguments[1]);
  return 2;
}
