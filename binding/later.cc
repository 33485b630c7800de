#include "later.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../native/cancel.h"
#include "args.h"

namespace sweet {

namespace {

struct Environment;

struct Job {
  Environment* owner;
  uint32_t number;
  Call call;
  napi_ref done = nullptr;
  std::atomic<bool> cancelled{false};
  Status status = {};

  Job(Environment* environment, uint32_t id, Call function)
      : owner(environment), number(id), call(std::move(function)) {}
};

/** What an environment has under way. The conductor's lock guards `waiting` and `ended`. */
struct Environment {
  napi_env env;
  napi_threadsafe_function wake = nullptr;
  std::unordered_map<uint32_t, Job*> jobs;
  uint32_t last_number = 0;
  std::deque<Job*> waiting;
  std::vector<Job*> ended;

  explicit Environment(napi_env its_env) : env(its_env) {}
};

class Conductor {
 public:
  /** False where no thread can be had. */
  bool add(Job* job) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!started_ && !start()) return false;
    if (job->owner->waiting.empty()) turns_.push_back(job->owner);
    job->owner->waiting.push_back(job);
    work_.notify_one();
    return true;
  }

  void cancel(Job* job) {
    const std::lock_guard<std::mutex> lock(mutex_);
    job->cancelled = true;
    if (unqueue(job)) end(job);
  }

  /** The same, and nothing of the job's memory is touched any more when it returns. */
  void forget(Job* job) {
    std::unique_lock<std::mutex> lock(mutex_);
    job->cancelled = true;
    unqueue(job);
    idle_.wait(lock, [&] { return running_ != job; });
    std::vector<Job*>& ended = job->owner->ended;
    ended.erase(std::remove(ended.begin(), ended.end(), job), ended.end());
  }

  std::vector<Job*> take_ended(Environment* owner) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(owner->ended, {});
  }

  /** On the caller's thread, where there is no other. */
  void run_here(Job* job) {
    job->status = job->call();
    const std::lock_guard<std::mutex> lock(mutex_);
    end(job);
  }

 private:
  bool start() {
    try {
      std::thread([this] { work(); }).detach();
    } catch (const std::system_error&) {
      return false;
    }
    started_ = true;
    return true;
  }

  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      work_.wait(lock, [this] { return !turns_.empty(); });
      Environment* const owner = turns_.front();
      turns_.pop_front();
      running_ = owner->waiting.front();
      owner->waiting.pop_front();
      if (!owner->waiting.empty()) turns_.push_back(owner);
      lock.unlock();
      {
        const Cancellable cancellable(&running_->cancelled);
        running_->status = running_->call();
        lock.lock();
        end(std::exchange(running_, nullptr));
        idle_.notify_all();
        lock.unlock();
      }
      lock.lock();
    }
  }

  bool unqueue(Job* job) {
    std::deque<Job*>& waiting = job->owner->waiting;
    const auto at = std::find(waiting.begin(), waiting.end(), job);
    if (at == waiting.end()) return false;
    waiting.erase(at);
    if (waiting.empty()) turns_.erase(std::find(turns_.begin(), turns_.end(), job->owner));
    return true;
  }

  void end(Job* job) {
    if (job->cancelled) job->status = {Code::cancelled};
    job->owner->ended.push_back(job);
    napi_call_threadsafe_function(job->owner->wake, nullptr, napi_tsfn_nonblocking);
  }

  std::mutex mutex_;
  std::condition_variable work_, idle_;
  std::deque<Environment*> turns_;  // those with waiting jobs, the next one first
  Job* running_ = nullptr;
  bool started_ = false;
};

// Never destroyed: its thread may sleep in it until the process ends.
Conductor& conductor() {
  static Conductor* const instance = new Conductor;
  return *instance;
}

void release(Job* job) {
  napi_delete_reference(job->owner->env, job->done);
  job->owner->jobs.erase(job->number);
  delete job;
}

/**
 * One hook a job: hooks run in reverse order, so that memory which has a hook of its own, being older than the job, is
 * still there.
 */
void end_with_environment(void* argument) {
  Job* const job = static_cast<Job*>(argument);
  conductor().forget(job);
  release(job);
}

void settle(napi_env env, napi_value, void* context, void*) {
  if (env == nullptr) return;
  Environment* const owner = static_cast<Environment*>(context);
  for (Job* const job : conductor().take_ended(owner)) {
    const Napi::HandleScope scope(env);
    napi_value done = nullptr, undefined = nullptr;
    napi_get_reference_value(env, job->done, &done);
    napi_get_undefined(env, &undefined);
    const napi_value status = answer(env, job->status);
    napi_remove_env_cleanup_hook(env, end_with_environment, job);
    release(job);
    if (owner->jobs.empty()) napi_unref_threadsafe_function(env, owner->wake);
    napi_call_function(env, undefined, done, 1, &status, nullptr);
  }
}

Environment* environment_of(Napi::Env env) {
  Environment* owner = env.GetInstanceData<Environment>();
  if (owner) return owner;
  owner = new Environment(env);
  const Napi::String name = Napi::String::New(env, "sweet_rl_later");
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, owner, settle, &owner->wake);
  napi_unref_threadsafe_function(env, owner->wake);
  env.AddCleanupHook([owner] { napi_release_threadsafe_function(owner->wake, napi_tsfn_abort); });
  env.SetInstanceData(owner);
  return owner;
}

}  // namespace

Napi::Value run_later(Napi::Env env, Call call, napi_value done) {
  Environment* const owner = environment_of(env);
  Job* const job = new Job(owner, ++owner->last_number, std::move(call));
  napi_create_reference(env, done, 1, &job->done);
  if (owner->jobs.empty()) napi_ref_threadsafe_function(env, owner->wake);
  owner->jobs[job->number] = job;
  napi_add_env_cleanup_hook(env, end_with_environment, job);
  if (!conductor().add(job)) conductor().run_here(job);
  return Napi::Number::New(env, job->number);
}

const char kLater = 0;

void add_operation(Napi::Object exports, const std::string& name, Napi::Value (*call)(const Napi::CallbackInfo&)) {
  const std::string later = name + "Async";
  exports.Set(name, Napi::Function::New(exports.Env(), call, name));
  exports.Set(later, Napi::Function::New(exports.Env(), call, later, const_cast<char*>(&kLater)));
}

Napi::Value bind_cancel(const Napi::CallbackInfo& info) {
  const std::unordered_map<uint32_t, Job*>& jobs = environment_of(info.Env())->jobs;
  const auto found = jobs.find(info[0].As<Napi::Number>().Uint32Value());
  if (found != jobs.end()) conductor().cancel(found->second);
  return info.Env().Undefined();
}

}  // namespace sweet
