#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#include "../backend.h"

namespace sweet {
namespace {

std::atomic<int> wanted_threads{std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxThreads)};

// Waking a thread costs some microseconds; so many words cost about ten times that.
constexpr int64_t kWorthWaking = 1 << 17;

struct Job {
  RangeFn fn;
  void* context;
  int64_t items, workers;
  const std::atomic<bool>* cancel_flag;
  std::atomic<int64_t> next{0};

  /** Long ranges first, which are good for reading ahead, single items last, so that all are done together. */
  void run(int worker) {
    const Cancellable as_the_caller(cancel_flag);
    for (int64_t begin = next.load(std::memory_order_relaxed); begin < items && !cancelled();) {
      const int64_t end = begin + std::max<int64_t>(1, (items - begin) / (workers * 2));
      if (!next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      fn(context, begin, end, worker);
      begin = next.load(std::memory_order_relaxed);
    }
  }
};

/**
 * Threads that sleep until there is a job. One job at a time: a caller that finds the pool busy (another Node worker is
 * in a call) works alone, so callers never wait for each other and never have more threads than asked for.
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
      seats_ = std::min(helpers, started_);
    }
    wake_.notify_all();
    job.run(0);
    std::unique_lock<std::mutex> lock(mutex_);
    seats_ = 0;  // who has not come by now finds nothing left
    job_ = nullptr;
    left_.wait(lock, [this] { return working_ == 0; });
  }

 private:
  bool start_one() {
    try {
      std::thread([this] { work(); }).detach();
    } catch (const std::system_error&) {
      return false;  // the system gives no more threads: the call is slower, not wrong
    }
    started_++;
    return true;
  }

  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return seats_ > 0; });
      const int worker = seats_--;  // the caller's is 0
      working_++;
      Job& job = *job_;
      lock.unlock();
      job.run(worker);
      lock.lock();
      working_--;
      if (working_ == 0) left_.notify_one();
    }
  }

  std::mutex one_caller_, mutex_;
  std::condition_variable wake_, left_;
  Job* job_ = nullptr;
  int started_ = 0, seats_ = 0, working_ = 0;
};

// Never destroyed: its threads may sleep in it until the process ends.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

}  // namespace

int threads() { return wanted_threads.load(std::memory_order_relaxed); }

void set_threads(int n) { wanted_threads.store(n, std::memory_order_relaxed); }

void parallel_ranges(int workers, int64_t items, int64_t work, RangeFn fn, void* context) {
  const int64_t useful = std::min<int64_t>(workers, items);
  if (useful <= 1 || work < kWorthWaking) {
    if (items > 0) fn(context, 0, items, 0);
    return;
  }
  Job job{fn, context, items, useful, cancel_flag};
  pool().run(job, static_cast<int>(useful) - 1);
}

}  // namespace sweet
