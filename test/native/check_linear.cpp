// The linear head: log-probs, entropy and the three gradients against float64, with rows dropped, in one chunk and in
// many, at sizes around the tiles' edges, with what breaks softmaxes, and what is refused. Run once with cuBLASLt (or
// what stands in for it) and once without, this compares both with the same numbers.
#include <algorithm>
#include <cstring>

#include "../../native/device_gemm.h"
#include "../../native/device_memory.h"
#include "../../native/logps.h"
#include "checks.h"
#include "device_array.h"
#include "linear_oracle.h"
#include "shards.h"

using namespace sweet;

namespace {

struct Shape {
  int64_t rows, width, vocab;
  DType dtype;
  bool bias;
  double temperature;
  int64_t chunk_bytes;
  int64_t shift;  // numbers by which hidden states and weight are off an aligned address
};

size_t size(int64_t n) { return static_cast<size_t>(n); }

class LinearCheck {
 public:
  LinearCheck(Checks& checks, const Shape& shape)
      : checks_(checks),
        shape_(shape),
        hidden_(shape.dtype, random(shape.shift + shape.rows * shape.width, 1)),
        weight_(shape.dtype, random(shape.shift + shape.vocab * shape.width, 2 / std::sqrt(shape.width))),
        bias_(shape.dtype, random(shape.vocab, 1)),
        oracle_(shape.width, shape.temperature, unshifted(hidden_), unshifted(weight_),
                shape.bias ? bias_.values : std::vector<double>()),
        name_("linear " + std::to_string(shape.rows) + " x " + std::to_string(shape.width) + " x " +
              std::to_string(shape.vocab) + " " + name_of(shape.dtype) + (shape.bias ? " with bias" : "") + " in " +
              std::to_string(shape.chunk_bytes) + " bytes") {
    for (int64_t i = 0; i < shape.rows; i++) {
      const bool ignored = shape.rows > 2 && i % 5 == 3, masked = shape.rows > 2 && i % 5 == 1;
      labels_.push_back(ignored ? -100 : masked ? shape.vocab + 7 : checks.integer(0, shape.vocab));
      mask_.push_back(!masked);
      grad_logps_.push_back(static_cast<float>(checks.normal(0.01)));
    }
    std::vector<int64_t> counted = labels_;
    for (size_t i = 0; i < counted.size(); i++) counted[i] = mask_[i] ? labels_[i] : -1;
    expected_ = oracle_.gradients(counted, {grad_logps_.begin(), grad_logps_.end()}, 0, shape.dtype);
  }

  void run() {
    const size_t n = size(shape_.rows);
    // A dropped row is never read: what stands there is NaN on the device.
    std::vector<double> spoilt = hidden_.values;
    for (int64_t i = 0; i < shape_.rows; i++) {
      if (mask_[size(i)]) continue;
      for (int64_t h = 0; h < shape_.width; h++) spoilt[size(shape_.shift + i * shape_.width + h)] = NAN;
    }
    const Stored given_hidden(shape_.dtype, spoilt);
    const DeviceArray<unsigned char> hidden(given_hidden.bytes), weight(weight_.bytes), bias(bias_.bytes);
    const DeviceArray<int64_t> labels(labels_);
    const DeviceArray<uint8_t> mask(mask_);
    const DeviceArray<float> logps(n), lse(n), entropy(n), grad_logps(grad_logps_);
    Head head{};
    head.dtype = shape_.dtype;
    head.rows = shape_.rows;
    head.vocab_size = shape_.vocab;
    head.temperature = shape_.temperature;
    head.hidden = hidden.get() + shape_.shift * bytes_of(shape_.dtype);
    head.weight = weight.get() + shape_.shift * bytes_of(shape_.dtype);
    head.bias = shape_.bias ? bias.get() : nullptr;
    head.hidden_size = shape_.width;
    head.chunk_bytes = shape_.chunk_bytes;
    const Labels given{labels.get(), true, mask.get(), -100};
    checks_.ok(sweet::logps({head, given, {logps.get(), lse.get(), entropy.get()}}), name_);
    check_forward(logps.values(), lse.values(), entropy.values());

    std::vector<float> nan(size(shape_.rows * shape_.width), NAN);
    const DeviceArray<float> grad_hidden(nan), grad_weight(size(shape_.vocab * shape_.width)),
        grad_bias(size(shape_.vocab));
    LogpsBackward backward{head, given, lse.get(), grad_logps.get(), {}};
    backward.gradients = {nullptr, grad_hidden.get(), grad_weight.get(), shape_.bias ? grad_bias.get() : nullptr,
                          false};
    checks_.ok(logps_backward(backward), name_);
    const std::vector<float> first = grad_weight.values();
    check_gradients(grad_hidden.values(), first, grad_bias.values(), 1);
    // Twice into the same memory; and the same bits again.
    backward.gradients.accumulate = true;
    checks_.ok(logps_backward(backward), name_);
    check_gradients(grad_hidden.values(), grad_weight.values(), grad_bias.values(), 2);
    backward.gradients.accumulate = false;
    checks_.ok(logps_backward(backward), name_);
    checks_.same(grad_weight.values() == first, name_ + ": other bits on another run");

    // Each shard overwrites its own words' gradients and adds to that of the hidden states.
    merge_shards(checks_, shards_of(head), given, {logps.get(), lse.get(), entropy.get()}, name_ + " merged");
    check_forward(logps.values(), lse.values(), entropy.values());
    std::vector<float> sum(size(shape_.rows * shape_.width));
    for (const Head& shard : shards_of(head)) {
      backward.head = shard;
      backward.gradients.weight = grad_weight.get() + shard.vocab_offset * shape_.width;
      backward.gradients.bias = shape_.bias ? grad_bias.get() + shard.vocab_offset : nullptr;
      checks_.ok(logps_backward(backward), name_);
      const std::vector<float> own = grad_hidden.values();
      for (size_t i = 0; i < sum.size(); i++) sum[i] += own[i];
    }
    check_gradients(sum, grad_weight.values(), grad_bias.values(), 1);
  }

 private:
  std::vector<double> random(int64_t count, double scale) {
    std::vector<double> numbers(size(count));
    for (double& x : numbers) x = checks_.normal(scale);
    return numbers;
  }

  std::vector<double> unshifted(const Stored& stored) const {
    return std::vector<double>(stored.values.begin() + shape_.shift, stored.values.end());
  }

  void check_forward(const std::vector<float>& logps, const std::vector<float>& lse,
                     const std::vector<float>& entropy) {
    for (size_t i = 0; i < logps.size(); i++) {
      const std::string where = name_ + " row " + std::to_string(i);
      if (!mask_[i]) {
        checks_.same(logps[i] == 0 && lse[i] == 0 && entropy[i] == 0, where + " is masked");
        continue;
      }
      const double logp = labels_[i] < 0 ? 0 : oracle_.logp(i, labels_[i]);
      checks_.close(logps[i], logp, 5e-6 + 2e-6 * std::fabs(logp), where + " logp");
      checks_.close(lse[i], oracle_.lse[i], 5e-6 + 2e-6 * std::fabs(oracle_.lse[i]), where + " lse");
      checks_.close(entropy[i], oracle_.entropy[i], 2e-5 + 1e-5 * std::fabs(oracle_.entropy[i]), where + " entropy");
    }
  }

  void check_gradients(const std::vector<float>& hidden, const std::vector<float>& weight,
                       const std::vector<float>& bias, double times) {
    const auto each = [&](const std::vector<float>& ours, const std::vector<BoundedSum>& expected, const char* what) {
      for (size_t i = 0; i < expected.size(); i++) {
        checks_.close(ours[i], times * expected[i].value, times * expected[i].off + 1e-10,
                      name_ + " " + what + std::to_string(i));
      }
    };
    each(hidden, expected_.hidden, "gradient of hidden ");
    each(weight, expected_.weight, "gradient of weight ");
    if (shape_.bias) each(bias, expected_.bias, "gradient of bias ");
  }

  Checks& checks_;
  const Shape shape_;
  const Stored hidden_, weight_, bias_;
  const LinearOracle oracle_;
  const std::string name_;
  std::vector<int64_t> labels_;
  std::vector<uint8_t> mask_;
  std::vector<float> grad_logps_;
  LinearOracle::Gradients expected_;
};

/** A label that is no word, found before anything is written. */
void check_refused(Checks& checks) {
  const DeviceArray<float> hidden(std::vector<float>(6 * 4, 1.0f)), weight(std::vector<float>(9 * 4, 1.0f));
  const std::vector<float> before(36, 42.0f);
  const DeviceArray<float> out(before), rows(std::vector<float>(6, 1.0f));
  const DeviceArray<int32_t> labels(std::vector<int32_t>{3, 8, -100, 9, 2, -5});
  Head head{};
  head.dtype = DType::float32;
  head.rows = 6;
  head.vocab_size = 9;
  head.hidden_size = 4;
  head.temperature = 1;
  head.hidden = hidden.get();
  head.weight = weight.get();
  const Labels given{labels.get(), false, nullptr, -100};
  checks.fault(logps({head, given, {out.get(), out.get() + 6, nullptr}}), Code::label, 3, 9, "a label, linear");
  LogpsBackward backward{head, given, rows.get(), rows.get(), {}};
  backward.gradients = {nullptr, out.get(), out.get(), nullptr, false};
  checks.fault(logps_backward(backward), Code::label, 3, 9, "a label, linear backward");
  checks.same(out.values() == before, "a refused call of the linear head writes");
}

/** Working memory stays within what was asked for, but for what does not grow with the rows. */
void check_memory(Checks& checks) {
  const int64_t rows = 1000, width = 8, vocab = 500;
  const DeviceArray<float> hidden(std::vector<float>(size(rows * width), 0.5f));
  const DeviceArray<float> weight(std::vector<float>(size(vocab * width), 0.25f)), out(size(rows)), lse(size(rows));
  const DeviceArray<int32_t> labels(std::vector<int32_t>(size(rows), 7));
  Head head{};
  head.dtype = DType::float32;
  head.rows = rows;
  head.vocab_size = vocab;
  head.hidden_size = width;
  head.temperature = 1;
  head.hidden = hidden.get();
  head.weight = weight.get();
  const Labels given{labels.get(), false, nullptr, -100};
  const auto peak = [&](int64_t bytes) {
    head.chunk_bytes = bytes;
    sweet::device::take_peak_scratch();
    checks.ok(logps({head, given, {out.get(), lse.get(), nullptr}}), "memory of the linear head");
    return sweet::device::take_peak_scratch();
  };
  const int64_t small = peak(1), medium = peak(200000), whole = peak(0);
  checks.same(small < 30000 && medium > 150000 && medium < 260000 && whole > 4 * rows * vocab,
              "working memory of the linear head: " + std::to_string(small) + ", " + std::to_string(medium) + ", " +
                  std::to_string(whole));
}

}  // namespace

void check_linear(Checks& checks, bool small) {
  printf("%s\n", device::gemm_library().substr(0, device::gemm_library().find('\n')).c_str());
  check_refused(checks);
  check_memory(checks);
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    LinearCheck(checks, {1, 1, 1, dtype, false, 1, 0, 0}).run();
    LinearCheck(checks, {7, 5, 3, dtype, true, 1, 1, 0}).run();
    LinearCheck(checks, {9, 33, 65, dtype, true, 0.7, 2000, 1}).run();
    LinearCheck(checks, {67, 24, 130, dtype, false, 1.9, 30000, 0}).run();
    if (small) continue;
    LinearCheck(checks, {3, 8, 4101, dtype, false, 1, 0, 3}).run();
    LinearCheck(checks, {300, 16, 200, dtype, true, 1, 150000, 8}).run();
  }
}
