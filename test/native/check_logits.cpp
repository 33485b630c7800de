// The head of logits over vocabularies around every size that the kernels treat apart: a vector, a block's stride, a
// segment. Rows start anywhere; the data are of the kinds that break softmaxes.
#include <algorithm>

#include "head_results.h"

using namespace sweet;

namespace {

size_t size(int64_t n) { return static_cast<size_t>(n); }

struct Shape {
  int64_t rows, vocab;
  int64_t padding;  // elements before the first row and between rows
  DType dtype;
  double temperature, softcap;
};

enum class Data { normal, wide, rising, masked, equal, infinite, nan, count };

double logit(Checks& checks, const Shape& shape, Data data, int64_t i, int64_t v) {
  const int64_t odd = (i * 7 + 3) % shape.vocab;
  switch (data) {
    case Data::wide:
      return checks.normal(30);
    case Data::rising:
      return -60 + 100.0 * static_cast<double>(v) / static_cast<double>(shape.vocab);
    case Data::masked:
      return shape.vocab > 2 && v % 3 != i % 3 ? -INFINITY : checks.normal(3);
    case Data::equal:
      return 2.5;
    case Data::infinite:  // rows of -inf alone, and rows with +inf
      return (i + shape.vocab) % 2 == 0 ? -INFINITY : v == odd ? INFINITY : checks.normal(3);
    case Data::nan:  // rows with NaN, and rows of one finite entry
      return (i + shape.vocab) % 2 == 0 ? v == odd ? NAN : checks.normal(3) : v == odd ? checks.normal(3) : -INFINITY;
    default:
      return checks.normal(3);
  }
}

class LogitsCheck {
 public:
  LogitsCheck(Checks& checks, const Shape& shape, Data data)
      : checks_(checks),
        shape_(shape),
        labels_(checks, shape.rows, shape.vocab, 1, shape.rows % 3 == 0),
        stored_(shape.dtype, values(data)),
        logits_(stored_.bytes) {
    known_.rows = shape.rows, known_.vocab = shape.vocab, known_.temperature = shape.temperature;
    for (int64_t i = 0; i < shape.rows; i++) {
      const auto row = stored_.values.begin() + first(i);
      known_.logits.insert(known_.logits.end(), row, row + shape.vocab);
    }
    known_.softcap = shape.softcap;
    known_.cap();
    checks.begin("logits " + std::to_string(shape.rows) + " x " + std::to_string(shape.vocab) + " + " +
                 std::to_string(shape.padding) + " " + name_of(shape.dtype) + " softcap " +
                 std::to_string(shape.softcap) + " data " + std::to_string(static_cast<int>(data)));
  }

  void run() {
    const Labels labels = labels_.labels(shape_.vocab % 2 == 1);
    const RowResults plain(shape_.rows), results(shape_.rows), merged(shape_.rows);
    checks_.ok(logps({head(), labels, {plain.logps.get(), plain.lse.get(), nullptr}}));
    checks_.ok(logps({head(), labels, results.out()}));
    checks_.expect(same_bits(plain.logps.values(), results.logps.values()), "statistics change the log-probs");
    const RowResults alone(shape_.rows);
    checks_.ok(logps({head(), labels, {alone.logps.get(), alone.lse.get(), nullptr, alone.argmax.get(), nullptr}}));
    checks_.ok(logps({head(), labels, {alone.logps.get(), alone.lse.get(), nullptr, nullptr, alone.squares.get()}}));
    checks_.expect(
        same_bits(plain.lse.values(), alone.lse.values()) && results.argmax.values() == alone.argmax.values(),
        "other bits of the argmax alone");
    checks_.expect(same_bits(results.squares.values(), alone.squares.values()), "other bits of the squares alone");
    results.compare(checks_, known_, labels_.checked);
    merge_shards(checks_, head(), labels, merged.out());
    merged.compare(checks_, known_, labels_.checked);

    const oracle::Array<double> lse = results.lse_values();
    const std::vector<float> entropy = results.entropy.values();
    const oracle::Upstream upstream = labels_.upstream(entropy);
    const oracle::Gradients expected = known_.logit_gradients(labels_.checked.data(), upstream, lse.data(), nullptr);
    const Bytes filled(stored_.bytes.size(), 0x5a);
    const DeviceArray<unsigned char> separate(filled), sharded(filled);
    LogpsBackward call = labels_.backward(head(), shape_.vocab % 2 == 1, results);
    const auto backward = [&](const Head& head, const DeviceArray<unsigned char>& to) {
      call.head = head;
      call.gradients.logits = to.get() + (first(0) + head.vocab_offset) * bytes_of(shape_.dtype);
      checks_.ok(logps_backward(call));
    };
    backward(head(), separate);
    compare_gradients(expected, separate.values(), filled);
    // Not the bits of the whole: a shard may end inside a vector of it. What follows a shard's columns is no padding.
    for (const Head& shard : shards_of(head())) backward(shard, sharded);
    const oracle::Gradients of_shards =
        known_.logit_gradients(labels_.checked.data(), upstream, lse.data(), nullptr, shape_.vocab > 1);
    compare_gradients(of_shards, sharded.values(), filled, shape_.vocab == 1);
    backward(head(), logits_);
    compare_gradients(expected, logits_.values(), stored_.bytes);
    for (int64_t i = 0; i < shape_.rows; i++) {
      checks_.expect(part(separate.values(), first(i), shape_.vocab) == part(logits_.values(), first(i), shape_.vocab),
                     "in place the bits differ in row", i);
    }
  }

 private:
  using Bytes = std::vector<unsigned char>;

  int64_t stride() const { return shape_.vocab + shape_.padding; }
  int64_t first(int64_t row) const { return shape_.padding + row * stride(); }

  /** Padding and masked rows are NaN: they are never read. */
  std::vector<double> values(Data data) {
    std::vector<double> all(size(first(shape_.rows)), NAN);
    for (int64_t i = 0; i < shape_.rows; i++) {
      if (labels_.checked[size(i)] == kMasked) continue;
      for (int64_t v = 0; v < shape_.vocab; v++) all[size(first(i) + v)] = logit(checks_, shape_, data, i, v);
    }
    return all;
  }

  Head head() const {
    Head head{};
    head.dtype = shape_.dtype;
    head.rows = shape_.rows;
    head.vocab_size = shape_.vocab;
    head.temperature = shape_.temperature;
    head.softcap = shape_.softcap;
    head.logits = logits_.get() + first(0) * bytes_of(shape_.dtype);
    head.row_stride = stride();
    head.logits_length = first(shape_.rows) - first(0);
    return head;
  }

  Bytes part(const Bytes& all, int64_t begin, int64_t count) const {
    const auto from = all.begin() + begin * bytes_of(shape_.dtype);
    return {from, from + count * bytes_of(shape_.dtype)};
  }

  /** Gradients in the rows; 0 in the padding after them, or what was there before; before the array what was there. */
  void compare_gradients(const oracle::Gradients& expected, const Bytes& ours, const Bytes& before,
                         bool cleared = true) {
    const Bytes zeros(size(shape_.padding * bytes_of(shape_.dtype)));
    compare_logit_gradients(checks_, known_, expected, labels_.checked.data(), labels_.grad_logps.data(),
                            ours.data() + first(0) * bytes_of(shape_.dtype), shape_.dtype, stride());
    for (int64_t i = 0; i <= shape_.rows; i++) {
      const int64_t begin = first(i) - shape_.padding;
      const Bytes& padding = cleared && i > 0 ? zeros : part(before, begin, shape_.padding);
      checks_.expect(part(ours, begin, shape_.padding) == padding, "padding before row", i);
    }
  }

  Checks& checks_;
  const Shape shape_;
  const RowLabels labels_;
  const Stored stored_;
  const DeviceArray<unsigned char> logits_;
  oracle::Head known_;
};

void check_refused_labels(Checks& checks) {
  checks.begin("refused labels");
  const DeviceArray<float> logits(std::vector<float>(6 * 9, 1.0f)), out(std::vector<float>(6, 42.0f));
  std::vector<int32_t> labels = {3, 8, -100, 9, 2, -5};
  Head head{};
  head.dtype = DType::float32;
  head.rows = 6;
  head.vocab_size = head.row_stride = 9;
  head.temperature = 1;
  head.logits = logits.get();
  const DeviceArray<double> stats(size(shard_elements(6, {})));
  const DeviceArray<int32_t> valid(std::vector<int32_t>(6, 1));
  checks.ok(vocab_parallel_stats({head, {valid.get(), false, nullptr, -100}, {}, stats.get()}));
  for (const auto& [index, label] : {std::pair<int64_t, int64_t>{3, 9}, {5, -5}}) {
    const DeviceArray<int32_t> given(labels);
    const Labels all{given.get(), false, nullptr, -100};
    checks.fault(logps({head, all, {out.get(), out.get(), nullptr}}), Code::label, index, label, "logps");
    const MergeVocabParallelStats merge{6, 1, {}, stats.get(), all, {out.get(), out.get(), nullptr}};
    checks.fault(merge_vocab_parallel_stats(merge), Code::label, index, label, "merge");
    checks.expect(out.values() == std::vector<float>(6, 42.0f), "a refused call writes");
    labels[3] = 0;
  }
}

}  // namespace

void check_logits(Checks& checks, bool small) {
  check_refused_labels(checks);
  std::vector<int64_t> vocabs = {1, 2, 3, 7, 8, 9, 33, 127, 1000, 1024, 2049, 4099, 8200, 16384, 16385};
  if (!small) vocabs.insert(vocabs.end(), {32771, 50257});
  int64_t turn = 0;
  for (const int64_t vocab : vocabs) {
    for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
      for (const int64_t padding : {0, 1, 3, 8}) {
        const Data data = static_cast<Data>(turn++ % static_cast<int64_t>(Data::count));
        if (vocab > 5000 && padding == 8) continue;
        const double temperature = turn % 5 == 0 ? 1.7 : 1.0;
        const int64_t rows = vocab > 5000 ? 1 : vocab > 500 ? 3 : 7;
        const double softcap = turn % 3 == 0 ? 30 : turn % 7 == 0 ? 2 : 0;
        LogitsCheck(checks, {rows, vocab, padding, dtype, temperature, softcap}, data).run();
      }
    }
  }
}
