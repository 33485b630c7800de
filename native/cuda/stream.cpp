#include "stream.h"

#include <mutex>
#include <vector>

namespace sweet {
namespace cuda {
namespace {

struct Opened {
  int device;
  Stream stream;
};

thread_local std::vector<Opened> opened;

struct Gate {
  int device;
  cudaStream_t stream = nullptr;  // waits for one foreign stream after the other
  cudaEvent_t given = nullptr, open = nullptr;
};

std::mutex gates_lock;
std::vector<Gate> gates;

Gate* gate_of(int device) {
  for (Gate& gate : gates) {
    if (gate.device == device) return &gate;
  }
  return nullptr;
}

void close_gate(const Gate& gate) {
  if (gate.open) cudaEventDestroy(gate.open);
  if (gate.given) cudaEventDestroy(gate.given);
  if (gate.stream) cudaStreamDestroy(gate.stream);
}

Status build_gate(int device, Gate** built) {
  Gate gate{device};
  const char* operation = "cudaStreamCreate";
  cudaError_t error = cudaStreamCreateWithFlags(&gate.stream, cudaStreamNonBlocking);
  for (cudaEvent_t* const event : {&gate.given, &gate.open}) {
    if (error != cudaSuccess) break;
    operation = "cudaEventCreate";
    error = cudaEventCreateWithFlags(event, cudaEventDisableTiming);
  }
  if (error != cudaSuccess) {
    close_gate(gate);
    return status_of(error, operation);
  }
  gates.push_back(gate);
  *built = &gates.back();
  return {};
}

Status current_device(int* device) { return status_of(cudaGetDevice(device), "cudaGetDevice"); }

/** Freed memory stays in the device's pool for the next call instead of going back to the driver at every wait. */
Status keep_freed_memory(int device) {
  cudaMemPool_t pool;
  cudaError_t error = cudaDeviceGetDefaultMemPool(&pool, device);
  if (error != cudaSuccess) return status_of(error, "cudaDeviceGetDefaultMemPool");
  uint64_t most = UINT64_MAX;
  error = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &most);
  return status_of(error, "cudaMemPoolSetAttribute");
}

}  // namespace

Status status_of(cudaError_t error, const char* operation) {
  if (error == cudaSuccess) return {};
  // Forgets the error, unless it is one that nothing can make forget.
  cudaGetLastError();
  const bool sticky = cudaDeviceSynchronize() != cudaSuccess;
  Status status{Code::device, 0, static_cast<int64_t>(error)};
  status.device = {operation, cudaGetErrorName(error), cudaGetErrorString(error), sticky};
  return status;
}

Status open_stream(size_t page_bytes, Stream* stream) {
  cudaError_t error = cudaStreamCreateWithFlags(&stream->handle, cudaStreamNonBlocking);
  if (error != cudaSuccess) return status_of(error, "cudaStreamCreate");
  error = cudaMallocHost(&stream->page, page_bytes);
  if (error == cudaSuccess) return {};
  cudaStreamDestroy(stream->handle);
  return status_of(error, "cudaMallocHost");
}

void close_stream(const Stream& stream) {
  cudaStreamSynchronize(stream.handle);
  cudaFreeHost(stream.page);
  cudaStreamDestroy(stream.handle);
}

Status wait_for(const Stream& stream) {
  return status_of(cudaStreamSynchronize(stream.handle), "cudaStreamSynchronize");
}

Status stream_of_thread(Stream** stream) {
  int device = 0;
  if (const Status status = current_device(&device); !status.ok()) return status;
  for (Opened& each : opened) {
    if (each.device != device) continue;
    *stream = &each.stream;
    return {};
  }
  if (const Status status = keep_freed_memory(device); !status.ok()) return status;
  Stream created;
  if (const Status status = open_stream(kResultBytes, &created); !status.ok()) return status;
  opened.push_back({device, created});
  *stream = &opened.back().stream;
  return {};
}

void close_streams() {
  for (const Opened& each : opened) {
    cudaSetDevice(each.device);
    close_stream(each.stream);
  }
  opened.clear();
}

Status put_before_gate(cudaStream_t foreign) {
  int device = 0;
  if (const Status status = current_device(&device); !status.ok()) return status;
  const std::lock_guard<std::mutex> lock(gates_lock);
  Gate* gate = gate_of(device);
  if (!gate) {
    if (const Status status = build_gate(device, &gate); !status.ok()) return status;
  }
  if (const Status status = status_of(cudaEventRecord(gate->given, foreign), "cudaEventRecord"); !status.ok()) {
    return status;
  }
  const Status status = status_of(cudaStreamWaitEvent(gate->stream, gate->given, 0), "cudaStreamWaitEvent");
  return status.ok() ? status_of(cudaEventRecord(gate->open, gate->stream), "cudaEventRecord") : status;
}

Status wait_at_gate(cudaStream_t stream) {
  const std::lock_guard<std::mutex> lock(gates_lock);
  if (gates.empty()) return {};
  int device = 0;
  if (const Status status = current_device(&device); !status.ok()) return status;
  const Gate* const gate = gate_of(device);
  return gate ? status_of(cudaStreamWaitEvent(stream, gate->open, 0), "cudaStreamWaitEvent") : Status{};
}

void close_gates() {
  const std::lock_guard<std::mutex> lock(gates_lock);
  for (const Gate& gate : gates) {
    cudaSetDevice(gate.device);
    close_gate(gate);
  }
  gates.clear();
}

}  // namespace cuda
}  // namespace sweet
