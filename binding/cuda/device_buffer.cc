#include "device_buffer.h"

#include <vector>

#include "../../native/device_memory.h"
#include "../args.h"

namespace sweet {

namespace {

/** Wrapped in a DeviceBuffer. Only the thread of its environment touches it. */
struct Memory {
  void* data;
  int64_t bytes, length;
  int device;
  int transfers;  // under way on other threads
  int calls;      // that hold it while they run later
  bool disposed;  // to be freed when these are done
};

constexpr napi_type_tag kTag = {0x8c5b1f7d2f3a4e61, 0xb0a4d4c2971e6f35};

void free_memory(napi_env env, Memory* memory) {
  if (memory->transfers > 0 || memory->calls > 0) return;
  int64_t total = 0;
  napi_adjust_external_memory(env, -memory->bytes, &total);
  device::release(memory->data);
  memory->data = nullptr;
  memory->bytes = memory->length = 0;
}

/** The last resort: the collector found the object, or its environment ends. */
void finalize(napi_env env, void* data, void*) {
  Memory* const memory = static_cast<Memory*>(data);
  memory->calls = 0;  // they ended with their environment, before it came here
  if (memory->bytes > 0) free_memory(env, memory);
  delete memory;
}

Memory* memory_of(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_object) return nullptr;
  bool ours = false;
  if (napi_check_object_type_tag(env, value, &kTag, &ours) != napi_ok || !ours) return nullptr;
  void* data = nullptr;
  return napi_unwrap(env, value, &data) == napi_ok ? static_cast<Memory*>(data) : nullptr;
}

/** The bytes of a typed array. */
struct Bytes {
  char* data = nullptr;
  int64_t count = 0;

  Bytes(napi_env env, napi_value value) {
    static const int64_t sizes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};  // in the order of napi_typedarray_type
    napi_typedarray_type type;
    size_t length = 0;
    void* memory = nullptr;
    if (napi_get_typedarray_info(env, value, &type, &length, &memory, nullptr, nullptr) != napi_ok) return;
    data = static_cast<char*>(memory);
    count = static_cast<int64_t>(length) * (static_cast<size_t>(type) < 11 ? sizes[type] : 2);  // then Float16Array
  }
};

/** A copy between host and device on a thread of the pool. The promise gives undefined or a fault. */
class Transfer : public Napi::AsyncWorker {
 public:
  Transfer(const Napi::CallbackInfo& info, Memory* memory)
      : Napi::AsyncWorker(info.Env(), "sweet_rl_transfer"),
        promise_(Napi::Promise::Deferred::New(info.Env())),
        buffer_(Napi::Persistent(info[0].As<Napi::Object>())),
        memory_(memory),
        device_(memory->device),
        data_(memory->data) {
    memory->transfers++;
  }

  Napi::Promise promise() const { return promise_.Promise(); }

 protected:
  void OnOK() override {
    memory_->transfers--;
    if (memory_->disposed) free_memory(Env(), memory_);
    promise_.Resolve(answer(Env(), status_));
  }

  Napi::Promise::Deferred promise_;
  Napi::ObjectReference buffer_;
  Memory* const memory_;
  const int device_;  // for Execute: by then an environment that ended may have let go of memory_
  void* const data_;
  Status status_;
};

/** The host's numbers are copied first: their buffer may be detached while the transfer goes on. */
class WriteTransfer : public Transfer {
 public:
  WriteTransfer(const Napi::CallbackInfo& info, Memory* memory, const Bytes& host)
      : Transfer(info, memory), host_(host.data, host.data + host.count) {}
  void Execute() override { status_ = device::write(device_, data_, host_.data(), static_cast<int64_t>(host_.size())); }

 private:
  const std::vector<char> host_;
};

/** The array is lib/'s own and nobody else has it before the promise settles. */
class ReadTransfer : public Transfer {
 public:
  ReadTransfer(const Napi::CallbackInfo& info, Memory* memory, const Bytes& host)
      : Transfer(info, memory), array_(Napi::Persistent(info[1].As<Napi::Object>())), host_(host) {}
  void Execute() override { status_ = device::read(device_, data_, host_.data, host_.count); }

 private:
  const Napi::ObjectReference array_;
  const Bytes host_;
};

template <class T>
Napi::Value start(const Napi::CallbackInfo& info) {
  T* const transfer = new T(info, memory_of(info.Env(), info[0]), Bytes(info.Env(), info[1]));
  const Napi::Promise promise = transfer->promise();
  transfer->Queue();
  return promise;
}

}  // namespace

void* handle_memory(napi_env env, napi_value value, int64_t* length) {
  const Memory* const memory = memory_of(env, value);
  *length = memory ? memory->length : 0;
  static char empty;
  return memory && memory->length == 0 ? &empty : memory ? memory->data : nullptr;
}

/** The calling thread's device; what it began there is over first. */
Call for_another_thread(Call call) {
  int device = 0;
  const Status ready = device::finish_thread(&device);
  return [=] {
    if (!ready.ok()) return ready;
    const Status used = device::use(device);
    return used.ok() ? call() : used;
  };
}

/** How many devices there are, or why there is none. */
Napi::Value bind_devices(const Napi::CallbackInfo& info) {
  const char* reason = nullptr;
  const int count = device::count(&reason);
  if (reason) return Napi::String::New(info.Env(), reason);
  return Napi::Number::New(info.Env(), count);
}

Napi::Value bind_use_device(const Napi::CallbackInfo& info) {
  Args args(info);
  return answer(info.Env(), device::use(static_cast<int>(args.number())));
}

/** object, length, bytes of an element, device */
Napi::Value bind_allocate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Args args(info);
  const napi_value object = args.object();
  const int64_t length = static_cast<int64_t>(args.number()), bytes = length * static_cast<int64_t>(args.number());
  const int device = static_cast<int>(args.number());
  void* data = nullptr;
  Status status = device::use(device);
  if (status.ok()) status = device::allocate(bytes, &data);
  if (!status.ok()) return answer(env, status);
  Memory* const memory = new Memory{data, bytes, length, device, 0, 0, false};
  if (napi_wrap(env, object, memory, finalize, nullptr, nullptr) != napi_ok ||
      napi_type_tag_object(env, object, &kTag) != napi_ok) {
    return env.Undefined();  // an exception is pending: the environment ends
  }
  int64_t total = 0;
  napi_adjust_external_memory(env, bytes, &total);
  return env.Undefined();
}

Napi::Value bind_set_zero(const Napi::CallbackInfo& info) {
  const Memory* const memory = memory_of(info.Env(), info[0]);
  return answer(info.Env(), device::set_zero(memory->data, memory->bytes));
}

Napi::Value bind_dispose(const Napi::CallbackInfo& info) {
  Memory* const memory = memory_of(info.Env(), info[0]);
  if (memory && !memory->disposed) {
    memory->disposed = true;
    free_memory(info.Env(), memory);
  }
  return info.Env().Undefined();
}

/** Disposed or not, the memory stays until it is let go of as often as it was held. */
Napi::Value bind_hold(const Napi::CallbackInfo& info) {
  memory_of(info.Env(), info[0])->calls++;
  return info.Env().Undefined();
}

Napi::Value bind_let_go(const Napi::CallbackInfo& info) {
  Memory* const memory = memory_of(info.Env(), info[0]);
  memory->calls--;
  if (memory->disposed) free_memory(info.Env(), memory);
  return info.Env().Undefined();
}

/** object, typed array of the same number of bytes */
Napi::Value bind_write(const Napi::CallbackInfo& info) {
  const Memory* const memory = memory_of(info.Env(), info[0]);
  const Bytes host(info.Env(), info[1]);
  return answer(info.Env(), device::write(memory->device, memory->data, host.data, host.count));
}

/** object, typed array, from which byte */
Napi::Value bind_read(const Napi::CallbackInfo& info) {
  const Memory* const memory = memory_of(info.Env(), info[0]);
  const Bytes host(info.Env(), info[1]);
  const char* const from = static_cast<const char*>(memory->data) + info[2].As<Napi::Number>().Int64Value();
  return answer(info.Env(), device::read(memory->device, from, host.data, host.count));
}

Napi::Value bind_write_async(const Napi::CallbackInfo& info) { return start<WriteTransfer>(info); }
Napi::Value bind_read_async(const Napi::CallbackInfo& info) { return start<ReadTransfer>(info); }

}  // namespace sweet
