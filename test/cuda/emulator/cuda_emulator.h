// Compiles CUDA kernels as C++:  g++ -x c++ -include cuda_emulator.h kernels.cu
//
// Types and the host's functions come from NVIDIA's headers; this one adds what is built into nvcc. The kernels'
// sources are those that nvcc compiles.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>

#undef __shared__
#define __shared__ static  // one block runs at a time
#undef __launch_bounds__
#define __launch_bounds__(...)
#define cudaLaunchKernelEx emulator::launch

// The built-in variables of the running thread; the scheduler writes them.
struct EmulatedThread {
  uint3 thread_index, block_index;
  dim3 block_size, grid_size;
};
extern EmulatedThread emulated_thread;
static const uint3& threadIdx = emulated_thread.thread_index;
static const uint3& blockIdx = emulated_thread.block_index;
static const dim3& blockDim = emulated_thread.block_size;
static const dim3& gridDim = emulated_thread.grid_size;

namespace emulator {

/** Where in the source a thread waits: default arguments fill it in at the call. */
struct Site {
  const char* what;
  const char* file;
  int line;
};

void barrier(const Site& site);
void warp_barrier(unsigned mask, const Site& site);
unsigned vote(unsigned mask, bool predicate, const Site& site);
uint64_t shuffle(unsigned mask, uint64_t bits, int from_lane, const Site& site);
int lane();
void atomic_access(void* address, size_t size, const void* code);

bool on_device(const void* pointer);
cudaError_t submit(const cudaLaunchConfig_t& config, bool arguments_ok, std::function<void()> thread);

template <class T>
bool reachable(const T& argument) {
  if constexpr (std::is_pointer_v<T>) return argument == nullptr || on_device(argument);
  return true;
}

template <class... Parameters, class... Arguments>
cudaError_t launch(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
  // Arguments are copied at the launch, as the driver does.
  const std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
  const bool ok = std::apply([](const auto&... value) { return (reachable(value) && ...); }, values);
  return submit(*config, ok, [=] { std::apply(kernel, values); });
}

template <class T>
T shuffle_value(unsigned mask, T value, int from_lane, const Site& site) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  bits = shuffle(mask, bits, from_lane, site);
  memcpy(&value, &bits, sizeof(T));
  return value;
}

// No other thread runs between read and write. Not instrumented: the access check gets one atomic access instead.
template <class T, class Update>
__attribute__((noinline, no_sanitize("thread"))) T atomic(T* address, Update update) {
  atomic_access(address, sizeof(T), __builtin_return_address(0));
  const T old = *address;
  *address = update(old);
  return old;
}

}  // namespace emulator

#define EMULATOR_CALLER const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define EMULATOR_SITE(what) (emulator::Site{what, file, line})

inline void __syncthreads(EMULATOR_CALLER) { emulator::barrier(EMULATOR_SITE("__syncthreads")); }
inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATOR_CALLER) {
  emulator::warp_barrier(mask, EMULATOR_SITE("__syncwarp"));
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_CALLER) {
  return emulator::vote(mask, predicate != 0, EMULATOR_SITE("__ballot_sync"));
}
inline int __any_sync(unsigned mask, int predicate, EMULATOR_CALLER) {
  return emulator::vote(mask, predicate != 0, EMULATOR_SITE("__any_sync")) != 0;
}
inline int __all_sync(unsigned mask, int predicate, EMULATOR_CALLER) {
  return emulator::vote(mask, predicate == 0, EMULATOR_SITE("__all_sync")) == 0;
}

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, EMULATOR_CALLER) {
  const int first = emulator::lane() & ~(width - 1);
  return emulator::shuffle_value(mask, value, first + (from & (width - 1)), EMULATOR_SITE("__shfl_sync"));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_bits, int width = 32, EMULATOR_CALLER) {
  const int self = emulator::lane(), from = self ^ lane_bits;
  const bool inside = from < (self & ~(width - 1)) + width;
  return emulator::shuffle_value(mask, value, inside ? from : self, EMULATOR_SITE("__shfl_xor_sync"));
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_CALLER) {
  const int self = emulator::lane(), from = self + static_cast<int>(delta);
  const bool inside = from < (self & ~(width - 1)) + width;
  return emulator::shuffle_value(mask, value, inside ? from : self, EMULATOR_SITE("__shfl_down_sync"));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_CALLER) {
  const int self = emulator::lane(), from = self - static_cast<int>(delta);
  const bool inside = from >= (self & ~(width - 1));
  return emulator::shuffle_value(mask, value, inside ? from : self, EMULATOR_SITE("__shfl_up_sync"));
}

template <class T>
T atomicAdd(T* address, std::common_type_t<T> value) {
  return emulator::atomic(address, [=](T old) -> T { return old + value; });
}
template <class T>
T atomicMin(T* address, std::common_type_t<T> value) {
  return emulator::atomic(address, [=](T old) { return value < old ? value : old; });
}
template <class T>
T atomicMax(T* address, std::common_type_t<T> value) {
  return emulator::atomic(address, [=](T old) { return old < value ? value : old; });
}
template <class T>
T atomicExch(T* address, std::common_type_t<T> value) {
  return emulator::atomic(address, [=](T) { return value; });
}
template <class T>
T atomicCAS(T* address, std::common_type_t<T> expected, std::common_type_t<T> value) {
  return emulator::atomic(address, [=](T old) { return old == expected ? value : old; });
}

template <class T>
std::enable_if_t<std::is_arithmetic_v<T>, T> min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
std::enable_if_t<std::is_arithmetic_v<T>, T> max(T a, T b) {
  return a < b ? b : a;
}
