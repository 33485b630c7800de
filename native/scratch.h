// Working memory of one call: 64-byte aligned, freed at the end of the scope or, where the call can be cancelled, after
// the call. ok() is false where the allocation failed; nothing is thrown.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "cancel.h"

namespace sweet {

template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count) : base_(allocate(static_cast<size_t>(count) * sizeof(T))) {
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
  static void* allocate(size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
    void* exact = nullptr;  // without a margin, in which the sanitizer would miss an overflow
    if (bytes < sizeof(void*)) bytes = sizeof(void*);  // for defer_free()
    return posix_memalign(&exact, 64, bytes) == 0 ? exact : nullptr;
#else
    return malloc(bytes + 64);
#endif
  }

  void* base_;
  T* data_;
};

}  // namespace sweet
