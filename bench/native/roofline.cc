// The roofline of this machine, measured with simple loops: the bandwidth of streaming reads and of in-place updates,
// and the peak rate of FMAs in registers. Compiled with -march=native.
#include <napi.h>

#include <chrono>
#include <thread>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

/** Calls part(t) on `count` threads at once; returns the seconds until the last one ends. */
template <class Part>
double seconds(int count, Part part) {
  std::vector<std::thread> threads;
  const auto start = std::chrono::steady_clock::now();
  for (int t = 1; t < count; t++) threads.emplace_back(part, t);
  part(0);
  for (std::thread& thread : threads) thread.join();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Results are stored here, so that the compiler keeps the loops.
volatile float sink;

struct Span {
  float* data;
  size_t size;  // a multiple of 64
};

// The widest vector type that fits a register of this CPU; GCC keeps wider ones on the stack.
#if defined(__AVX512F__)
constexpr size_t kBytes = 64;
#elif defined(__AVX__)
constexpr size_t kBytes = 32;
#else
constexpr size_t kBytes = 16;
#endif
typedef float Vector __attribute__((vector_size(kBytes), aligned(4)));
constexpr size_t kLanes = kBytes / sizeof(float);

constexpr size_t kLine = 16;  // float32 elements of a cache line

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

constexpr int kAccumulators = 12;
constexpr int64_t kRounds = 4'000'000;

void fma_loop() {
  Vector accumulators[kAccumulators];
#pragma GCC unroll 16
  for (int i = 0; i < kAccumulators; i++) accumulators[i] = Vector{} + static_cast<float>(i);
  for (int64_t r = 0; r < kRounds; r++) {
#pragma GCC unroll 16
    for (int i = 0; i < kAccumulators; i++) accumulators[i] = accumulators[i] * 0.999f + 0.001f;
  }
  Vector sum{};
#pragma GCC unroll 16
  for (int i = 0; i < kAccumulators; i++) sum += accumulators[i];
  sink = sum[0];
}

#ifdef __AVX512BF16__
void bf16_dot_loop() {
  __m512 accumulators[kAccumulators];
  const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f));
#pragma GCC unroll 16
  for (int i = 0; i < kAccumulators; i++) accumulators[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t r = 0; r < kRounds; r++) {
#pragma GCC unroll 16
    for (int i = 0; i < kAccumulators; i++) accumulators[i] = _mm512_dpbf16_ps(accumulators[i], x, x);
  }
  __m512 sum = _mm512_setzero_ps();
#pragma GCC unroll 16
  for (int i = 0; i < kAccumulators; i++) sum = _mm512_add_ps(sum, accumulators[i]);
  sink = _mm512_cvtss_f32(sum);
}
#endif

/** (array, threads) -> seconds; every thread runs the loop over its part of the Float32Array. */
template <void (*Loop)(Span)>
Napi::Value time_loop(const Napi::CallbackInfo& info) {
  Napi::Float32Array array = info[0].As<Napi::Float32Array>();
  const int count = info[1].As<Napi::Number>().Int32Value();
  float* const data = array.Data();
  const size_t size = array.ElementLength() / static_cast<size_t>(count) / 64 * 64;
  return Napi::Number::New(info.Env(), seconds(count, [=](int t) {
                             Loop({data + size * static_cast<size_t>(t), size});
                           }));
}

/** Floating-point operations a second of `loop`, which does `flops` of them per lane and FMA. */
double rate(int count, double flops, void (*loop)()) {
  const double fmas = static_cast<double>(kLanes) * kAccumulators * static_cast<double>(kRounds) * count;
  return flops * fmas / seconds(count, [=](int) { loop(); });
}

/** (threads) -> float32 FLOP/s */
Napi::Value fma_rate(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), rate(info[0].As<Napi::Number>().Int32Value(), 2, fma_loop));
}

/** (threads) -> bfloat16 FLOP/s of the dot-product instruction; 0 where the CPU has none */
Napi::Value bf16_dot_rate(const Napi::CallbackInfo& info) {
#ifdef __AVX512BF16__
  return Napi::Number::New(info.Env(), rate(info[0].As<Napi::Number>().Int32Value(), 4, bf16_dot_loop));
#else
  return Napi::Number::New(info.Env(), 0);
#endif
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("read", Napi::Function::New(env, time_loop<read>));
  exports.Set("update", Napi::Function::New(env, time_loop<update>));
  exports.Set("fmaRate", Napi::Function::New(env, fma_rate));
  exports.Set("bf16DotRate", Napi::Function::New(env, bf16_dot_rate));
  return exports;
}

}  // namespace

NODE_API_MODULE(sweet_roofline, init)
