#include "async.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "../native/cancel.h"
#include "args.h"

namespace sweet {

namespace {

/** First in, first out; links the elements by their `next`, without an allocation. */
template <class T>
class Queue {
 public:
  bool empty() const { return first_ == nullptr; }

  void push(T* element) {
    element->next = nullptr;
    T** end = &first_;
    while (*end) end = &(*end)->next;
    *end = element;
  }

  T* pop() {
    T* const element = first_;
    if (element) first_ = element->next;
    return element;
  }

  /** False if it does not contain the element. */
  bool remove(T* element) {
    for (T** at = &first_; *at; at = &(*at)->next) {
      if (*at != element) continue;
      *at = element->next;
      return true;
    }
    return false;
  }

 private:
  T* first_ = nullptr;
};

struct Job;

/** Ends a job together with its environment, see add_guard(). */
struct Guard {
  Job* job;  // null once the job is finished
};

/** The async calls of one environment. The scheduler's lock guards the queues and the links between environments. */
struct Environment {
  napi_env env;
  napi_threadsafe_function wake = nullptr;
  Job* jobs = nullptr;  // all, newest first
  uint32_t last_number = 0;
  Queue<Job> waiting, finished;
  Environment* next = nullptr;

  explicit Environment(napi_env owner) : env(owner) {}
};

struct Job {
  Environment* const owner;
  const uint32_t number;
  const Call call;
  napi_ref done = nullptr, guarding = nullptr;
  Guard* guard = nullptr;
  std::atomic<bool> cancelled{false};
  Status status = {};
  Job* next = nullptr;                     // in a queue
  Job *older = nullptr, *newer = nullptr;  // of the owner's jobs

  Job(Environment* environment, Call function)
      : owner(environment), number(++environment->last_number), call(std::move(function)), older(environment->jobs) {
    if (older) older->newer = this;
    owner->jobs = this;
  }
  ~Job() {
    if (guard) guard->job = nullptr;
    napi_delete_reference(owner->env, done);
    if (guarding) napi_delete_reference(owner->env, guarding);
    if (older) older->newer = newer;
    (newer ? newer->older : owner->jobs) = older;
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;
};

class Scheduler {
 public:
  /** False if no thread can be started. */
  bool add(Job* job) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!started_ && !start()) return false;
    if (job->owner->waiting.empty()) ready_.push(job->owner);
    job->owner->waiting.push(job);
    work_.notify_one();
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

  /** Cancels the job and waits until its memory is no longer used. */
  void detach(Job* job) noexcept {
    std::unique_lock<std::mutex> lock(mutex_);
    job->cancelled = true;
    unqueue(job);
    ended_.wait(lock, [&] { return running_ != job; });
    job->owner->finished.remove(job);
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
    std::unique_lock<std::mutex> lock(mutex_);
    work_.wait(lock, [this] { return !ready_.empty(); });
    Environment* const owner = ready_.pop();
    running_ = owner->waiting.pop();
    if (!owner->waiting.empty()) ready_.push(owner);
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
  bool started_ = false;
};

// Never destroyed: its thread may wait on it until the process ends.
Scheduler& scheduler() {
  static Scheduler* const instance = new Scheduler;
  return *instance;
}

/** Ends the job before its environment ends, unless it is finished. */
void end_guarded(void* data) {
  Guard* const guard = static_cast<Guard*>(data);
  if (guard->job) {
    scheduler().detach(guard->job);
    delete guard->job;
  }
  delete guard;
}

/**
 * An environment that ends frees the external memory of addons, newest first, even before it runs its cleanup hooks.
 * Therefore each job owns external memory that is newer than the arrays of its call, and its finalizer ends the job.
 */
void add_guard(Napi::Env env, Job* job) {
  job->guard = new Guard{job};
  const napi_finalize finalize = [](napi_env, void* data, void*) { end_guarded(data); };
  napi_value buffer = nullptr;
  if (napi_create_external_buffer(env, sizeof(Guard), job->guard, finalize, nullptr, &buffer) == napi_ok) {
    napi_create_reference(env, buffer, 1, &job->guarding);
  } else {
    napi_add_env_cleanup_hook(env, end_guarded, job->guard);  // Electron has no external buffers
  }
}

void deliver(napi_env env, napi_value, void* context, void*) {
  if (env == nullptr) return;
  Environment* const owner = static_cast<Environment*>(context);
  while (Job* const job = scheduler().next_finished(owner)) {
    const Napi::HandleScope scope(env);
    napi_value done = nullptr, undefined = nullptr;
    napi_get_reference_value(env, job->done, &done);
    napi_get_undefined(env, &undefined);
    const napi_value status = status_value(env, job->status);
    delete job;
    if (!owner->jobs) napi_unref_threadsafe_function(env, owner->wake);
    napi_call_function(env, undefined, done, 1, &status, nullptr);
    // done() only settles a promise; an exception of it must not end the loop over the other calls.
    napi_value exception = nullptr;
    napi_get_and_clear_last_exception(env, &exception);
  }
}

Environment* environment_of(Napi::Env env) {
  Environment* owner = env.GetInstanceData<Environment>();
  if (owner) return owner;
  owner = new Environment(env);
  const Napi::String name = Napi::String::New(env, "sweet_rl_async");
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, owner, deliver, &owner->wake);
  napi_unref_threadsafe_function(env, owner->wake);
  env.AddCleanupHook([owner] { napi_release_threadsafe_function(owner->wake, napi_tsfn_abort); });
  env.SetInstanceData(owner);
  return owner;
}

}  // namespace

Napi::Value run_async(Napi::Env env, Call call, napi_value done) {
  Environment* const owner = environment_of(env);
  if (!owner->jobs) napi_ref_threadsafe_function(env, owner->wake);
  Job* const job = new Job(owner, std::move(call));
  napi_create_reference(env, done, 1, &job->done);
  add_guard(env, job);
  const uint32_t number = job->number;
  if (!scheduler().add(job)) scheduler().run(job);
  return Napi::Number::New(env, number);
}

const char kAsync = 0;

void add_operation(Napi::Object exports, const std::string& name, Napi::Value (*call)(const Napi::CallbackInfo&),
                   bool async) {
  exports.Set(name, Napi::Function::New(exports.Env(), call, name));
  if (!async) return;
  const std::string async_name = name + "Async";
  exports.Set(async_name, Napi::Function::New(exports.Env(), call, async_name, const_cast<char*>(&kAsync)));
}

Napi::Value bind_cancel(const Napi::CallbackInfo& info) {
  const uint32_t number = info[0].As<Napi::Number>().Uint32Value();
  Job* job = environment_of(info.Env())->jobs;
  while (job && job->number != number) job = job->older;
  if (job) scheduler().cancel(job);
  return info.Env().Undefined();
}

}  // namespace sweet
