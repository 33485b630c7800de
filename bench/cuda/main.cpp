// Checks every kernel against float64 on random shapes, and times it:
//
//   sweet_cuda_check [--seed=1] [--small]     checks; exit status 1 if anything is wrong
//   sweet_cuda_check --time [--quick]         times, as JSON on standard output, against the device's own copy
//
// The same program runs on a GPU and, linked with test/cuda/emulator instead of the CUDA runtime, without one.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "../../native/device_memory.h"
#include "checks.h"
#include "timing.h"

#ifdef SWEET_EMULATOR
#include "../../test/cuda/emulator/control.h"
#endif

namespace {

int run_checks(uint64_t seed, bool small) {
#ifdef SWEET_EMULATOR
  emulator::set_seed(seed);
#endif
  Checks checks(seed);
  check_turns(checks);
  check_preference(checks);
  check_updates(checks);
  check_rows(checks, small);
  check_products(checks, small);
  check_linear(checks, small);
  sweet::device::end_thread();
#ifdef SWEET_EMULATOR
  if (!emulator::report().empty()) printf("%s\n", emulator::report().c_str()), checks.failures++;
  if (emulator::live_objects() > 0) printf("%zu objects were not freed\n", emulator::live_objects()), checks.failures++;
#endif
  printf("seed %llu: %lld comparisons, %lld failures\n", static_cast<unsigned long long>(seed),
         static_cast<long long>(checks.comparisons), static_cast<long long>(checks.failures));
  return checks.failures > 0;
}

}  // namespace

int main(int count, char** arguments) {
  uint64_t seed = 1;
  bool small = false, time = false, quick = false;
  for (int i = 1; i < count; i++) {
    const std::string argument = arguments[i];
    if (argument.rfind("--seed=", 0) == 0) {
      seed = strtoull(argument.c_str() + 7, nullptr, 10);
    } else if (argument == "--small") {
      small = true;
    } else if (argument == "--time") {
      time = true;
    } else if (argument == "--quick") {
      quick = true;
    } else {
      fprintf(stderr, "unknown argument %s\n", arguments[i]);
      return 2;
    }
  }
  const char* reason = nullptr;
  if (sweet::device::count(&reason) == 0) {
    fprintf(stderr, "%s\n", reason);
    return 2;
  }
  return time ? run_timing(quick) : run_checks(seed, small);
}
