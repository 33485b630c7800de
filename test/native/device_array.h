// Device memory of a test, and values in and out of the storage types. With SWEET_CHECKS_ON_CPU it is the host's: the
// same checks then run over the CPU's kernels, for test/native.
#pragma once

#ifndef SWEET_CHECKS_ON_CPU
#include <cuda_runtime.h>
#endif

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../../native/dtype.h"

#ifdef SWEET_CHECKS_ON_CPU

struct Memory {
  static void* allocate(size_t bytes) { return malloc(bytes); }
  static void release(void* data) { free(data); }
  static void write(void* data, const void* host, size_t bytes) { memcpy(data, host, bytes); }
  static void read(const void* data, void* host, size_t bytes) { memcpy(host, data, bytes); }
};

#else

inline void must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  printf("%s: %s\n", what, cudaGetErrorString(error));
  exit(2);
}

struct Memory {
  static void* allocate(size_t bytes) {
    void* data = nullptr;
    must(cudaMalloc(&data, bytes), "cudaMalloc");
    return data;
  }
  static void release(void* data) { cudaFree(data); }
  static void write(void* data, const void* host, size_t bytes) {
    must(cudaMemcpy(data, host, bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  static void read(const void* data, void* host, size_t bytes) {
    must(cudaMemcpy(host, data, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
  }
};

#endif

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : data_(static_cast<T*>(Memory::allocate(count * sizeof(T)))), count_(count) {}
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) { set(values); }
  ~DeviceArray() { Memory::release(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return data_; }

  void set(const std::vector<T>& values) {
    if (count_ > 0) Memory::write(data_, values.data(), count_ * sizeof(T));
  }

  std::vector<T> values() const {
    std::vector<T> values(count_);
    if (count_ > 0) Memory::read(data_, values.data(), count_ * sizeof(T));
    return values;
  }

 private:
  T* data_;
  size_t count_;
};

/** Numbers as their storage type has them, and their exact values. */
struct Stored {
  sweet::DType dtype;
  std::vector<unsigned char> bytes;
  std::vector<double> values;

  Stored(sweet::DType type, const std::vector<double>& numbers) : dtype(type) {
    bytes.resize(numbers.size() * static_cast<size_t>(sweet::bytes_of(type)));
    for (size_t i = 0; i < numbers.size(); i++) put(i, static_cast<float>(numbers[i]));
    values = decoded(type, bytes);
  }

  static std::vector<double> decoded(sweet::DType type, const std::vector<unsigned char>& bytes) {
    const size_t size = static_cast<size_t>(sweet::bytes_of(type));
    std::vector<double> values(bytes.size() / size);
    for (size_t i = 0; i < values.size(); i++) {
      const unsigned char* const at = &bytes[i * size];
      values[i] = type == sweet::DType::float32    ? load<float>(at)
                  : type == sweet::DType::bfloat16 ? sweet::to_float(load<sweet::bf16>(at))
                                                   : sweet::to_float(load<sweet::f16>(at));
    }
    return values;
  }

 private:
  template <class T>
  static T load(const unsigned char* at) {
    T value;
    memcpy(&value, at, sizeof(T));
    return value;
  }

  template <class T>
  void store(size_t i, float x) {
    T value;
    sweet::from_float(x, &value);
    memcpy(&bytes[i * sizeof(T)], &value, sizeof(T));
  }

  void put(size_t i, float x) {
    if (dtype == sweet::DType::float32) return store<float>(i, x);
    if (dtype == sweet::DType::bfloat16) return store<sweet::bf16>(i, x);
    store<sweet::f16>(i, x);
  }
};

inline const char* name_of(sweet::DType dtype) {
  return dtype == sweet::DType::float32 ? "float32" : dtype == sweet::DType::bfloat16 ? "bfloat16" : "float16";
}
