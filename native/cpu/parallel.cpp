#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#include "../backend.h"
#include "../cpus.h"

namespace sweet {
namespace {

std::atomic<int> thread_count{std::min(usable_cpus(quota_cpus()), kMaxThreads)};

// Less work stays on the calling thread. Zen 5, logps of rows of 2048 elements, time with a second thread relative to
// one: 2^14 elements 2.1, 2^15 and 2^16 1.5. From 2^17 on the noise of that shared machine hid the difference.
constexpr int64_t kMinParallelWork = 1 << 17;

struct Job {
  RangeFn fn;
  void* context;
  int64_t items, workers;
  const std::atomic<bool>* cancel_flag;
  std::atomic<int64_t> next{0};

  /** Long ranges first, which suit the hardware prefetcher, single items last, so that all workers end together. */
  void run(int worker) {
    const Cancellable cancellable(cancel_flag);  // the flag is thread-local
    for (int64_t begin = next.load(std::memory_order_relaxed); begin < items && !cancelled();) {
      const int64_t end = begin + std::max<int64_t>(1, (items - begin) / (workers * 2));
      if (!next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      fn(context, begin, end, worker);
      begin = next.load(std::memory_order_relaxed);
    }
  }
};

/**
 * Threads that wait on a condition variable for the next job. One job at a time: a caller that finds the pool busy,
 * since another Node worker is in a call, runs its job on its own thread. So callers do not wait for each other, and
 * all together use at most the threads of set_threads() plus one for each further caller.
 */
class Pool {
 public:
  void run(Job& job, int helpers) {
    const std::unique_lock<std::mutex> owner(one_caller_, std::try_to_lock);
    if (!owner.owns_lock()) return job.run(0);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      while (started_ < helpers && start_one()) {
      }
      job_ = &job;
      open_workers_ = std::min(helpers, started_);
    }
    wake_.notify_all();
    job.run(0);
    std::unique_lock<std::mutex> lock(mutex_);
    open_workers_ = 0;  // nothing is left for a helper that has not started yet
    job_ = nullptr;
    idle_.wait(lock, [this] { return working_ == 0; });
  }

 private:
  bool start_one() {
    try {
      std::thread([this] { work(); }).detach();
    } catch (const std::system_error&) {
      return false;  // with fewer threads the call is slower, but right
    }
    started_++;
    return true;
  }

  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return open_workers_ > 0; });
      const int worker = open_workers_--;  // the caller's is 0
      working_++;
      Job& job = *job_;
      lock.unlock();
      job.run(worker);
      lock.lock();
      working_--;
      if (working_ == 0) idle_.notify_one();
    }
  }

  std::mutex one_caller_, mutex_;
  std::condition_variable wake_, idle_;
  Job* job_ = nullptr;
  int started_ = 0, working_ = 0;
  int open_workers_ = 0;  // worker indices 1 ... open_workers_ have no thread yet
};

// Never destroyed: its threads wait on its condition variables until the process ends.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

}  // namespace

int threads() { return thread_count.load(std::memory_order_relaxed); }

void set_threads(int n) { thread_count.store(n, std::memory_order_relaxed); }

void parallel_ranges(int workers, int64_t items, int64_t work, RangeFn fn, void* context) {
  const int64_t count = std::min<int64_t>(workers, items);
  if (count <= 1 || work < kMinParallelWork) {
    if (items > 0) fn(context, 0, items, 0);
    return;
  }
  Job job{fn, context, items, count, cancel_flag};
  pool().run(job, static_cast<int>(count) - 1);
}

}  // namespace sweet
