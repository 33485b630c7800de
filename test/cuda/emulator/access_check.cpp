// Finds accesses of two threads that no barrier orders, and reads of uninitialised memory.
//
// Kernels are compiled with -fsanitize=thread, so that the compiler reports every load and store, but linked without
// its runtime: the functions at the end of this file receive the reports. Two accesses of a byte race if one of them
// writes, they are not both atomic, and no barrier orders their threads: __syncthreads within a block, __syncwarp
// within a warp. Shuffles order nothing, and nothing orders two blocks. Two of the reads since the last write are
// recorded.
#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cuda_emulator.h"
#include "scheduler.h"

namespace emulator {
namespace {

constexpr int kLanes = 32;

/** A thread's access and its time: the barriers of the block and the clock of the thread. */
struct Access {
  int thread = kOutside;
  int block = 0, barriers = 0, clock = 0;
  bool atomic = false;
  const void* code = nullptr;
};

struct Byte {
  int launch = 0, block = 0;
  bool written = false;
  Access write, reads[2];
};

int launch = 0, block = 0, barriers = 0;
std::vector<int> clocks;  // [thread][lane]: the clock of each lane of its warp, as of their last __syncwarp
std::map<uintptr_t, std::vector<Byte>> device;
std::unordered_map<uintptr_t, Byte> shared;

int& clock_of(int thread, int lane) { return clocks[static_cast<size_t>(thread * kLanes + lane)]; }

bool before(const Access& earlier, int thread) {
  if (earlier.thread == kOutside) return true;
  if (earlier.block != block) return false;
  if (earlier.thread == thread || earlier.barriers < barriers) return true;
  return earlier.thread / kLanes == thread / kLanes && clock_of(thread, earlier.thread % kLanes) >= earlier.clock;
}

/** file:line of an instruction. */
std::string place_of(const void* code) {
  Dl_info info;
  if (!dladdr(code, &info)) return "?";
  char command[600], line[400] = "?";
  const auto at = static_cast<size_t>(static_cast<const char*>(code) - 1 - static_cast<const char*>(info.dli_fbase));
  snprintf(command, sizeof(command), "addr2line -e '%s' 0x%zx", info.dli_fname, at);
  if (FILE* const pipe = popen(command, "r")) {
    if (!fgets(line, sizeof(line), pipe)) line[0] = 0;
    pclose(pipe);
  }
  std::string text(line);
  text = text.substr(0, text.find_first_of(" \n"));
  return text.substr(text.rfind('/') + 1);
}

void report_access(const std::string& what, bool writes, const void* code) {
  record_violation(what + ": thread " + std::to_string(current_thread()) + (writes ? " writes at " : " reads at ") +
                   place_of(code));
}

void report_race(bool writes, const void* code, const Access& earlier, bool wrote) {
  report_access("race with thread " + std::to_string(earlier.thread) +
                    (earlier.block == block ? "" : " of another block") +
                    (wrote ? ", which wrote at " : ", which read at ") + place_of(earlier.code),
                writes, code);
}

void check(Byte& byte, bool writes, bool atomic, const void* code) {
  const int thread = current_thread();
  const auto races = [&](const Access& earlier) { return !before(earlier, thread) && !(atomic && earlier.atomic); };
  if (byte.launch != launch) {  // launches of a stream follow each other
    byte.launch = launch;
    byte.write = byte.reads[0] = byte.reads[1] = Access{};
  }
  if (!byte.written && (!writes || atomic)) report_access("uninitialised memory", false, code);
  if (races(byte.write)) report_race(writes, code, byte.write, true);
  const Access access{thread, block, barriers, clock_of(thread, thread % kLanes), atomic, code};
  if (!writes) {
    if (byte.reads[0].thread != thread || byte.reads[0].block != block) byte.reads[1] = byte.reads[0];
    byte.reads[0] = access;
    return;
  }
  for (const Access& read : byte.reads) {
    if (races(read)) report_race(true, code, read, false);
  }
  byte.written = true;
  byte.write = access;
  byte.reads[0] = byte.reads[1] = Access{};
}

// The zero-initialised variables of the program and of each loaded library: those of kernels are __shared__.
std::vector<std::pair<uintptr_t, uintptr_t>> variables;

int add_variables(dl_phdr_info* info, size_t, void*) {
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) == 0 || segment.p_memsz == segment.p_filesz) continue;
    const uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
    variables.emplace_back(begin + segment.p_filesz, begin + segment.p_memsz);
  }
  return 0;
}

bool is_shared(uintptr_t address) {
  const auto builtin = reinterpret_cast<uintptr_t>(&emulated_thread);
  if (address - builtin < sizeof(EmulatedThread)) return false;
  return std::any_of(variables.begin(), variables.end(),
                     [&](const auto& each) { return address >= each.first && address < each.second; });
}

void access(const void* memory, size_t bytes, bool writes, bool atomic, const void* code) {
  if (current_thread() == kOutside) return;
  const auto address = reinterpret_cast<uintptr_t>(memory);
  if (is_shared(address)) {
    for (size_t i = 0; i < bytes; i++) {
      Byte& byte = shared[address + i];
      if (byte.block != block) {  // shared memory lives as long as its block
        byte = Byte{};
        byte.block = block;
      }
      check(byte, writes, atomic, code);
    }
    return;
  }
  auto at = device.upper_bound(address);
  if (at == device.begin()) return;
  --at;
  for (size_t i = address - at->first; i < address - at->first + bytes && i < at->second.size(); i++) {
    check(at->second[i], writes, atomic, code);
  }
}

class AccessCheck : public Listener {
 public:
  AccessCheck() { listener = this; }

  void allocated(void* memory, size_t bytes) override { device[reinterpret_cast<uintptr_t>(memory)].resize(bytes); }
  void freed(void* memory) override { device.erase(reinterpret_cast<uintptr_t>(memory)); }

  void written(void* memory, size_t bytes) override {
    const auto address = reinterpret_cast<uintptr_t>(memory);
    auto at = device.upper_bound(address);
    if (at == device.begin()) return;
    --at;
    for (size_t i = address - at->first; i < address - at->first + bytes && i < at->second.size(); i++) {
      at->second[i].written = true;
    }
  }

  void launch_started() override {
    launch++;
    variables.clear();
    dl_iterate_phdr(add_variables, nullptr);
  }

  void block_started() override {
    block++;
    barriers = 0;
    clocks.assign(kMaxThreads * kLanes, 0);
    for (int thread = 0; thread < static_cast<int>(kMaxThreads); thread++) clock_of(thread, thread % kLanes) = 1;
  }

  void block_synced() override { barriers++; }

  void warp_synced(int warp, unsigned lanes) override {
    const auto in = [&](int lane) { return (lanes >> lane & 1) != 0; };
    int known[kLanes] = {};
    for (int i = 0; i < kLanes; i++) {
      for (int lane = 0; in(i) && lane < kLanes; lane++)
        known[lane] = std::max(known[lane], clock_of(warp * kLanes + i, lane));
    }
    for (int i = 0; i < kLanes; i++) {
      if (!in(i)) continue;
      for (int lane = 0; lane < kLanes; lane++) clock_of(warp * kLanes + i, lane) = known[lane];
      clock_of(warp * kLanes + i, i)++;
    }
  }

  void atomic(void* address, size_t bytes, const void* code) override { access(address, bytes, true, true, code); }
};

AccessCheck check_instance;

}  // namespace
}  // namespace emulator

extern "C" {
#define ACCESS(name, bytes, writes) \
  void name(void* memory) { emulator::access(memory, bytes, writes, false, __builtin_return_address(0)); }
#define ACCESSES(bytes)                              \
  ACCESS(__tsan_read##bytes, bytes, false)           \
  ACCESS(__tsan_write##bytes, bytes, true)           \
  ACCESS(__tsan_unaligned_read##bytes, bytes, false) \
  ACCESS(__tsan_unaligned_write##bytes, bytes, true) \
  ACCESS(__tsan_volatile_read##bytes, bytes, false)  \
  ACCESS(__tsan_volatile_write##bytes, bytes, true)
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)
void __tsan_read_range(void* memory, size_t bytes) {
  emulator::access(memory, bytes, false, false, __builtin_return_address(0));
}
void __tsan_write_range(void* memory, size_t bytes) {
  emulator::access(memory, bytes, true, false, __builtin_return_address(0));
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}

// Atomics of the host's code; kernels have none of them.
char __tsan_atomic8_load(const volatile char* at, int) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
int64_t __tsan_atomic64_load(const volatile int64_t* at, int) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
int64_t __tsan_atomic64_exchange(volatile int64_t* at, int64_t value, int) {
  return __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST);
}
int __tsan_atomic64_compare_exchange_weak(volatile int64_t* at, int64_t* expected, int64_t value, int, int) {
  return __atomic_compare_exchange_n(at, expected, value, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
}
