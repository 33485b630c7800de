// The ordered table of instruction sets and the choice among them. A new one takes an entry of the table here, and
// an isa/simd_<name>.h.
#include "../backend.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "active.h"

#if defined(__x86_64__) || defined(_M_X64)
#define SWEET_X64 1
#ifdef _MSC_VER
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace sweet {
namespace {

#ifdef SWEET_X64

struct Registers {
  uint32_t a, b, c, d;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r{};
#ifdef _MSC_VER
  int out[4];
  __cpuidex(out, static_cast<int>(leaf), static_cast<int>(subleaf));
  r = {uint32_t(out[0]), uint32_t(out[1]), uint32_t(out[2]), uint32_t(out[3])};
#else
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
#endif
  return r;
}

/** XCR0, the register state that the operating system saves: vectors that it does not save cannot be used. */
uint64_t saved_state() {
  if (!(cpuid(1).c >> 27 & 1)) return 0;
#ifdef _MSC_VER
  return _xgetbv(0);
#else
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
#endif
}

bool all(uint32_t flags, uint32_t bits) { return (flags & bits) == bits; }

bool has_avx2() {
  const uint32_t fma = 1u << 12, f16c = 1u << 29, avx = 1u << 28, avx2 = 1u << 5;
  return (saved_state() & 6) == 6 && all(cpuid(1).c, fma | f16c | avx) && all(cpuid(7).b, avx2);
}

#ifdef SWEET_EMULATED_AVX512
bool has_avx512() { return has_avx2(); }
bool has_avx512_bf16() { return has_avx2(); }
#else
bool has_avx512() {
  const uint32_t f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
  return has_avx2() && (saved_state() & 0xe6) == 0xe6 && all(cpuid(7).b, f | dq | bw | vl);
}
bool has_avx512_bf16() { return has_avx512() && cpuid(7).a >= 1 && cpuid(7, 1).a >> 5 & 1; }
#endif

#endif

struct Entry {
  const char* name;
  const char* unavailable;  // why it cannot be used here
  const Kernels* kernels;
};

#ifdef SWEET_X64
double best_seconds(float (*exercise)(int rounds)) {
  using Clock = std::chrono::steady_clock;
  double best = 1;
  for (int i = 0; i < 8; i++) {
    const auto start = Clock::now();
    volatile const float result = exercise(500);
    (void)result;
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

/**
 * An FMA of bfloat16 pairs does twice the work of a float32 FMA. Some CPUs take as long for it (Zen 4), some twice as
 * long, some four times (Emerald Rapids): the last are faster with bfloat16 widened. No measured ratio is near 3.
 */
bool pairs_are_faster() { return best_seconds(exercise_bf16_pairs_avx512) < 3 * best_seconds(exercise_float32_avx512); }

const Kernels* kernels_avx512bf16() {
  static Kernels kernels = *kernels_avx512();
  kernels.name = "avx512bf16";
  kernels.bf16_pairs = bf16_pair_kernels_avx512();
  return &kernels;
}

/** `kernels` is called where the instructions are there, and `missing` says why they are not. */
Entry entry(const char* name, bool there, const char* missing, const Kernels* (*kernels)()) {
  return {name, there ? nullptr : missing, there ? kernels() : nullptr};
}
#endif

/** Best first; initialized once. Every 64-bit Arm CPU has NEON. */
const Entry* table() {
  static const Entry entries[kBackends] = {
#ifdef SWEET_X64
    entry("avx512bf16", has_avx512_bf16(), "this CPU or operating system has no AVX512-BF16", kernels_avx512bf16),
    entry("avx512", has_avx512(), "this CPU or operating system has no AVX-512 F, BW, DQ and VL", kernels_avx512),
    entry("avx2", has_avx2(), "this CPU or operating system has no AVX2 with FMA and F16C", kernels_avx2),
#else
    {"avx512bf16", "needs an x86-64 CPU", nullptr},
    {"avx512", "needs an x86-64 CPU", nullptr},
    {"avx2", "needs an x86-64 CPU", nullptr},
#endif
#if defined(__aarch64__) || defined(_M_ARM64)
    {"neon", nullptr, kernels_neon()},
#else
    {"neon", "needs a 64-bit Arm CPU", nullptr},
#endif
    {"portable", nullptr, kernels_portable()}
  };
  return entries;
}

const Kernels* best() {
  const Entry* entry = table();
#ifdef SWEET_X64
  if (!entry->unavailable && !pairs_are_faster()) entry++;
#endif
  while (entry->unavailable) entry++;
  return entry->kernels;
}

std::atomic<const Kernels*>& active() {
  static std::atomic<const Kernels*> kernels{best()};
  return kernels;
}

}  // namespace

const Kernels& active_kernels() { return *active().load(std::memory_order_relaxed); }

Backend backend(int i) {
  const Entry& entry = table()[i];
  return {entry.name, entry.unavailable, entry.kernels == &active_kernels()};
}

bool use_backend(const char* name) {
  for (int i = 0; i < kBackends; i++) {
    const Entry& entry = table()[i];
    if (strcmp(entry.name, name) != 0 || entry.unavailable) continue;
    active().store(entry.kernels, std::memory_order_relaxed);
    return true;
  }
  return false;
}

}  // namespace sweet
