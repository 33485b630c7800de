// Times of whole calls up to their end on the device, medians of several runs. The roofline is the bandwidth of a
// device-to-device copy of the same logits: a forward pass reads every logit once, a backward pass in place reads and
// writes it once. PyTorch's times of the same shapes are added where python3 can import it.
#include "timing.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>

#include "../../native/logps.h"
#include "../../test/native/device_array.h"

using namespace sweet;

namespace {

using Clock = std::chrono::steady_clock;

struct Shape {
  int64_t rows, vocab;
  DType dtype;
};

void time_rows(const Shape& shape, int runs, bool last) {
  const size_t n = static_cast<size_t>(shape.rows),
               bytes = n * static_cast<size_t>(shape.vocab * bytes_of(shape.dtype));
  const DeviceArray<unsigned char> logits(bytes), copy(bytes);
  fill(logits, bytes, shape.dtype, 5);
  const DeviceArray<int32_t> labels(std::vector<int32_t>(n, 7));
  const DeviceArray<float> logps(n), lse(n), grad_logps(std::vector<float>(n, 1.0f));
  Head head{};
  head.dtype = shape.dtype;
  head.rows = shape.rows;
  head.vocab_size = head.row_stride = shape.vocab;
  head.temperature = 1;
  head.logits = logits.get();
  const Labels tokens{labels.get(), false, nullptr, -100};
  LogpsBackward backward{head, tokens, lse.get(), grad_logps.get(), nullptr, nullptr, nullptr, {}};
  backward.gradients.logits = logits.get();

  const double copy_ms = median_ms(
      runs, [&] { must(cudaMemcpy(copy.get(), logits.get(), bytes, cudaMemcpyDeviceToDevice), "cudaMemcpy"); });
  const double forward_ms = median_ms(runs, [&] { sweet::logps({head, tokens, {logps.get(), lse.get(), nullptr}}); });
  const double backward_ms = median_ms(runs, [&] { logps_backward(backward); });
  const std::string torch =
      "torch_rows.py " + std::to_string(shape.rows) + " " + std::to_string(shape.vocab) + " " + name_of(shape.dtype);
  const double bandwidth = 2 * static_cast<double>(bytes) / copy_ms;  // bytes per ms, reads and writes
  printf("    {\"rows\": %lld, \"vocab\": %lld, \"dtype\": \"%s\", \"copyMs\": %.4f, \"copyGBps\": %.1f,\n",
         static_cast<long long>(shape.rows), static_cast<long long>(shape.vocab), name_of(shape.dtype), copy_ms,
         bandwidth * 1e-6);
  printf(
      "     \"forwardMs\": %.4f, \"forwardShareOfCopy\": %.3f, \"backwardMs\": %.4f, \"backwardShareOfCopy\": "
      "%.3f,\n     \"pytorch\": %s}%s\n",
      forward_ms, static_cast<double>(bytes) / forward_ms / bandwidth, backward_ms,
      2 * static_cast<double>(bytes) / backward_ms / bandwidth, python(torch).c_str(), last ? "" : ",");
}

}  // namespace

double median_ms(int runs, const std::function<void()>& operation) {
  operation();
  std::vector<double> times;
  for (int i = 0; i < runs; i++) {
    must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    const auto start = Clock::now();
    operation();
    must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
  return times[static_cast<size_t>(runs / 2)];
}

void fill(const DeviceArray<unsigned char>& memory, size_t bytes, DType dtype, double scale) {
  std::vector<double> pattern(1 << 16);
  for (size_t i = 0; i < pattern.size(); i++) {
    pattern[i] = scale * (static_cast<double>(i * 2654435761u % 1000) / 500 - 1);
  }
  const Stored stored(dtype, pattern);
  for (size_t at = 0; at < bytes; at += stored.bytes.size()) {
    const size_t count = std::min(stored.bytes.size(), bytes - at);
    must(cudaMemcpy(memory.get() + at, stored.bytes.data(), count, cudaMemcpyHostToDevice), "cudaMemcpy");
  }
}

std::string python(const std::string& arguments) {
  const std::string command = "python3 bench/cuda/" + arguments + " 2>/dev/null";
  std::string text;
  if (FILE* const pipe = popen(command.c_str(), "r")) {
    char buffer[256];
    while (fgets(buffer, sizeof(buffer), pipe)) text += buffer;
    if (pclose(pipe) != 0) text.clear();
  }
  text.erase(text.find_last_not_of('\n') + 1);
  return text.empty() ? "null" : text;
}

int run_timing(bool quick) {
  std::vector<Shape> shapes = {{8192, 128256, DType::bfloat16}, {4096, 128256, DType::float32},
                               {8192, 128256, DType::float16},  {16, 151936, DType::bfloat16},
                               {8192, 32000, DType::bfloat16},  {8191, 50257, DType::bfloat16}};
  if (quick) shapes = {{4, 1000, DType::bfloat16}, {2, 20001, DType::float32}};
  cudaDeviceProp device{};
  must(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  printf("{\n  \"device\": \"%s\",\n  \"tokenLogps\": [\n", device.name);
  for (size_t i = 0; i < shapes.size(); i++) time_rows(shapes[i], quick ? 1 : 21, i + 1 == shapes.size());
  printf("  ],\n");
  time_linear_heads(quick);
  printf("\n}\n");
  return 0;
}
