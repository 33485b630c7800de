// Working memory of one call: 64-byte aligned, freed on leaving the scope, or soon after where the call was cancelled,
// and never an exception: ask ok().
#pragma once

#include <cstdint>
#include <cstdlib>

#include "cancel.h"

namespace sweet {

template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count) : base_(malloc(static_cast<size_t>(count) * sizeof(T) + 64)) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(base_);
    data_ = reinterpret_cast<T*>((address + 63) & ~uintptr_t{63});
  }
  ~Scratch() { cancelled() ? leave_behind(base_) : free(base_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  bool ok() const { return base_ != nullptr; }
  T* get() { return data_; }
  const T* get() const { return data_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }

 private:
  void* base_;
  T* data_;
};

}  // namespace sweet
