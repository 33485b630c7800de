// The addon of sweet-rl-cuda on the emulator, with the emulator's own controls.
#include "../../../binding/cuda/device_buffer.h"
#include "control.h"

namespace {

Napi::Value set_seed(const Napi::CallbackInfo& info) {
  emulator::set_seed(static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value()));
  return info.Env().Undefined();
}

Napi::Value set_devices(const Napi::CallbackInfo& info) {
  emulator::set_devices(info[0].As<Napi::Number>().Int32Value());
  return info.Env().Undefined();
}

/** device, compute capability (75: 7.5), whether it supports memory pools */
Napi::Value set_device(const Napi::CallbackInfo& info) {
  emulator::set_device(info[0].As<Napi::Number>().Int32Value(), info[1].As<Napi::Number>().Int32Value(),
                       info[2].ToBoolean());
  return info.Env().Undefined();
}

Napi::Value pools(const Napi::CallbackInfo& info) {
  Napi::Array reports = Napi::Array::New(info.Env());
  for (const emulator::PoolReport& pool : emulator::pool_reports()) {
    Napi::Object report = Napi::Object::New(info.Env());
    report.Set("device", pool.device);
    report.Set("isDefault", pool.is_default);
    report.Set("threshold", static_cast<double>(pool.threshold));
    report.Set("used", static_cast<double>(pool.used));
    report.Set("reserved", static_cast<double>(pool.reserved));
    reports.Set(reports.Length(), report);
  }
  return reports;
}

/** n, the error's number */
Napi::Value fail_call(const Napi::CallbackInfo& info) {
  emulator::fail_call(info[0].As<Napi::Number>().Int32Value(),
                      static_cast<cudaError_t>(info[1].As<Napi::Number>().Int32Value()));
  return info.Env().Undefined();
}

Napi::Value report(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), emulator::report()); }

Napi::Value reset(const Napi::CallbackInfo& info) {
  emulator::reset();
  return info.Env().Undefined();
}

Napi::Value live_objects(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(emulator::live_objects()));
}

// -- another library of this process, with memory and streams of its own

void* pointer_of(const Napi::Value& value) {
  bool lossless = false;
  return reinterpret_cast<void*>(static_cast<uintptr_t>(value.As<Napi::BigInt>().Uint64Value(&lossless)));
}

Napi::Value address_of(Napi::Env env, const void* pointer) {
  return Napi::BigInt::New(env, static_cast<uint64_t>(reinterpret_cast<uintptr_t>(pointer)));
}

/** bytes, device (below 0: pinned memory of the host). Filled with NaN. */
Napi::Value foreign_memory(const Napi::CallbackInfo& info) {
  const size_t bytes = static_cast<size_t>(info[0].As<Napi::Number>().Int64Value());
  const int device = info[1].As<Napi::Number>().Int32Value();
  void* memory = nullptr;
  if (device < 0) {
    cudaMallocHost(&memory, bytes);
  } else {
    cudaSetDevice(device);
    cudaMalloc(&memory, bytes);
    cudaStream_t stream = nullptr;  // of its own: waiting for it ends nothing else
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaMemsetAsync(memory, 0xff, bytes, stream);
    cudaStreamDestroy(stream);
  }
  return address_of(info.Env(), memory);
}

/** pointer; whether it is pinned */
Napi::Value free_foreign_memory(const Napi::CallbackInfo& info) {
  info[1].ToBoolean() ? cudaFreeHost(pointer_of(info[0])) : cudaFree(pointer_of(info[0]));
  return info.Env().Undefined();
}

/** device */
Napi::Value foreign_stream(const Napi::CallbackInfo& info) {
  cudaSetDevice(info[0].As<Napi::Number>().Int32Value());
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  return address_of(info.Env(), stream);
}

Napi::Value end_foreign_stream(const Napi::CallbackInfo& info) {
  cudaStreamDestroy(static_cast<cudaStream_t>(pointer_of(info[0])));
  return info.Env().Undefined();
}

/** stream, pointer, Uint8Array: done once the stream is waited for */
Napi::Value foreign_write(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = info[2].As<Napi::Uint8Array>();
  cudaMemcpyAsync(pointer_of(info[1]), bytes.Data(), bytes.ByteLength(), cudaMemcpyHostToDevice,
                  static_cast<cudaStream_t>(pointer_of(info[0])));
  return info.Env().Undefined();
}

/** stream, pointer, Uint8Array */
Napi::Value foreign_read(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = info[2].As<Napi::Uint8Array>();
  cudaMemcpyAsync(bytes.Data(), pointer_of(info[1]), bytes.ByteLength(), cudaMemcpyDeviceToHost,
                  static_cast<cudaStream_t>(pointer_of(info[0])));
  return info.Env().Undefined();
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, call, name));
  };
  add("setSeed", set_seed);
  add("setDevices", set_devices);
  add("setDevice", set_device);
  add("pools", pools);
  add("failCall", fail_call);
  add("report", report);
  add("reset", reset);
  add("liveObjects", live_objects);
  add("foreignMemory", foreign_memory);
  add("freeForeignMemory", free_foreign_memory);
  add("foreignStream", foreign_stream);
  add("endForeignStream", end_foreign_stream);
  add("foreignWrite", foreign_write);
  add("foreignRead", foreign_read);
  return sweet::register_cuda(env, exports);
}

}  // namespace

NODE_API_MODULE(sweet_rl_cuda, init)
