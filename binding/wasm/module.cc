// The exports of the WebAssembly module. It imports nothing.
#include <cstdlib>

#include "args.h"

// Those of the C++ library write a message, for which the module would import functions.
void* operator new(size_t bytes) {
  void* const block = malloc(bytes);
  if (block == nullptr) __builtin_trap();
  return block;
}
void operator delete(void* block) noexcept { free(block); }
void operator delete(void* block, size_t) noexcept { free(block); }

#define SWEET_EXPORT(name) extern "C" __attribute__((export_name(name)))

namespace sweet {

Status last_status;

namespace {

constexpr int kMaxOperations = 64;

}  // namespace

/** 64-byte aligned; null where the memory cannot grow. */
SWEET_EXPORT("allocate") void* allocate(size_t bytes) {
  if (bytes > SIZE_MAX - 64) return nullptr;
  return aligned_alloc(64, (bytes + 63) & ~size_t{63});
}

SWEET_EXPORT("release") void release(void* block) { free(block); }

/** Runs the operation of this index in the order of lib/addon/operations.ts. */
SWEET_EXPORT("call") double call(int operation, double* arguments) {
  static Operation operations[kMaxOperations];
  if (!operations[0]) register_operations({operations});
  return operations[operation]({arguments});
}

/** Of the last operation: its code, index and value. */
SWEET_EXPORT("status") const double* status() {
  static double numbers[3];
  numbers[0] = static_cast<double>(static_cast<int32_t>(last_status.code));
  numbers[1] = static_cast<double>(last_status.index);
  numbers[2] = static_cast<double>(last_status.value);
  return numbers;
}

}  // namespace sweet
