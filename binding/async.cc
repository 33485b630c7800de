#include "async.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "../native/cancel.h"
#include "args.h"

namespace sweet {

namespace {

/** First in, first out; links the elements by their `next` and `previous`. An element is in at most one queue. */
template <class T>
class Queue {
 public:
  bool empty() const { return first_ == nullptr; }

  void push(T* element) {
    element->queue = this;
    element->previous = last_;
    element->next = nullptr;
    (last_ ? last_->next : first_) = element;
    last_ = element;
  }

  T* pop() {
    T* const element = first_;
    if (element) remove(element);
    return element;
  }

  /** False if it does not contain the element. */
  bool remove(T* element) {
    if (element->queue != this) return false;
    (element->previous ? element->previous->next : first_) = element->next;
    (element->next ? element->next->previous : last_) = element->previous;
    element->queue = nullptr;
    return true;
  }

 private:
  T *first_ = nullptr, *last_ = nullptr;
};

template <class T>
struct Queued {
  Queue<T>* queue = nullptr;
  T *previous = nullptr, *next = nullptr;
};

struct Environment;

struct Job : Queued<Job> {
  Environment* const owner;
  const uint32_t number;
  const Call call;
  const CallMemory memory;
  std::atomic<bool> cancelled{false};
  Status status = {};

  Job(Environment* environment, uint32_t own_number, Call function, CallMemory own_memory)
      : owner(environment), number(own_number), call(std::move(function)), memory(std::move(own_memory)) {}
  ~Job() {
    for (const Retained& each : memory.retained) each.release();
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  void copy_back() const {
    if (!status.ok()) return;
    for (const Copy& copy : memory.copies) {
      if (copy.written) std::memcpy(copy.array, copy.memory.get(), copy.bytes);
    }
  }
};

/** The async calls of one environment. The scheduler's lock guards the queues. */
struct Environment : Queued<Environment> {
  const napi_env env;
  napi_threadsafe_function wake = nullptr;
  // By the numbers of the calls. The callbacks are elements of one array, since a reference for each takes a handle
  // that every garbage collection visits.
  std::vector<std::unique_ptr<Job>> jobs;
  Napi::Reference<Napi::Array> callbacks;
  // A type of this addon: the functions of a vector of uint32_t would be visible to the whole process.
  struct Number {
    uint32_t value;
  };
  std::vector<Number> free_numbers;
  Queue<Job> waiting, finished;

  explicit Environment(Napi::Env owner)
      : env(owner), callbacks(Napi::Reference<Napi::Array>::New(Napi::Array::New(owner), 1)) {}

  bool idle() const { return free_numbers.size() == jobs.size(); }

  Job* add(Call call, CallMemory memory, napi_value done) {
    if (free_numbers.empty()) {
      free_numbers.push_back({static_cast<uint32_t>(jobs.size())});
      jobs.emplace_back();
    }
    const uint32_t number = free_numbers.back().value;
    free_numbers.pop_back();
    jobs[number] = std::make_unique<Job>(this, number, std::move(call), std::move(memory));
    napi_set_element(env, callbacks.Value(), number, done);
    return jobs[number].get();
  }

  /** Deletes a job; returns its callback. */
  napi_value remove(const Job* job) {
    const uint32_t number = job->number;
    const Napi::Array all = callbacks.Value();
    napi_value done = nullptr;
    napi_get_element(env, all, number, &done);
    napi_set_element(env, all, number, Napi::Env(env).Undefined());
    jobs[number] = nullptr;
    free_numbers.push_back({number});
    return done;
  }
};

// The thread of the calls looks for another one before it sleeps: waking it takes longer than queueing a small call. Of
// 100 000 calls on 8 rows of 8 logits, the thread that queues them needs 0.90 s of CPU time, without this 1.13 s (Zen
// 5).
constexpr auto kMaxSpin = std::chrono::microseconds(50);

class Scheduler {
 public:
  /** False if no thread can be started. */
  bool add(Job* job) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!started_ && !start()) return false;
    if (job->owner->waiting.empty()) ready_.push(job->owner);
    job->owner->waiting.push(job);
    has_work_ = true;
    if (idle_) work_.notify_one();
    return true;
  }

  /** On the caller's thread. */
  void run(Job* job) {
    const Cancellable cancellable(&job->cancelled);
    job->status = job->call();
    const std::lock_guard<std::mutex> lock(mutex_);
    end(job);
  }

  void cancel(Job* job) {
    const std::lock_guard<std::mutex> lock(mutex_);
    job->cancelled = true;
    if (unqueue(job)) end(job);
  }

  /** Cancels all jobs of an environment and waits until none uses its memory. */
  void detach(Environment* owner) {
    std::unique_lock<std::mutex> lock(mutex_);
    ready_.remove(owner);
    for (const auto& job : owner->jobs) {
      if (job) job->cancelled = true;
    }
    ended_.wait(lock, [&] { return !running_ || running_->owner != owner; });
  }

  /** Null if no job is finished. */
  Job* next_finished(Environment* owner) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return owner->finished.pop();
  }

 private:
  bool start() {
    try {
      std::thread([this] {
        for (;;) run(take());
      }).detach();
    } catch (const std::system_error&) {
      return false;
    }
    started_ = true;
    return true;
  }

  Job* take() noexcept {
    const auto end = std::chrono::steady_clock::now() + kMaxSpin;
    while (!has_work_.load(std::memory_order_relaxed) && std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    idle_ = true;
    work_.wait(lock, [this] { return !ready_.empty(); });
    idle_ = false;
    Environment* const owner = ready_.pop();
    running_ = owner->waiting.pop();
    if (!owner->waiting.empty()) ready_.push(owner);
    has_work_ = !ready_.empty();
    return running_;
  }

  bool unqueue(Job* job) {
    Environment* const owner = job->owner;
    if (!owner->waiting.remove(job)) return false;
    if (owner->waiting.empty()) ready_.remove(owner);
    return true;
  }

  void end(Job* job) {
    if (job->cancelled) job->status = {Code::cancelled};
    if (job == running_) running_ = nullptr;
    job->owner->finished.push(job);
    napi_call_threadsafe_function(job->owner->wake, nullptr, napi_tsfn_nonblocking);
    ended_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable work_, ended_;
  Queue<Environment> ready_;  // environments with waiting jobs
  Job* running_ = nullptr;
  bool started_ = false, idle_ = false;
  std::atomic<bool> has_work_{false};  // as of the last call that was queued or taken
};

// Never destroyed: its thread may wait on it until the process ends.
Scheduler& scheduler() {
  static Scheduler* const instance = new Scheduler;
  return *instance;
}

/**
 * Delivers one job. Each finished job calls this once, so that Node, which makes a limited number of such calls in a
 * row, serves its event loop between many of them.
 */
void deliver(napi_env env, napi_value, void* context, void*) {
  if (env == nullptr) return;
  Environment* const owner = static_cast<Environment*>(context);
  Job* const job = scheduler().next_finished(owner);
  if (!job) return;
  const napi_value status = status_value(env, job->status);
  job->copy_back();
  const napi_value done = owner->remove(job);
  if (owner->idle()) napi_unref_threadsafe_function(env, owner->wake);
  napi_call_function(env, Napi::Env(env).Undefined(), done, 1, &status, nullptr);
  bool thrown = false;
  napi_is_exception_pending(env, &thrown);
  if (!thrown) return;
  napi_value exception = nullptr;
  napi_get_and_clear_last_exception(env, &exception);
  napi_fatal_exception(env, exception);
}

Environment* environment_of(Napi::Env env) {
  Environment* owner = env.GetInstanceData<Environment>();
  if (owner) return owner;
  owner = new Environment(env);
  const Napi::String name = Napi::String::New(env, "sweet_rl_async");
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, owner, deliver, &owner->wake);
  napi_unref_threadsafe_function(env, owner->wake);
  // Later, the memory of the calls may be freed.
  env.AddCleanupHook([owner] {
    scheduler().detach(owner);
    owner->jobs.clear();
    owner->callbacks.Reset();
    napi_release_threadsafe_function(owner->wake, napi_tsfn_abort);
  });
  env.SetInstanceData(owner);
  return owner;
}

}  // namespace

Napi::Value run_async(Napi::Env env, Call call, CallMemory memory, napi_value done) {
  Environment* const owner = environment_of(env);
  if (owner->idle()) napi_ref_threadsafe_function(env, owner->wake);
  Job* const job = owner->add(std::move(call), std::move(memory), done);
  if (!scheduler().add(job)) scheduler().run(job);
  return Napi::Number::New(env, job->number);
}

const char kAsync = 0;

void add_operation(Napi::Object exports, const std::string& name, Napi::Value (*call)(const Napi::CallbackInfo&),
                   bool async) {
  exports.Set(name, Napi::Function::New(exports.Env(), call, name));
  if (!async) return;
  const std::string async_name = name + "Async";
  exports.Set(async_name, Napi::Function::New(exports.Env(), call, async_name, const_cast<char*>(&kAsync)));
}

void add_async(Napi::Object exports) {
  const auto cancel = [](const Napi::CallbackInfo& info) {
    const uint32_t number = info[0].As<Napi::Number>().Uint32Value();
    const auto& jobs = environment_of(info.Env())->jobs;
    if (number < jobs.size() && jobs[number]) scheduler().cancel(jobs[number].get());
  };
  exports.Set("cancel", Napi::Function::New(exports.Env(), cancel, "cancel"));
  exports.Set("copiedBytes", static_cast<double>(kMaxCopiedBytes));
}

}  // namespace sweet
