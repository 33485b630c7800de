// Working memory of one call: 64-byte aligned, freed at the end of the scope or, where the call can be cancelled, after
// the call. ok() is false where the allocation failed; nothing is thrown.
#pragma once

#include <cstdint>
#include <cstdlib>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "cancel.h"

namespace sweet {

template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count) : base_(fits(count) ? allocate(static_cast<size_t>(count) * sizeof(T)) : nullptr) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(base_);
    data_ = reinterpret_cast<T*>((address + 63) & ~uintptr_t{63});
  }
  ~Scratch() { cancel_flag ? defer_free(base_) : free(base_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  bool ok() const { return base_ != nullptr; }
  T* get() { return data_; }
  const T* get() const { return data_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }

 private:
  static constexpr size_t kHugePage = size_t{2} << 20, kHugeBlock = 4 * kHugePage;

  /** Where addresses have 32 bits, as in WebAssembly, a count that native/ may ask for is more than all memory. */
  static bool fits(int64_t count) { return static_cast<uint64_t>(count) <= (SIZE_MAX - 128) / sizeof(T); }

  static void* allocate(size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
    void* exact = nullptr;  // without a margin, in which the sanitizer would miss an overflow
    if (bytes < sizeof(void*)) bytes = sizeof(void*);  // for defer_free()
    return posix_memalign(&exact, 64, bytes) == 0 ? exact : nullptr;
#else
#ifdef __linux__
    // malloc takes blocks above 32 MiB from the system at every call, page by page. In huge pages linearLogpsBackward
    // of 512 x 1024 x 16384 with frozenWeight takes 0.43 of the CPU time in float32, 0.29 in bfloat16 (Zen 5). Other
    // bounds than 8 MiB not measured.
    if (bytes >= kHugeBlock) {
      void* block = nullptr;
      if (posix_memalign(&block, kHugePage, bytes + 64) != 0) return nullptr;
      madvise(block, bytes + 64, MADV_HUGEPAGE);  // where it is refused, the pages are small
      return block;
    }
#endif
    return malloc(bytes + 64);
#endif
  }

  void* base_;
  T* data_;
};

}  // namespace sweet
