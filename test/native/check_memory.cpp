// Each allocation of each operation fails once. Wraps malloc and posix_memalign (native/scratch.h) by the linker.
#include <cerrno>
#include <cstdlib>

#include "../../native/backend.h"
#include "native_checks.h"
#include "operations.h"

using namespace sweet;

namespace {

/** Allocations until one fails; never with 0. */
thread_local int64_t allocations_left = 0;

bool allocation_fails() { return allocations_left > 0 && --allocations_left == 0; }

}  // namespace

extern "C" {
void* __real_malloc(size_t bytes);
int __real_posix_memalign(void** block, size_t alignment, size_t bytes);
void* __wrap_malloc(size_t bytes) { return allocation_fails() ? nullptr : __real_malloc(bytes); }
int __wrap_posix_memalign(void** block, size_t alignment, size_t bytes) {
  return allocation_fails() ? ENOMEM : __real_posix_memalign(block, alignment, bytes);
}
}

void check_memory(Checks& checks, bool small) {
  set_threads(2);
  for (const Inputs& in : hard_inputs(checks.random(), small)) {
    for (const Operation& operation : operations()) {
      const std::string name = std::string(operation.name) + " of " + in.name();
      Outputs expected(in);
      checks.ok(operation.run(in, expected), name);
      int64_t failing = 0, refused = 0;
      for (bool failed = true; failed;) {
        Outputs out(in);
        allocations_left = ++failing;
        const Status status = operation.run(in, out);
        failed = allocations_left == 0;
        allocations_left = 0;
        // An update that fails in one pass succeeds in two, with other roundings.
        if (status.ok() && failed) continue;
        refused += failed;
        checks.expect(failed ? status.code == Code::memory : status.ok(), name + ": another status");
        checks.expect(out == (failed ? Outputs(in) : expected), name + ": a refused call writes");
      }
      checks.expect(refused > 0, name + ": allocates nothing");
    }
  }
}
