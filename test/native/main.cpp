// Checks every operation of native/ against float64, without Node, on the library that it is linked with:
//
//   sweet_check [--seed=1] [--small] [parts of checks' names]       the CPU's; test/sanitize/run.js adds sanitizers
//   sweet_cuda_check [--seed=1] [--small] [parts of checks' names]  a GPU's, or the emulator's of test/cuda/emulator
//   sweet_cuda_check --time [--quick]                               times as JSON, see bench/cuda
//
// Exit status 1 if a check fails.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#ifdef SWEET_CHECKS_ON_CPU
#include "../../native/backend.h"
#include "native_checks.h"
#else
#include "../../bench/cuda/timing.h"
#include "../../native/device_memory.h"
#include "checks.h"
#endif
#ifdef SWEET_EMULATOR
#include "../cuda/emulator/control.h"
#endif

namespace {

struct Options {
  uint64_t seed = 1;
  bool small = false, time = false, quick = false;
  std::vector<std::string> filters;
};

/** Runs a check unless the filters name others. */
using Run = std::function<void(const std::string& name, const std::function<void(Checks&)>& check)>;

struct Operation {
  const char* name;
  void (*check)(Checks& checks, bool small);
};

constexpr Operation kOperations[] = {
    {"turns", check_turns},       {"logits", check_logits},
    {"updates", check_updates},   {"losses", check_losses},
    {"linear", check_linear},     {"divergences", check_divergences},
    {"unpaired", check_unpaired}, {"policy-gradient", check_policy_gradient},
};
constexpr int kCount = sizeof(kOperations) / sizeof(kOperations[0]);

#ifdef SWEET_CHECKS_ON_CPU

/** The checks of the operations from several callers: each runs all, beginning with another; a small run, its share. */
void check_operations(Checks& checks, bool small) {
  sweet::set_threads(3);
  const int callers = small ? 2 : 4;
  concurrently(checks, callers, [&](Checks& own, int caller) {
    for (int i = 0; i < kCount; i++) {
      if (!small || i % callers == caller) kOperations[(small ? i : i + caller) % kCount].check(own, small);
    }
  });
}

void run_all(const Options& options, const Run& run) {
  const bool small = options.small;
  run("cancelled", [&](Checks& checks) { check_cancelled(checks, small); });
  run("memory", [&](Checks& checks) { check_memory(checks, small); });
  run("pool", [&](Checks& checks) { check_pool(checks, small); });
  for (int i = 0; i < sweet::kBackends; i++) {
    const sweet::Backend each = sweet::backend(i);
    if (each.unavailable) continue;
    sweet::use_backend(each.name);
    const std::string name = each.name;
    run(name + " against float64", [&](Checks& checks) { check_operations(checks, small); });
    run(name + " kernels", [&](Checks& checks) {
      check_kernels(checks, small);
      check_divergence_kernels(checks);
    });
    run(name + " concurrent", [&](Checks& checks) { check_concurrent(checks, small); });
    run(name + " overwritten", [&](Checks& checks) { check_overwritten(checks, small); });
  }
}

#else

void run_all(const Options& options, const Run& run) {
#ifdef SWEET_EMULATOR
  emulator::set_seed(options.seed);
#endif
  for (const Operation& each : kOperations) {
    run(std::string(each.name) + " against float64", [&](Checks& checks) { each.check(checks, options.small); });
  }
  run("device", [&](Checks& checks) { check_device(checks, options.small); });
  run("references", check_cuda_references);
  sweet::device::end_thread();
#ifdef SWEET_EMULATOR
  run("emulator", [](Checks& checks) {
    checks.expect(emulator::report().empty(), emulator::report());
    checks.expect(emulator::live_objects() == 0, std::to_string(emulator::live_objects()) + " objects are not freed");
  });
#endif
}

#endif

int run_checks(const Options& options) {
  int64_t comparisons = 0, failures = 0;
  const auto print = [](const std::string& name, int64_t compared, int64_t failed) {
    printf("%s: %lld comparisons, %lld failures\n", name.c_str(), static_cast<long long>(compared),
           static_cast<long long>(failed));
    fflush(stdout);
  };
  std::string names;
  bool any = false;
  run_all(options, [&](const std::string& name, const std::function<void(Checks&)>& check) {
    names += "  " + name + "\n";
    const auto names_it = [&](const std::string& filter) { return name.find(filter) != std::string::npos; };
    if (!options.filters.empty() && std::none_of(options.filters.begin(), options.filters.end(), names_it)) return;
    any = true;
    Checks checks(options.seed);
    check(checks);
    print(name, checks.comparisons, checks.failures);
    comparisons += checks.comparisons, failures += checks.failures;
  });
  if (!any) {
    fprintf(stderr, "no check has such a name; there are\n%s", names.c_str());
    return 2;
  }
  print("seed " + std::to_string(options.seed), comparisons, failures);
  return failures > 0 || comparisons == 0;
}

}  // namespace

int main(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; i++) {
    const std::string argument = arguments[i];
    if (argument.rfind("--seed=", 0) == 0) {
      options.seed = strtoull(argument.c_str() + 7, nullptr, 10);
    } else if (argument == "--small") {
      options.small = true;
    } else if (argument == "--time") {
      options.time = true;
    } else if (argument == "--quick") {
      options.quick = true;
    } else if (argument.rfind("--", 0) == 0) {
      fprintf(stderr, "unknown argument %s\n", arguments[i]);
      return 2;
    } else {
      options.filters.push_back(argument);
    }
  }
#ifndef SWEET_CHECKS_ON_CPU
  std::string reason;
  const std::vector<std::string> refusals = sweet::device::refusals(&reason);
  if (!refusals.empty()) reason = refusals[0];  // the checks run on device 0
  if (!reason.empty()) {
    fprintf(stderr, "%s\n", reason.c_str());
    return 2;
  }
  if (options.time) return run_timing(options.quick);
#endif
  return run_checks(options);
}
