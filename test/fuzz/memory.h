// The arrays of a case, and a call on them. The memory behind each is poisoned, so that AddressSanitizer sees the first
// byte out of bounds; each starts at any element of a vector, with guard bytes before it.
#pragma once

#include <sanitizer/asan_interface.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory_resource>
#include <string>
#include <vector>

#include "../native/compare.h"
#include "reader.h"

namespace fuzz {

/** What a finding is about; each part of a case adds a line. */
inline std::string about;

[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "\nFOUND: ");
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, "\nin %s%d threads", about.c_str(), sweet::threads());
  fprintf(stderr, " of %s\n", active_backend());
  abort();
}

extern "C" const char* __asan_default_options() {
  // New memory is not 0. Stacks of allocations are printed when a finding is reproduced: see run.js.
  return "max_malloc_fill_size=16384:quarantine_size_mb=2:malloc_context_size=0";
}

/** Of the oracle's arrays, freed with each case: allocation under AddressSanitizer takes longer than the sums. */
inline std::pmr::monotonic_buffer_resource& oracle_memory() {
  alignas(64) static char bytes[1 << 26];
  static std::pmr::monotonic_buffer_resource memory(bytes, sizeof(bytes), std::pmr::null_memory_resource());
  static const bool once = (std::pmr::set_default_resource(&memory), true);
  (void)once;
  return memory;
}

/** Stops at the first result that is wrong. */
struct FirstFailure : Comparison {
  void close(const char* name, int64_t i, double ours, double expected, double bound, double largest) override {
    if (oracle::is_close(ours, expected, bound, largest)) return;
    fail("%s[%d] %.17g, expected %.17g +- %g, off %g", name, int(i), ours, expected, bound, std::fabs(ours - expected));
  }
  void expect(bool fulfilled, const char* name, int64_t i) override {
    if (!fulfilled) fail("%s at %d", name, int(i));
  }
};

class Memory {
 public:
  explicit Memory(Reader& reader) : reader_(reader) {
    about.clear();
    oracle_memory().release();
    static const bool once = [] { return __asan_poison_memory_region(arena_, sizeof(arena_)), true; }();
    (void)once;
  }
  ~Memory() { __asan_poison_memory_region(arena_, used_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* take(int64_t count, int64_t bytes) {
    const size_t front = static_cast<size_t>(reader_.random() % 16 * static_cast<uint64_t>(bytes));
    const size_t size = front + static_cast<size_t>(count * bytes), at = used_;
    used_ = (at + size + kBetween + 15) / 16 * 16;
    if (used_ > sizeof(arena_)) fail("a case of %zu bytes", used_);
    __asan_unpoison_memory_region(arena_ + at, size);
    for (size_t i = 0; i < size; i++) arena_[at + i] = 0xa5;
    blocks_.push_back({at, front, size, false});
    return arena_ + at + front;
  }

  template <class T>
  T* take(int64_t count) {
    return static_cast<T*>(take(count, sizeof(T)));
  }

  float* numbers(Pattern pattern, double scale, int64_t n) {
    float* const array = take<float>(n);
    fill(Numbers(reader_, pattern, scale, n), array, n);
    return array;
  }

  /** What the next call must not read. */
  void hide(const void* data, int64_t bytes) { hidden_.push_back({data, static_cast<size_t>(bytes)}); }
  void show_all() { hidden_.clear(); }

  /** The contents before the call. */
  const void* before(const void* data) const { return before_ + (static_cast<const uint8_t*>(data) - arena_); }

  /**
   * Runs call() with one number of threads and, if `twice`, another: bits must be the same, and nothing but `results`
   * (those that are not null) is written, nothing at all where the call is refused.
   */
  template <class Call>
  sweet::Status run(std::initializer_list<const void*> results, bool twice, Call call) {
    for (Block& block : blocks_) {
      block.result = false;
      for (const void* result : results) block.result |= arena_ + block.at + block.front == result;
    }
    copy(before_, arena_);
    const int counts[] = {1, 2, 3, 1, 2, 4, 1, 7};  // scratch memory grows with them
    const int threads = reader_.any_of(counts);
    const sweet::Status status = run_with(threads, call);
    if (!twice) return status;
    copy(after_, arena_);
    copy(arena_, before_);
    const sweet::Status again = run_with(threads == 1 ? 8 : threads - 1, call);
    if (again.code != status.code || again.index != status.index) fail("another status with other threads");
    for (const Block& block : blocks_) {
      if (!same(after_, block.at, block.bytes)) fail("other bits with other threads");
    }
    return status;
  }

 private:
  struct Block {
    size_t at, front, bytes;
    bool result;
  };
  struct Range {
    const void* data;
    size_t bytes;
  };

  // AddressSanitizer would check memcpy and memcmp, but the memory between the arrays is poisoned.
  __attribute__((no_builtin)) void copy(uint8_t* to, const uint8_t* from) const {
    for (size_t i = 0; i < used_; i += 8)
      *reinterpret_cast<uint64_t*>(to + i) = *reinterpret_cast<const uint64_t*>(from + i);
  }
  __attribute__((no_builtin)) static bool same(const uint8_t* other, size_t at, size_t bytes) {
    unsigned different = 0;
    for (size_t i = at; i < at + bytes; i++) different |= static_cast<unsigned>(arena_[i] ^ other[i]);
    return different == 0;
  }

  template <class Call>
  sweet::Status run_with(int threads, Call call) {
    sweet::set_threads(threads);
    for (const Range& range : hidden_) __asan_poison_memory_region(range.data, range.bytes);
    const sweet::Status status = call();
    for (const Range& range : hidden_) __asan_unpoison_memory_region(range.data, range.bytes);
    for (const Block& block : blocks_) {
      if (same(before_, block.at, block.result && status.ok() ? block.front : block.bytes)) continue;
      fail(status.ok() ? "an input or a guard was written" : "a refused call writes");
    }
    return status;
  }

  static constexpr size_t kBetween = 32;
  alignas(64) static inline uint8_t arena_[1 << 23], before_[1 << 23], after_[1 << 23];

  Reader& reader_;
  oracle::Array<Block> blocks_{&oracle_memory()};
  oracle::Array<Range> hidden_{&oracle_memory()};
  size_t used_ = 0;
};

/** Chooses one of the instruction sets of this machine. */
inline void pick_backend(Reader& reader) {
  static const std::vector<const char*> names = [] {
    std::vector<const char*> found;
    for (int i = 0; i < sweet::kBackends; i++) {
      if (!sweet::backend(i).unavailable) found.push_back(sweet::backend(i).name);
    }
    return found;
  }();
  sweet::use_backend(names[static_cast<size_t>(reader.pick(0, static_cast<int64_t>(names.size()) - 1))]);
}

inline void expect_status(const sweet::Status& ours, const sweet::Status& expected) {
  if (ours.code == expected.code && ours.index == expected.index && ours.value == expected.value) return;
  fail("status %d at %lld (%lld), expected %d at %lld (%lld)", static_cast<int>(ours.code),
       static_cast<long long>(ours.index), static_cast<long long>(ours.value), static_cast<int>(expected.code),
       static_cast<long long>(expected.index), static_cast<long long>(expected.value));
}

}  // namespace fuzz
