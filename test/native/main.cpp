// Every operation of native/ without Node, from several threads at once; built with sanitizers by test/sanitize/run.js:
//
//   sweet_check [--seed=1] [--small] [parts of checks' names]      exit status 1 if anything is wrong
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "../../native/backend.h"
#include "native_checks.h"

namespace {

/** What bench/cuda compares with float64 on devices, and the linear head, by several callers. */
void check_against_float64(Checks& checks, bool small) {
  sweet::set_threads(3);
  at_once(checks, small ? 2 : 4, [&](Checks& own, int caller) {
    if (caller % 2 == 0) check_linear(own);
    if (caller % 2 == 0 && small) return;
    check_turns(own);
    check_preference(own);
    check_updates(own);
    check_rows(own, small);
    if (caller == 1 && !small) check_linear(own);
  });
}

int run(uint64_t seed, bool small, const std::vector<std::string>& filters) {
  int64_t failures = 0, checked = 0;
  const auto check = [&](const std::string& name, auto use) {
    const auto asks_for = [&](const std::string& filter) { return name.find(filter) != std::string::npos; };
    if (!filters.empty() && std::none_of(filters.begin(), filters.end(), asks_for)) return;
    Checks checks(seed);
    use(checks);
    printf("%s: %lld comparisons, %lld failures\n", name.c_str(), static_cast<long long>(checks.comparisons),
           static_cast<long long>(checks.failures));
    fflush(stdout);
    checked++;
    failures += checks.failures;
  };
  check("cancelled", [&](Checks& checks) { check_cancelled(checks, small); });
  check("pool", [&](Checks& checks) { check_pool(checks, small); });
  for (int i = 0; i < sweet::kBackends; i++) {
    const sweet::Backend each = sweet::backend(i);
    if (each.unavailable) continue;
    sweet::use_backend(each.name);
    const std::string name = each.name;
    check(name + " against float64", [&](Checks& checks) { check_against_float64(checks, small); });
    check(name + " together", [&](Checks& checks) { check_together(checks, small); });
    check(name + " scribbled", [&](Checks& checks) { check_scribbled(checks, small); });
  }
  return failures > 0 || checked == 0;
}

}  // namespace

int main(int count, char** arguments) {
  uint64_t seed = 1;
  bool small = false;
  std::vector<std::string> filters;
  for (int i = 1; i < count; i++) {
    const std::string argument = arguments[i];
    if (argument.rfind("--seed=", 0) == 0) {
      seed = strtoull(argument.c_str() + 7, nullptr, 10);
    } else if (argument == "--small") {
      small = true;
    } else if (argument.rfind("--", 0) == 0) {
      fprintf(stderr, "unknown argument %s\n", arguments[i]);
      return 2;
    } else {
      filters.push_back(argument);
    }
  }
  return run(seed, small, filters);
}
