// The kernels of native/cuda against the scalar references at the start of their files. The other checks compare
// the same operations with float64 over many more shapes; these keep the references true.
#include <vector>

#include "../../native/cuda/product.h"
#include "../../native/cuda/reference.h"
#include "../../native/logps.h"
#include "../../native/turn_advantages.h"
#include "checks.h"
#include "device_array.h"

using namespace sweet;

namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

Floats random(Checks& checks, int64_t count, double scale = 1) {
  Floats numbers(static_cast<size_t>(count));
  for (float& x : numbers) x = static_cast<float>(checks.normal(scale));
  return numbers;
}

Doubles doubles(const Floats& values) { return Doubles(values.begin(), values.end()); }

void compare(Checks& checks, const Floats& ours, const Doubles& expected, double tolerance, const char* what) {
  for (size_t i = 0; i < expected.size(); i++) {
    const double bound = tolerance * (1 + std::fabs(expected[i]));
    checks.close(what, static_cast<int64_t>(i), ours[i], expected[i], bound);
  }
}

/** The same labels and gradients for both heads. */
struct Rows {
  const int64_t count, vocab_size;
  const double temperature = 1.3;
  std::vector<int32_t> labels;
  Floats grad_logps;

  Rows(Checks& checks, int64_t n, int64_t entries) : count(n), vocab_size(entries), grad_logps(random(checks, n)) {
    for (int64_t i = 0; i < n; i++) labels.push_back(static_cast<int32_t>(checks.integer(0, entries)));
  }

  Head head() const {
    Head head{};
    head.dtype = DType::float32;
    head.rows = count;
    head.vocab_size = head.row_stride = vocab_size;
    head.temperature = temperature;
    return head;
  }

  /** Runs both passes of the head on the device; expected_row(i) gives a row's results. */
  template <class ExpectedRow>
  void check(Checks& checks, const Head& head, const HeadGradients& gradients, ExpectedRow expected_row) const {
    const size_t n = static_cast<size_t>(count);
    const DeviceArray<int32_t> device_labels(labels);
    const DeviceArray<float> logps(n), lse(n), entropy(n), grad(grad_logps);
    const Labels given{device_labels.get(), false, nullptr, -100};
    checks.ok(sweet::logps({head, given, {logps.get(), lse.get(), entropy.get()}}), "reference");
    checks.ok(logps_backward({head, given, lse.get(), grad.get(), nullptr, nullptr, nullptr, gradients}),
              "reference backward");
    Doubles expected[3];
    for (size_t i = 0; i < n; i++) {
      const reference::LogpsRow row = expected_row(i);
      expected[0].push_back(row.logp), expected[1].push_back(row.lse), expected[2].push_back(row.entropy);
    }
    compare(checks, logps.values(), expected[0], 5e-6, "reference logp");
    compare(checks, lse.values(), expected[1], 5e-6, "reference lse");
    compare(checks, entropy.values(), expected[2], 2e-5, "reference entropy");
  }
};

void check_logits(Checks& checks, int64_t vocab_size) {
  const Rows rows(checks, 3, vocab_size);
  const Floats logits = random(checks, 3 * vocab_size, 3);
  const DeviceArray<float> device(logits), grad(logits.size());
  Head head = rows.head();
  head.logits = device.get();
  Doubles expected(logits.size());
  const Doubles x = doubles(logits);
  rows.check(checks, head, {grad.get(), nullptr, nullptr, nullptr, false}, [&](size_t i) {
    const size_t first = i * static_cast<size_t>(vocab_size);
    return reference::logits_row(&x[first], vocab_size, rows.labels[i], rows.temperature, rows.grad_logps[i],
                                 &expected[first]);
  });
  compare(checks, grad.values(), expected, 5e-6, "reference gradient of logits");
}

void check_linear(Checks& checks, int64_t vocab_size, int64_t hidden_size) {
  const Rows rows(checks, 5, vocab_size);
  const size_t hidden_elements = static_cast<size_t>(5 * hidden_size), v = static_cast<size_t>(vocab_size);
  const Floats hidden = random(checks, 5 * hidden_size), bias = random(checks, vocab_size);
  const Floats weight = random(checks, vocab_size * hidden_size, 0.5);
  const DeviceArray<float> device_hidden(hidden), device_weight(weight), device_bias(bias);
  const DeviceArray<float> grad_hidden(hidden_elements), grad_weight(weight.size()), grad_bias(v);
  Head head = rows.head();
  head.hidden = {device_hidden.get(), head.dtype, hidden_size, 1};
  head.weight = {device_weight.get(), head.dtype, hidden_size, 1};
  head.bias = device_bias.get();
  head.bias_dtype = head.dtype;
  head.hidden_size = hidden_size;
  Doubles of_hidden(hidden_elements), of_weight(weight.size()), of_bias(v);
  const Doubles h = doubles(hidden), w = doubles(weight), b = doubles(bias);
  rows.check(checks, head, {nullptr, grad_hidden.get(), grad_weight.get(), grad_bias.get(), false}, [&](size_t i) {
    const size_t first = i * static_cast<size_t>(hidden_size);
    return reference::linear_row(&h[first], w.data(), b.data(), vocab_size, hidden_size, rows.labels[i],
                                 rows.temperature, rows.grad_logps[i],
                                 {&of_hidden[first], of_weight.data(), of_bias.data()});
  });
  compare(checks, grad_hidden.values(), of_hidden, 1e-5, "reference gradient of hidden states");
  compare(checks, grad_weight.values(), of_weight, 1e-5, "reference gradient of weight");
  compare(checks, grad_bias.values(), of_bias, 1e-5, "reference gradient of bias");
}

void check_product(Checks& checks, int64_t rows, int64_t columns, int64_t depth) {
  const Floats a = random(checks, rows * depth), b = random(checks, depth * columns), bias = random(checks, columns);
  const DeviceArray<float> device_a(a), device_b(b), device_bias(bias), out(static_cast<size_t>(rows * columns));
  cuda::LaunchContext context;
  cuda::multiply_by_kernels(context, {DType::float32,
                                      rows,
                                      columns,
                                      depth,
                                      {device_a.get(), depth, false},
                                      {device_b.get(), columns, false},
                                      0.75f,
                                      false,
                                      out.get(),
                                      columns,
                                      device_bias.get()});
  checks.ok(context.finish(nullptr), "reference product");
  Doubles expected(static_cast<size_t>(rows * columns));
  reference::product(doubles(a).data(), doubles(b).data(), doubles(bias).data(), rows, columns, depth, 0.75,
                     expected.data());
  compare(checks, out.values(), expected, 1e-5, "reference product");
}

void check_turn(Checks& checks, int64_t tokens, bool mean) {
  const Floats logps = random(checks, tokens), ref_logps = random(checks, tokens);
  std::vector<uint8_t> mask;
  Floats weights;
  for (int64_t i = 0; i < tokens; i++) {
    mask.push_back(i == 0 || checks.integer(0, 3) > 0);
    weights.push_back(0.5f * static_cast<float>(checks.integer(i == 0, 4)));
  }
  const DeviceArray<float> device_logps(logps), device_ref(ref_logps), advantage(1), grad(logps.size());
  const DeviceArray<uint8_t> device_mask(mask);
  const DeviceArray<float> device_weights(weights);
  for (size_t i = 0; i < mask.size(); i++) weights[i] *= mask[i];
  const DeviceArray<int32_t> offsets(std::vector<int32_t>{0, static_cast<int32_t>(tokens)});
  const TurnBatch batch{tokens,        1,    {nullptr, false, device_mask.get(), 0, device_weights.get()},
                        offsets.get(), mean, false};
  Doubles expected(logps.size());
  const double of_turn =
      reference::turn_advantage(logps.data(), ref_logps.data(), weights.data(), tokens, mean, expected.data());
  checks.ok(turn_advantages({batch, device_logps.get(), device_ref.get(), advantage.get()}), "reference advantage");
  compare(checks, advantage.values(), {of_turn}, 1e-6, "reference advantage");
  const DeviceArray<float> one(Floats{1});
  checks.ok(turn_advantages_backward({batch, one.get(), grad.get()}), "reference advantage backward");
  compare(checks, grad.values(), expected, 1e-6, "reference gradient of an advantage");
}

}  // namespace

void check_cuda_references(Checks& checks) {
  checks.begin("reference");
  for (const int64_t vocab_size : {1, 9, 1030, 16390}) check_logits(checks, vocab_size);
  check_linear(checks, 70, 33);
  check_product(checks, 66, 67, 35);
  for (const bool mean : {false, true}) check_turn(checks, 77, mean);
}
