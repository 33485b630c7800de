#include "device_buffer.h"

#include <cstring>
#include <memory>
#include <vector>

#include "../../native/device_memory.h"
#include "../args.h"

namespace sweet {

namespace {

enum class Owner { this_package, another_library, another_process };

/** The allocation of a buffer and its parts. Only the thread of its environment uses it. */
struct Allocation {
  void* begin;
  int64_t bytes;
  int device;
  Owner owner;
  int transfers = 0;      // running on other threads
  int retained = 0;       // by async calls
  bool disposed = false;  // freed when both counts are 0
};

/** Wrapped in a DeviceBuffer. */
struct Memory {
  std::shared_ptr<Allocation> allocation;
  char* data;
  int64_t bytes, length;
  bool is_part;  // does not free the allocation
};

constexpr napi_type_tag kTag = {0x8c5b1f7d2f3a4e61, 0xb0a4d4c2971e6f35};

void free_memory(napi_env env, Allocation* allocation) {
  if (allocation->transfers > 0 || allocation->retained > 0 || !allocation->begin) return;
  if (allocation->owner == Owner::this_package) {
    int64_t total = 0;
    napi_adjust_external_memory(env, -allocation->bytes, &total);
    device::release(allocation->begin);
  } else if (allocation->owner == Owner::another_process && device::use(allocation->device).ok()) {
    device::close_shared(allocation->begin);
  }
  allocation->begin = nullptr;
}

/** The object was collected without dispose(), or its environment ends. */
void finalize(napi_env env, void* data, void*) {
  Memory* const memory = static_cast<Memory*>(data);
  if (!memory->is_part) {
    memory->allocation->disposed = true;
    free_memory(env, memory->allocation.get());
  }
  delete memory;
}

Memory* memory_of(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_object) return nullptr;
  bool tagged = false;
  if (napi_check_object_type_tag(env, value, &kTag, &tagged) != napi_ok || !tagged) return nullptr;
  void* data = nullptr;
  return napi_unwrap(env, value, &data) == napi_ok ? static_cast<Memory*>(data) : nullptr;
}

/** Attaches the memory to a DeviceBuffer. Where that fails, an exception is pending: the environment ends. */
void wrap(napi_env env, napi_value object, Memory memory) {
  Memory* const wrapped = new Memory(std::move(memory));
  if (napi_wrap(env, object, wrapped, finalize, nullptr, nullptr) == napi_ok) napi_type_tag_object(env, object, &kTag);
}

uint64_t unsigned_of(napi_env env, napi_value value) {
  uint64_t bits = 0;
  bool lossless = false;
  napi_get_value_bigint_uint64(env, value, &bits, &lossless);
  return bits;
}

Napi::BigInt address_of(Napi::Env env, const void* data) {
  return Napi::BigInt::New(env, static_cast<uint64_t>(reinterpret_cast<uintptr_t>(data)));
}

/** A copy between host and device on a thread of the pool. The promise gives undefined or a fault. */
class Transfer : public Napi::AsyncWorker {
 public:
  Transfer(const Napi::CallbackInfo& info, Memory* memory)
      : Napi::AsyncWorker(info.Env(), "sweet_rl_transfer"),
        promise_(Napi::Promise::Deferred::New(info.Env())),
        buffer_(Napi::Persistent(info[0].As<Napi::Object>())),
        allocation_(memory->allocation),
        device_(allocation_->device),
        data_(memory->data) {
    allocation_->transfers++;
  }

  Napi::Promise promise() const { return promise_.Promise(); }

 protected:
  void OnOK() override {
    allocation_->transfers--;
    if (allocation_->disposed) free_memory(Env(), allocation_.get());
    promise_.Resolve(status_value(Env(), status_));
  }

  Napi::Promise::Deferred promise_;
  Napi::ObjectReference buffer_;
  const std::shared_ptr<Allocation> allocation_;
  const int device_;
  void* const data_;
  Status status_;
};

/** The host array is copied first: its buffer may be detached during the transfer. */
class WriteTransfer : public Transfer {
 public:
  WriteTransfer(const Napi::CallbackInfo& info, Memory* memory, const Bytes& host)
      : Transfer(info, memory), host_(host.data, host.data + host.count) {}
  void Execute() override { status_ = device::write(device_, data_, host_.data(), static_cast<int64_t>(host_.size())); }

 private:
  const std::vector<char> host_;
};

/** lib/ allocates the array and returns it after the transfer: nothing else can access or detach it. */
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
  *length = memory && !memory->allocation->disposed ? memory->length : 0;  // of a part, the buffer may be disposed
  static char empty;
  return memory && *length == 0 ? &empty : memory ? memory->data : nullptr;
}

/** Disposed memory is freed only after the calls that use it. */
Retained retain_memory(napi_env env, napi_value value, const void*) {
  const Memory* const memory = memory_of(env, value);
  if (!memory) return {};
  memory->allocation->retained++;
  return {[env, allocation = memory->allocation] {
    allocation->retained--;
    if (allocation->disposed) free_memory(env, allocation.get());
  }};
}

/** Runs the call on the device of the calling thread, after the work that this thread has started there. */
Call for_another_thread(Call call) {
  int device = 0;
  const Status ready = device::finish_thread(&device);
  return [=] {
    if (!ready.ok()) return ready;
    const Status used = device::use(device);
    return used.ok() ? call() : used;
  };
}

/** For each device the reason why it cannot be used, or ''; or the reason why there is none. */
Napi::Value bind_devices(const Napi::CallbackInfo& info) {
  std::string reason;
  const std::vector<std::string> refusals = device::refusals(&reason);
  if (refusals.empty()) return Napi::String::New(info.Env(), reason);
  Napi::Array devices = Napi::Array::New(info.Env());
  for (const std::string& refusal : refusals) devices.Set(devices.Length(), refusal);
  return devices;
}

Napi::Value bind_use_device(const Napi::CallbackInfo& info) {
  return status_value(info.Env(), device::use(info[0].ToNumber().Int32Value()));
}

/** The size and device of a new DeviceBuffer, from an object. */
struct Shape {
  int64_t length, bytes;
  int device;

  explicit Shape(const Napi::Object& given)
      : length(number(given, "length")),
        bytes(length * number(given, "bytesPerElement")),
        device(static_cast<int>(number(given, "device"))) {}

  static int64_t number(const Napi::Object& given, const char* name) { return given.Get(name).ToNumber().Int64Value(); }
};

/** buffer, { length, bytesPerElement, device } */
Napi::Value bind_allocate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Shape shape(info[1].As<Napi::Object>());
  void* data = nullptr;
  Status status = device::use(shape.device);
  if (status.ok()) status = device::allocate(shape.bytes, &data);
  if (!status.ok()) return status_value(env, status);
  const auto allocation =
      std::make_shared<Allocation>(Allocation{data, shape.bytes, shape.device, Owner::this_package});
  wrap(env, info[0], {allocation, static_cast<char*>(data), shape.bytes, shape.length, false});
  int64_t total = 0;
  napi_adjust_external_memory(env, shape.bytes, &total);
  return env.Undefined();
}

/** buffer, { ptr, length, bytesPerElement, device } */
Napi::Value bind_view(const Napi::CallbackInfo& info) {
  const Napi::Object given = info[1].As<Napi::Object>();
  const Shape shape(given);
  char* const data = reinterpret_cast<char*>(static_cast<uintptr_t>(unsigned_of(info.Env(), given.Get("ptr"))));
  const auto allocation =
      std::make_shared<Allocation>(Allocation{data, shape.bytes, shape.device, Owner::another_library});
  wrap(info.Env(), info[0], {allocation, data, shape.bytes, shape.length, false});
  return info.Env().Undefined();
}

/** buffer, { parent, byteOffset, length, bytesPerElement, device } */
Napi::Value bind_part(const Napi::CallbackInfo& info) {
  const Napi::Object given = info[1].As<Napi::Object>();
  const Shape shape(given);
  const Memory* const parent = memory_of(info.Env(), given.Get("parent"));
  char* const data = parent->data + Shape::number(given, "byteOffset");
  wrap(info.Env(), info[0], {parent->allocation, data, shape.bytes, shape.length, true});
  return info.Env().Undefined();
}

/** buffer, { handle, byteOffset, length, bytesPerElement, device } */
Napi::Value bind_open_shared(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object given = info[1].As<Napi::Object>();
  const Shape shape(given);
  const Bytes handle(env, given.Get("handle"));
  const int64_t offset = Shape::number(given, "byteOffset");
  void* begin = nullptr;
  Status status = device::use(shape.device);
  if (status.ok()) status = device::open_shared(reinterpret_cast<unsigned char*>(handle.data), &begin);
  if (!status.ok()) return status_value(env, status);
  const auto allocation =
      std::make_shared<Allocation>(Allocation{begin, offset + shape.bytes, shape.device, Owner::another_process});
  wrap(env, info[0], {allocation, static_cast<char*>(begin) + offset, shape.bytes, shape.length, false});
  return env.Undefined();
}

/** buffer, 64 bytes for the handle; returns a fault or the address at which the shared memory begins. */
Napi::Value bind_share(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Memory* const memory = memory_of(env, info[0]);
  const Bytes handle(env, info[1]);
  device::Location location;
  Status status = device::locate(memory->data, &location);
  if (status.ok()) status = device::share(location.begin, reinterpret_cast<unsigned char*>(handle.data));
  if (!status.ok()) return status_value(env, status);
  return address_of(env, location.begin);
}

/** address; returns a fault or { kind, device, begin, bytes }. */
Napi::Value bind_locate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const void* const address = reinterpret_cast<void*>(static_cast<uintptr_t>(unsigned_of(env, info[0])));
  device::Location location;
  if (const Status status = device::locate(address, &location); !status.ok()) return status_value(env, status);
  static const char* const kinds[] = {"none", "host", "device"};
  Napi::Object found = Napi::Object::New(env);
  found.Set("kind", kinds[static_cast<int>(location.kind)]);
  found.Set("device", location.device);
  found.Set("begin", address_of(env, location.begin));
  found.Set("bytes", static_cast<double>(location.bytes));
  return found;
}

Napi::Value bind_address(const Napi::CallbackInfo& info) {
  return address_of(info.Env(), memory_of(info.Env(), info[0])->data);
}

/** the handle of a stream of another library */
Napi::Value bind_follow(const Napi::CallbackInfo& info) {
  return status_value(info.Env(), device::follow(unsigned_of(info.Env(), info[0])));
}

Napi::Value bind_set_zero(const Napi::CallbackInfo& info) {
  const Memory* const memory = memory_of(info.Env(), info[0]);
  return status_value(info.Env(), device::set_zero(memory->data, memory->bytes));
}

Napi::Value bind_dispose(const Napi::CallbackInfo& info) {
  Memory* const memory = memory_of(info.Env(), info[0]);
  if (!memory) return info.Env().Undefined();
  memory->bytes = memory->length = 0;
  if (!memory->is_part) {
    memory->allocation->disposed = true;
    free_memory(info.Env(), memory->allocation.get());
  }
  return info.Env().Undefined();
}

/** buffer, typed array of the same number of bytes */
Napi::Value bind_write(const Napi::CallbackInfo& info) {
  const Memory* const memory = memory_of(info.Env(), info[0]);
  const Bytes host(info.Env(), info[1]);
  return status_value(info.Env(), device::write(memory->allocation->device, memory->data, host.data, host.count));
}

/** buffer, typed array, byte offset */
Napi::Value bind_read(const Napi::CallbackInfo& info) {
  const Memory* const memory = memory_of(info.Env(), info[0]);
  const Bytes host(info.Env(), info[1]);
  const char* const from = memory->data + info[2].As<Napi::Number>().Int64Value();
  return status_value(info.Env(), device::read(memory->allocation->device, from, host.data, host.count));
}

Napi::Value bind_write_async(const Napi::CallbackInfo& info) { return start<WriteTransfer>(info); }
Napi::Value bind_read_async(const Napi::CallbackInfo& info) { return start<ReadTransfer>(info); }

}  // namespace sweet
