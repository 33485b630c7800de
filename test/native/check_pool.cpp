// The thread pool by itself: every item once, no worker index used by two threads at a time, whatever other callers do.
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "../../native/backend.h"
#include "../../native/cpu/parallel.h"
#include "native_checks.h"

using namespace sweet;

namespace {

constexpr int64_t kLarge = int64_t{1} << 30;

/** One job; its items write to memory of the caller, as rows do. */
void run_job(Checks& checks, int workers, int64_t items, int64_t work) {
  std::vector<int64_t> results(static_cast<size_t>(items), -1);
  const auto times = std::make_unique<std::atomic<int>[]>(static_cast<size_t>(items) + 1);
  const auto busy = std::make_unique<std::atomic<bool>[]>(static_cast<size_t>(workers));
  std::atomic<int> faults{0};
  parallel_for(workers, items, work, [&](int64_t i, int worker) {
    if (worker < 0 || worker >= workers || busy[static_cast<size_t>(worker)].exchange(true)) faults++;
    times[static_cast<size_t>(i)]++;
    results[static_cast<size_t>(i)] = i * i;
    busy[static_cast<size_t>(worker)] = false;
  });
  for (int64_t i = 0; i < items; i++) {
    faults += times[static_cast<size_t>(i)] != 1 || results[static_cast<size_t>(i)] != i * i;
  }
  checks.same(faults == 0, std::to_string(workers) + " workers, " + std::to_string(items) + " items");
}

}  // namespace

void check_pool(Checks& checks, bool small) {
  for (const int workers : {1, 2, 3, 8, 31, 64}) {
    for (const int64_t items : {0, 1, 2, 3, 63, 64, 65, 5000}) {
      for (const int64_t work : {int64_t{1}, kLarge}) run_job(checks, workers, items, work);
    }
  }
  // Threads that sleep are woken.
  for (int pause = 0; pause < 5; pause++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    run_job(checks, 4, 100, kLarge);
  }
  // Callers that find the pool busy, that start and end, and that ask for more threads than there are.
  for (int round = 0; round < (small ? 3 : 20); round++) {
    concurrently(checks, 6, [&](Checks& own, int caller) {
      for (int64_t i = 0; i < 30; i++) run_job(own, 1 + (caller * 7 + round) % 40, 1 + i * 5, kLarge);
    });
  }
}
