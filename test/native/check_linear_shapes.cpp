// The linear head against float64 loops, around the edges of its tiles, its register tiles and its chunks.
#include <algorithm>
#include <cmath>

#include "../../native/logps.h"
#include "device_array.h"
#include "native_checks.h"

using namespace sweet;

namespace {

size_t size(int64_t n) { return static_cast<size_t>(n); }

struct Shape {
  int64_t rows, width, vocab;
  DType dtype;
  bool bias;
  double temperature;
};

class LinearCheck {
 public:
  LinearCheck(Checks& checks, const Shape& shape)
      : checks_(checks),
        shape_(shape),
        hidden_(shape.dtype, normals(shape.rows * shape.width, 1)),
        weight_(shape.dtype, normals(shape.vocab * shape.width, 2 / std::sqrt(static_cast<double>(shape.width)))),
        bias_(shape.dtype, normals(shape.vocab, 1)),
        name_(std::to_string(shape.rows) + " x " + std::to_string(shape.width) + " x " + std::to_string(shape.vocab) +
              " " + name_of(shape.dtype) + (shape.bias ? " with bias" : "")) {
    for (int64_t i = 0; i < shape.rows; i++) {
      labels_.push_back(static_cast<int32_t>(shape.rows > 2 && i % 5 == 3 ? -100 : checks.integer(0, shape.vocab)));
      mask_.push_back(shape.rows < 3 || i % 5 != 1);
      grad_logps_.push_back(static_cast<float>(checks.normal(1)));
    }
  }

  void run() {
    const size_t n = size(shape_.rows);
    // Memory of exactly these sizes.
    const DeviceArray<unsigned char> hidden(hidden_.bytes), weight(weight_.bytes), bias(bias_.bytes);
    const DeviceArray<int32_t> labels(labels_);
    const DeviceArray<uint8_t> mask(mask_);
    const DeviceArray<float> logps(n), lse(n), entropy(n), grad_logps(grad_logps_);
    const DeviceArray<float> grad_hidden(n * size(shape_.width)), grad_weight(size(shape_.vocab * shape_.width));
    const DeviceArray<float> grad_bias(size(shape_.vocab));
    Head head{};
    head.dtype = shape_.dtype;
    head.rows = shape_.rows;
    head.vocab_size = shape_.vocab;
    head.hidden_size = shape_.width;
    head.temperature = shape_.temperature;
    head.hidden = hidden.get();
    head.weight = weight.get();
    head.bias = shape_.bias ? bias.get() : nullptr;
    const Labels given{labels.get(), false, mask.get(), -100};
    checks_.ok(sweet::logps({head, given, {logps.get(), lse.get(), entropy.get()}}), name_);
    LogpsBackward backward{head, given, lse.get(), grad_logps.get(), {}};
    backward.gradients.hidden = grad_hidden.get();
    backward.gradients.weight = grad_weight.get();
    backward.gradients.bias = shape_.bias ? grad_bias.get() : nullptr;
    checks_.ok(logps_backward(backward), name_);

    ours_logps_ = logps.values();
    ours_lse_ = lse.values();
    ours_entropy_ = entropy.values();
    for (int64_t i = 0; i < shape_.rows; i++) check_row(i);
    compare(grad_hidden.values(), expected_hidden_, "gradHidden");
    compare(grad_weight.values(), expected_weight_, "gradWeight");
    if (shape_.bias) compare(grad_bias.values(), expected_bias_, "gradBias");
  }

 private:
  /** What is expected, and by how much ours may be off. */
  struct Sum {
    double value = 0, allowed = 0;

    void add(double d, double error, double factor) {
      value += d * factor;
      allowed += error * std::fabs(factor);
    }
  };

  std::vector<double> normals(int64_t count, double scale) {
    std::vector<double> values(size(count));
    for (double& x : values) x = checks_.normal(scale);
    return values;
  }

  // A float32 sum of n products is off by 2^-24 of its magnitudes, times sqrtn as roundings walk at random; twice that.
  static double of_sum(int64_t terms) { return 2 * std::sqrt(static_cast<double>(terms)) * 0x1p-24; }

  void check_row(int64_t row) {
    const size_t i = size(row);
    const std::string where = name_ + " row " + std::to_string(row);
    if (!mask_[i]) return checks_.same(ours_logps_[i] == 0 && ours_lse_[i] == 0, where + " is masked");
    std::vector<double> z(size(shape_.vocab));
    double largest = -INFINITY, magnitude = 0, sum = 0, entropy = 0;
    for (int64_t v = 0; v < shape_.vocab; v++) {
      double x = shape_.bias ? bias_.values[size(v)] : 0, size_of = std::fabs(x);
      for (int64_t k = 0; k < shape_.width; k++) {
        const double term = hidden_.values[size(row * shape_.width + k)] * weight_.values[size(v * shape_.width + k)];
        x += term;
        size_of += std::fabs(term);
      }
      z[size(v)] = x / shape_.temperature;
      largest = std::max(largest, z[size(v)]);
      magnitude = std::max(magnitude, size_of / shape_.temperature);
    }
    for (const double x : z) sum += std::exp(x - largest);
    const double lse = largest + std::log(sum), error = 2 * of_sum(shape_.width) * magnitude;
    for (const double x : z) entropy += std::exp(x - lse) * (lse - x);
    const double logp = labels_[i] < 0 ? 0 : z[size(labels_[i])] - lse;
    checks_.close(ours_lse_[i], lse, 2e-6 + 2e-6 * std::fabs(lse) + error, where + " lse");
    checks_.close(ours_logps_[i], logp, 2e-6 + 2e-6 * std::fabs(logp) + error, where + " logp");
    checks_.close(ours_entropy_[i], entropy, (1 + entropy) * (2e-6 + 2e-6 * std::fabs(lse) + error),
                  where + " entropy");
    if (labels_[i] >= 0) add_gradient(row, z, lse, error);
  }

  void add_gradient(int64_t row, const std::vector<double>& z, double lse, double logit_error) {
    const size_t i = size(row);
    const double g = grad_logps_[i] / shape_.temperature, rounded = std::fabs(lse) * 0x1p-24;
    // Storing a gradient of a logit in the storage type, once, is allowed.
    const double rounding = shape_.dtype == DType::float32 ? 0 : shape_.dtype == DType::bfloat16 ? 0x1p-8 : 0x1p-11;
    for (int64_t v = 0; v < shape_.vocab; v++) {
      const double p = std::exp(z[size(v)] - lse), d = g * ((v == labels_[i]) - p);
      const double error = std::fabs(g) * p * (logit_error + rounded) + std::fabs(d) * (rounding + 2e-6) + 0x1p-25;
      for (int64_t k = 0; k < shape_.width; k++) {
        const size_t to_hidden = size(row * shape_.width + k), to_weight = size(v * shape_.width + k);
        expected_hidden_[to_hidden].add(d, error + std::fabs(d) * of_sum(shape_.vocab), weight_.values[to_weight]);
        expected_weight_[to_weight].add(d, error + std::fabs(d) * of_sum(shape_.rows), hidden_.values[to_hidden]);
      }
      expected_bias_[size(v)].add(d, error + std::fabs(d) * of_sum(shape_.rows), 1);
    }
  }

  void compare(const std::vector<float>& ours, const std::vector<Sum>& expected, const char* what) {
    for (size_t at = 0; at < ours.size(); at++) {
      checks_.close(ours[at], expected[at].value, expected[at].allowed + 1e-9, name_ + " " + what);
    }
  }

  Checks& checks_;
  const Shape shape_;
  const Stored hidden_, weight_, bias_;
  const std::string name_;
  std::vector<int32_t> labels_;
  std::vector<uint8_t> mask_;
  std::vector<float> grad_logps_, ours_logps_, ours_lse_, ours_entropy_;
  std::vector<Sum> expected_hidden_{size(shape_.rows * shape_.width)};
  std::vector<Sum> expected_weight_{size(shape_.vocab * shape_.width)};
  std::vector<Sum> expected_bias_{size(shape_.vocab)};
};

}  // namespace

void check_linear(Checks& checks, bool) {
  const int64_t shapes[][3] = {{1, 1, 1},     {1, 7, 2},     {5, 1, 65},    {7, 33, 95}, {3, 8, 96},   {4, 9, 97},
                               {13, 17, 129}, {2, 65, 4099}, {67, 31, 257}, {301, 5, 3}, {1101, 3, 5}, {90, 6, 1050}};
  int turn = 0;
  for (const auto& shape : shapes) {
    for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
      turn++;
      LinearCheck(checks, {shape[0], shape[1], shape[2], dtype, turn % 2 == 0, turn % 3 == 0 ? 1.7 : 1.0}).run();
    }
  }
}
