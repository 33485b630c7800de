// The ordered table of instruction sets and the choice among them. A new one is a line in kTable and a simd_<name>.h.
#include "../backend.h"

#include <atomic>
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

Registers cpuid(uint32_t leaf) {
  Registers r{};
#ifdef _MSC_VER
  int out[4];
  __cpuidex(out, static_cast<int>(leaf), 0);
  r = {uint32_t(out[0]), uint32_t(out[1]), uint32_t(out[2]), uint32_t(out[3])};
#else
  __get_cpuid_count(leaf, 0, &r.a, &r.b, &r.c, &r.d);
#endif
  return r;
}

/** Which registers the operating system saves: without that, a processor's vectors are of no use. */
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

bool all(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

bool has_avx2() {
  const uint32_t fma = 1u << 12, f16c = 1u << 29, avx = 1u << 28, avx2 = 1u << 5;
  return (saved_state() & 6) == 6 && all(cpuid(1).c, fma | f16c | avx) && all(cpuid(7).b, avx2);
}

bool has_avx512() {
  const uint32_t f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
  return has_avx2() && (saved_state() & 0xe6) == 0xe6 && all(cpuid(7).b, f | dq | bw | vl);
}

const char* why_not_avx2() {
  return has_avx2() ? nullptr : "this processor or operating system has no AVX2 with FMA and F16C";
}
const char* why_not_avx512() {
  return has_avx512() ? nullptr : "this processor or operating system has no AVX-512 F, BW, DQ and VL";
}
const char* why_not_neon() { return "needs a 64-bit Arm processor"; }

#else

const char* why_not_avx2() { return "needs an x86-64 processor"; }
const char* why_not_avx512() { return "needs an x86-64 processor"; }
const char* why_not_neon() { return "this version has no NEON kernels; portable serves"; }

#endif

const char* why_not_portable() { return nullptr; }
const char* why_not_cuda() { return "this version has no CUDA kernels"; }

const Kernels* none() { return nullptr; }

struct Entry {
  const char* name;
  const char* (*missing)();
  const Kernels* (*kernels)();
};

constexpr Entry kTable[kBackends] = {
#ifdef SWEET_X64
    {"avx512", why_not_avx512, kernels_avx512},
    {"avx2", why_not_avx2, kernels_avx2},
#else
    {"avx512", why_not_avx512, none}, {"avx2", why_not_avx2, none},
#endif
    {"neon", why_not_neon, none},
    {"portable", why_not_portable, kernels_portable},
    {"cuda", why_not_cuda, none},
};

const Kernels* best() {
  for (const Entry& entry : kTable) {
    if (!entry.missing()) return entry.kernels();
  }
  return kernels_portable();
}

std::atomic<const Kernels*>& active() {
  static std::atomic<const Kernels*> kernels{best()};
  return kernels;
}

}  // namespace

const Kernels& active_kernels() { return *active().load(std::memory_order_relaxed); }

Backend backend(int i) {
  const Entry& entry = kTable[i];
  return {entry.name, entry.missing(), strcmp(entry.name, active_kernels().name) == 0};
}

bool use_backend(const char* name) {
  for (const Entry& entry : kTable) {
    if (strcmp(entry.name, name) != 0 || entry.missing()) continue;
    active().store(entry.kernels(), std::memory_order_relaxed);
    return true;
  }
  return false;
}

}  // namespace sweet
