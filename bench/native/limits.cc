// What this machine can do at most, measured with the plainest loops there are: streaming reads, in-place updates,
// copies, multiply-adds. The benchmarks divide by these. Compiled for the machine that it runs on.
#include <napi.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

/** Calls part(t) on `count` threads at once and returns the seconds until the last is done. */
template <class Part>
double seconds(int count, Part part) {
  std::vector<std::thread> threads;
  const auto start = std::chrono::steady_clock::now();
  for (int t = 1; t < count; t++) threads.emplace_back(part, t);
  part(0);
  for (std::thread& thread : threads) thread.join();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Written, so that no loop is dropped.
volatile float sink;

struct Span {
  float* data;
  size_t size;  // a multiple of 64
};

/** Thread t's share of a Float32Array. */
Span share(const Napi::CallbackInfo& info, size_t argument, int t, int count) {
  const Napi::Float32Array array = info[argument].As<Napi::Float32Array>();
  const size_t each = array.ElementLength() / static_cast<size_t>(count) / 64 * 64;
  return {const_cast<Napi::Float32Array&>(array).Data() + each * static_cast<size_t>(t), each};
}

#if defined(__GNUC__)
// A register of this processor: wider ones would live on the stack.
#if defined(__AVX512F__)
constexpr size_t kBytes = 64;
#elif defined(__AVX__)
constexpr size_t kBytes = 32;
#else
constexpr size_t kBytes = 16;
#endif
typedef float Vector __attribute__((vector_size(kBytes), aligned(4)));
constexpr size_t kLanes = kBytes / sizeof(float);

constexpr size_t kLine = 16;  // numbers of a cache line

void read(Span span) {
  Vector sums[4]{};
  for (size_t i = 0; i < span.size; i += 4 * kLine) {
    const Vector* p = reinterpret_cast<const Vector*>(span.data + i);
#pragma GCC unroll 4
    for (size_t line = 0; line < 4; line++) __builtin_prefetch(span.data + i + 1024 + line * kLine);
#pragma GCC unroll 16
    for (size_t k = 0; k < 4 * kLine / kLanes; k++) sums[k % 4] += p[k];
  }
  sums[0] += sums[1] + sums[2] + sums[3];
  sink = sums[0][0];
}

void update(Span span) {
  for (size_t i = 0; i < span.size; i += kLanes) {
    Vector* p = reinterpret_cast<Vector*>(span.data + i);
    *p = *p * 0.999f;
  }
}

constexpr int kChains = 12;

void multiply_add(int64_t rounds) {
  Vector chain[kChains];
#pragma GCC unroll 16
  for (int i = 0; i < kChains; i++) chain[i] = Vector{} + static_cast<float>(i);
  for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) chain[i] = chain[i] * 0.999f + 0.001f;
  }
  Vector sum{};
#pragma GCC unroll 16
  for (int i = 0; i < kChains; i++) sum += chain[i];
  sink = sum[0];
}
#endif

using Loop = void (*)(Span);

Napi::Value time_loop(const Napi::CallbackInfo& info, Loop loop) {
  const int count = info[1].As<Napi::Number>().Int32Value();
  std::vector<Span> spans;
  for (int t = 0; t < count; t++) spans.push_back(share(info, 0, t, count));
  return Napi::Number::New(info.Env(), seconds(count, [&](int t) { loop(spans[static_cast<size_t>(t)]); }));
}

/** read(array, threads) -> seconds */
Napi::Value time_read(const Napi::CallbackInfo& info) { return time_loop(info, read); }

/** update(array, threads) -> seconds: every number read and written once, in place */
Napi::Value time_update(const Napi::CallbackInfo& info) { return time_loop(info, update); }

/** copy(from, to, threads) -> seconds */
Napi::Value time_copy(const Napi::CallbackInfo& info) {
  const int count = info[2].As<Napi::Number>().Int32Value();
  std::vector<Span> from, to;
  for (int t = 0; t < count; t++) {
    from.push_back(share(info, 0, t, count));
    to.push_back(share(info, 1, t, count));
  }
  return Napi::Number::New(info.Env(), seconds(count, [&](int t) {
                             const size_t i = static_cast<size_t>(t);
                             memcpy(to[i].data, from[i].data, from[i].size * sizeof(float));
                           }));
}

/** multiplyAdd(threads) -> float32 operations a second */
Napi::Value rate_multiply_add(const Napi::CallbackInfo& info) {
  const int count = info[0].As<Napi::Number>().Int32Value();
  constexpr int64_t kRounds = 4'000'000;
  const double time = seconds(count, [](int) { multiply_add(kRounds); });
  return Napi::Number::New(info.Env(), 2.0 * kLanes * kChains * kRounds * count / time);
}

/** multiplyAddBf16(threads) -> bfloat16 operations a second, 0 without the instruction */
Napi::Value rate_multiply_add_bf16(const Napi::CallbackInfo& info) {
  double rate = 0;
#ifdef __AVX512BF16__
  const int count = info[0].As<Napi::Number>().Int32Value();
  constexpr int64_t kRounds = 4'000'000;
  const double time = seconds(count, [](int) {
    __m512 chain[kChains];
    const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f));
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) chain[i] = _mm512_set1_ps(static_cast<float>(i));
    for (int64_t r = 0; r < kRounds; r++) {
#pragma GCC unroll 16
      for (int i = 0; i < kChains; i++) chain[i] = _mm512_dpbf16_ps(chain[i], x, x);
    }
    __m512 sum = _mm512_setzero_ps();
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) sum = _mm512_add_ps(sum, chain[i]);
    sink = _mm512_cvtss_f32(sum);
  });
  rate = 4.0 * kLanes * kChains * kRounds * count / time;
#endif
  return Napi::Number::New(info.Env(), rate);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("read", Napi::Function::New(env, time_read));
  exports.Set("update", Napi::Function::New(env, time_update));
  exports.Set("copy", Napi::Function::New(env, time_copy));
  exports.Set("multiplyAdd", Napi::Function::New(env, rate_multiply_add));
  exports.Set("multiplyAddBf16", Napi::Function::New(env, rate_multiply_add_bf16));
  return exports;
}

}  // namespace

NODE_API_MODULE(sweet_limits, init)
