// token_logps and its gradient over vocabularies around every width that the kernels treat apart: a vector, a block's
// stride, a segment; rows that start anywhere; data of the kinds that break softmaxes.
#include <algorithm>
#include <cstring>

#include "../../native/logps.h"
#include "checks.h"
#include "device_array.h"
#include "shards.h"

using namespace sweet;

namespace {

struct Shape {
  int64_t rows, vocab;
  int64_t padding;  // words between rows, and before the first
  DType dtype;
  double temperature;
};

enum class Data { normal, wide, rising, masked, equal, count };

std::vector<double> numbers_of(Checks& checks, const Shape& shape, Data data) {
  const int64_t stride = shape.vocab + shape.padding;
  std::vector<double> numbers(static_cast<size_t>(shape.padding + shape.rows * stride),
                              NAN);  // between rows: never read
  for (int64_t i = 0; i < shape.rows; i++) {
    for (int64_t v = 0; v < shape.vocab; v++) {
      double x = checks.normal(3);
      if (data == Data::wide) x = checks.normal(30);
      if (data == Data::rising) x = -60 + 100.0 * static_cast<double>(v) / static_cast<double>(shape.vocab);
      if (data == Data::masked && v % 3 != i % 3) x = -INFINITY;
      if (data == Data::equal) x = 2.5;
      numbers[static_cast<size_t>(shape.padding + i * stride + v)] = x;
    }
  }
  return numbers;
}

struct Expected {
  double lse, entropy;
  std::vector<double> p;
};

Expected oracle(const double* row, int64_t vocab, double temperature) {
  double largest = -INFINITY, sum = 0;
  for (int64_t v = 0; v < vocab; v++) largest = std::max(largest, row[v] / temperature);
  for (int64_t v = 0; v < vocab; v++) sum += std::exp(row[v] / temperature - largest);
  Expected expected{largest + std::log(sum), 0, std::vector<double>(static_cast<size_t>(vocab))};
  expected.entropy = expected.lse;
  for (int64_t v = 0; v < vocab; v++) {
    const double z = row[v] / temperature, p = std::exp(z - expected.lse);
    expected.p[static_cast<size_t>(v)] = p;
    if (p > 0) expected.entropy -= p * z;
  }
  return expected;
}

/** One unit in the last place of the storage type at x. */
double last_place(double x, DType dtype) {
  if (dtype == DType::float32) return 0;
  const int bits = dtype == DType::bfloat16 ? 7 : 10, least = dtype == DType::bfloat16 ? -126 : -14;
  return std::ldexp(1.0, std::max(x == 0 ? least : std::ilogb(x), least) - bits);
}

class RowCheck {
 public:
  RowCheck(Checks& checks, const Shape& shape, Data data)
      : checks_(checks),
        shape_(shape),
        stored_(shape.dtype, numbers_of(checks, shape, data)),
        logits_(stored_.bytes),
        name_(std::to_string(shape.rows) + " x " + std::to_string(shape.vocab) + " + " + std::to_string(shape.padding) +
              " " + name_of(shape.dtype) + " data " + std::to_string(static_cast<int>(data))) {
    for (int64_t i = 0; i < shape.rows; i++) {
      // A word that has a probability; some rows are dropped by their label and some by the mask.
      int64_t label = checks.integer(0, shape.vocab);
      while (std::isinf(at(i, label))) label = (label + 1) % shape.vocab;
      const bool ignored = shape.rows > 2 && i % 5 == 3, masked = shape.rows > 2 && i % 5 == 1;
      labels_.push_back(ignored ? -100 : masked ? shape.vocab + 7 : label);
      mask_.push_back(!masked);
      grad_logps_.push_back(static_cast<float>(checks.normal(1)));
    }
  }

  void run() {
    const size_t n = static_cast<size_t>(shape_.rows);
    const DeviceArray<int64_t> labels(labels_);
    const DeviceArray<uint8_t> mask(mask_);
    const DeviceArray<float> logps(n), lse(n), entropy(n), plain_logps(n), plain_lse(n), grad_logps(grad_logps_);
    const Labels given{labels.get(), true, mask.get(), -100};
    checks_.ok(sweet::logps({head(), given, {plain_logps.get(), plain_lse.get(), nullptr}}), name_);
    checks_.ok(sweet::logps({head(), given, {logps.get(), lse.get(), entropy.get()}}), name_);
    checks_.same(logps.values() == plain_logps.values(), name_ + ": entropy changes the log-probs");
    check_forward(logps.values(), lse.values(), entropy.values());
    const DeviceArray<float> merged_logps(n), merged_lse(n), merged_entropy(n);
    const LogpsOut merged{merged_logps.get(), merged_lse.get(), merged_entropy.get()};
    merge_shards(checks_, shards_of(head()), given, merged, name_ + " merged");
    check_forward(merged_logps.values(), merged_lse.values(), merged_entropy.values());

    // Into memory of its own first, then in place: the same bits, and nothing outside the rows.
    DeviceArray<unsigned char> elsewhere(std::vector<unsigned char>(stored_.bytes.size(), 0x5a));
    LogpsBackward backward{head(), given, lse.get(), grad_logps.get(), {}};
    backward.gradients.logits = first_row(elsewhere);
    checks_.ok(logps_backward(backward), name_);
    DeviceArray<unsigned char> of_shards(std::vector<unsigned char>(stored_.bytes.size(), 0x5a));
    for (const Head& shard : shards_of(head())) {
      backward.head = shard;
      backward.gradients.logits =
          static_cast<unsigned char*>(first_row(of_shards)) + shard.vocab_offset * bytes_of(shape_.dtype);
      checks_.ok(logps_backward(backward), name_);
    }
    check_shards(of_shards.values(), lse.values());
    backward.head = head();
    backward.gradients.logits = first_row(logits_);
    checks_.ok(logps_backward(backward), name_);
    check_backward(logits_.values(), elsewhere.values(), lse.values());
  }

 private:
  int64_t stride() const { return shape_.vocab + shape_.padding; }
  size_t index(int64_t i, int64_t v) const { return static_cast<size_t>(shape_.padding + i * stride() + v); }
  double at(int64_t i, int64_t v) const { return stored_.values[index(i, v)]; }

  void* first_row(const DeviceArray<unsigned char>& array) const {
    return array.get() + shape_.padding * bytes_of(shape_.dtype);
  }

  Head head() const {
    Head head{};
    head.dtype = shape_.dtype;
    head.rows = shape_.rows;
    head.vocab_size = shape_.vocab;
    head.temperature = shape_.temperature;
    head.logits = first_row(logits_);
    head.row_stride = stride();
    return head;
  }

  void check_forward(const std::vector<float>& logps, const std::vector<float>& lse,
                     const std::vector<float>& entropy) {
    for (size_t i = 0; i < logps.size(); i++) {
      const int64_t row = static_cast<int64_t>(i);
      const std::string where = name_ + " row " + std::to_string(i);
      if (expected_.size() == i) {
        expected_.push_back(oracle(&stored_.values[index(row, 0)], shape_.vocab, shape_.temperature));
      }
      const Expected& expected = expected_[i];
      if (!mask_[i]) {
        checks_.same(logps[i] == 0 && lse[i] == 0 && entropy[i] == 0, where + " is masked");
        continue;
      }
      const bool ignored = labels_[i] == -100;
      const double logp = ignored ? 0 : at(row, labels_[i]) / shape_.temperature - expected.lse;
      checks_.close(lse[i], expected.lse, 2e-6 + 2e-6 * std::fabs(expected.lse), where + " lse");
      checks_.close(logps[i], logp, 2e-6 + 2e-6 * std::fabs(logp), where + " logp");
      checks_.close(entropy[i], expected.entropy, 1e-5 + 2e-6 * std::fabs(expected.lse), where + " entropy");
    }
  }

  void check_backward(const std::vector<unsigned char>& in_place, const std::vector<unsigned char>& elsewhere,
                      const std::vector<float>& lse) {
    const std::vector<double> ours = Stored::decoded(shape_.dtype, in_place);
    const size_t word = static_cast<size_t>(bytes_of(shape_.dtype));
    const std::vector<unsigned char> untouched(word, 0x5a);
    for (size_t k = 0; k < ours.size(); k++) {
      const int64_t from_first = static_cast<int64_t>(k) - shape_.padding, i = from_first / stride();
      const int64_t v = from_first % stride();
      if (from_first >= 0 && v < shape_.vocab) {
        checks_.same(memcmp(&in_place[k * word], &elsewhere[k * word], word) == 0, name_ + ": in place differs");
        check_gradient(ours[k], i, v, lse[static_cast<size_t>(i)]);
      } else {
        checks_.same(memcmp(&in_place[k * word], &stored_.bytes[k * word], word) == 0, name_ + ": wrote between rows");
        checks_.same(memcmp(&elsewhere[k * word], untouched.data(), word) == 0, name_ + ": wrote between other rows");
      }
    }
  }

  /** Not the bits of the whole: a row may be cut where a register goes on. */
  void check_shards(const std::vector<unsigned char>& stored, const std::vector<float>& lse) {
    const std::vector<double> ours = Stored::decoded(shape_.dtype, stored);
    for (int64_t i = 0; i < shape_.rows; i++) {
      for (int64_t v = 0; v < shape_.vocab; v++) check_gradient(ours[index(i, v)], i, v, lse[static_cast<size_t>(i)]);
    }
    const size_t word = static_cast<size_t>(bytes_of(shape_.dtype));
    for (int64_t i = 0; i + 1 < shape_.rows; i++) {
      for (size_t k = index(i, shape_.vocab) * word; k < index(i + 1, 0) * word; k++) {
        checks_.same(stored[k] == 0x5a, name_ + ": a shard wrote between rows");
      }
    }
  }

  void check_gradient(double ours, int64_t row, int64_t v, double lse) {
    const size_t i = static_cast<size_t>(row);
    const bool dropped = !mask_[i] || labels_[i] == -100;
    if (dropped) return checks_.same(ours == 0, name_ + ": a dropped row has a gradient");
    const double g = grad_logps_[i] / shape_.temperature, p = expected_[i].p[static_cast<size_t>(v)];
    const double expected = g * ((v == labels_[i]) - p);
    const double given = std::fabs(g) * p * std::fabs(lse - expected_[i].lse);  // the lse came in rounded
    const double tolerance = 2e-6 * std::max(1.0, std::fabs(g)) * (p + 1e-3) + 2e-6 * std::fabs(expected);
    checks_.close(ours, expected, tolerance + 1.01 * given + last_place(expected, shape_.dtype), name_ + " gradient");
  }

  Checks& checks_;
  const Shape shape_;
  const Stored stored_;
  const DeviceArray<unsigned char> logits_;
  const std::string name_;
  std::vector<int64_t> labels_;
  std::vector<uint8_t> mask_;
  std::vector<float> grad_logps_;
  std::vector<Expected> expected_;
};

void check_refused_labels(Checks& checks) {
  const DeviceArray<float> logits(std::vector<float>(6 * 9, 1.0f)), out(std::vector<float>(6, 42.0f));
  std::vector<int32_t> labels = {3, 8, -100, 9, 2, -5};
  Head head{};
  head.dtype = DType::float32;
  head.rows = 6;
  head.vocab_size = head.row_stride = 9;
  head.temperature = 1;
  head.logits = logits.get();
  for (const auto& [index, label] : {std::pair<int64_t, int64_t>{3, 9}, {5, -5}}) {
    const DeviceArray<int32_t> given(labels);
    const Labels all{given.get(), false, nullptr, -100};
    const LogpsOut outs{out.get(), out.get(), nullptr};
    checks.fault(logps({head, all, outs}), Code::label, index, label, "a label that is no word");
    checks.same(out.values() == std::vector<float>(6, 42.0f), "a refused call writes");
    labels[3] = 0;
  }
}

}  // namespace

void check_rows(Checks& checks, bool small) {
  check_refused_labels(checks);
  const DType dtypes[] = {DType::float32, DType::bfloat16, DType::float16};
  std::vector<int64_t> vocabs = {1, 2, 3, 7, 8, 9, 33, 127, 1000, 1024, 2049, 4099, 8200, 16384, 16385};
  if (!small) vocabs.insert(vocabs.end(), {32771, 50257});
  int64_t turn = 0;
  for (const int64_t vocab : vocabs) {
    for (const DType dtype : dtypes) {
      for (const int64_t padding : {0, 1, 3, 8}) {
        const Data data = static_cast<Data>(turn++ % static_cast<int64_t>(Data::count));
        if (vocab < 3 && data == Data::masked) continue;
        if (vocab > 5000 && padding == 8) continue;
        const double temperature = turn % 4 == 0 ? 1.7 : 1.0;
        const int64_t rows = vocab > 5000 ? 1 : vocab > 500 ? 3 : 7;
        RowCheck(checks, {rows, vocab, padding, dtype, temperature}, data).run();
      }
    }
  }
}
