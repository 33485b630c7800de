// The linear head: log-probs, entropy and the three gradients, in one chunk and in many, around the edges of tiles,
// register tiles and chunks, from unaligned addresses, with masked vocabulary entries and NaN. sweet_cuda_check runs
// with cuBLASLt and without it.
#include "head_results.h"

using namespace sweet;

namespace {

size_t size(int64_t n) { return static_cast<size_t>(n); }

struct Shape {
  int64_t rows, hidden_size, vocab;
  int64_t chunk_bytes;
  int64_t offset;  // elements by which hidden states and weight are off an aligned address
  bool bias;
  int64_t gap = 0;          // elements between hidden states
  bool transposed = false;  // the weight is [H, V]
  bool mixed = false;       // the weight has another type
};

DType weight_dtype(const Shape& shape, DType dtype) {
  return shape.mixed ? static_cast<DType>((static_cast<int>(dtype) + 1) % 3) : dtype;
}

/** Both of the types that a bias may have. */
DType bias_dtype(const Shape& shape, DType dtype) {
  return shape.mixed == shape.transposed ? weight_dtype(shape, dtype) : DType::float32;
}

/** [rows, columns] after `offset` elements, as [columns, rows]. */
std::vector<double> transposed(const std::vector<double>& from, int64_t offset, int64_t rows, int64_t columns) {
  std::vector<double> to = from;
  for (int64_t i = 0; i < rows * columns; i++) {
    to[size(offset + i % columns * rows + i / columns)] = from[size(offset + i)];
  }
  return to;
}

class LinearCheck {
 public:
  /** hard: one row of hidden states is NaN; vocabulary entries are masked by a bias of -inf. */
  LinearCheck(Checks& checks, const Shape& shape, DType dtype, double temperature, double softcap, double grad_scale,
              bool hard)
      : checks_(checks),
        labels_(checks, shape.rows, shape.vocab, grad_scale, shape.rows % 3 == 0),
        hidden_(dtype, hidden(shape, hard)),
        weight_(weight_dtype(shape, dtype),
                checks.normals(shape.offset + shape.vocab * shape.hidden_size, 2 / std::sqrt(shape.hidden_size))),
        bias_(bias_dtype(shape, dtype), bias(shape, hard)),
        device_hidden_(hidden_.bytes),
        device_weight_(weight_.bytes),
        device_bias_(bias_.bytes),
        known_(linear_oracle(shape.mixed ? DType::float32 : dtype, shape.rows, shape.vocab, shape.hidden_size,
                             temperature)) {
    for (int64_t i = 0; i < shape.rows; i++) {
      const auto row = hidden_.values.begin() + shape.offset + i * (shape.hidden_size + shape.gap);
      known_.hidden.insert(known_.hidden.end(), row, row + shape.hidden_size);
    }
    known_.weight.assign(weight_.values.begin() + shape.offset, weight_.values.end());
    known_.transposed = shape.transposed;
    if (shape.transposed) {
      const std::vector<double> rows = transposed(weight_.values, shape.offset, shape.hidden_size, shape.vocab);
      known_.weight.assign(rows.begin() + shape.offset, rows.end());
    }
    known_.bias.assign(bias_.values.begin(), bias_.values.end());
    project(known_);
    known_.softcap = softcap;
    known_.cap();
    head_.dtype = shape.mixed ? DType::float32 : dtype;
    head_.rows = shape.rows;
    head_.vocab_size = shape.vocab;
    head_.temperature = temperature;
    head_.softcap = softcap;
    head_.hidden = {device_hidden_.get() + shape.offset * bytes_of(dtype), dtype, shape.hidden_size + shape.gap, 1};
    head_.weight = {device_weight_.get() + shape.offset * bytes_of(weight_.dtype), weight_.dtype, shape.hidden_size, 1};
    if (shape.transposed) head_.weight.row_stride = 1, head_.weight.column_stride = shape.vocab;
    head_.bias = shape.bias ? device_bias_.get() : nullptr;
    head_.bias_dtype = bias_.dtype;
    head_.hidden_size = shape.hidden_size;
    head_.chunk_bytes = shape.chunk_bytes;
    checks.begin("linear " + std::to_string(shape.rows) + " x " + std::to_string(shape.hidden_size) + " x " +
                 std::to_string(shape.vocab) + " " + name_of(dtype) + (shape.bias ? " with bias" : "") +
                 (hard ? ", hard" : "") + " in " + std::to_string(shape.chunk_bytes) + " bytes");
  }

  void run() {
    const Labels labels = labels_.labels(head_.vocab_size % 2 == 1);
    const RowResults results(head_.rows), merged(head_.rows);
    checks_.ok(logps({head_, labels, results.out()}));
    results.compare(checks_, known_, labels_.checked);

    const oracle::Array<double> lse = results.lse_values();
    const std::vector<float> entropy = results.entropy.values();
    const auto gradients_at_logits = [&](bool shards) {
      oracle::Gradients gradients =
          known_.logit_gradients(labels_.checked.data(), labels_.upstream(entropy), lse.data(), nullptr, shards);
      add_storage_rounding(gradients, head_.dtype, head_.temperature, labels_.bounds(entropy));
      return gradients;
    };
    const oracle::Gradients expected = gradients_at_logits(false);
    const LinearGradients gradients(head_);
    LogpsBackward call = labels_.backward(head_, head_.vocab_size % 2 == 1, results);
    call.gradients = gradients.out();
    const auto backward = [&](bool accumulate) {
      const LinearGradients::Values before = gradients.values();
      call.gradients.accumulate = accumulate;
      checks_.ok(logps_backward(call));
      compare_linear_gradients(checks_, known_, expected, labels_.checked, gradients.values(),
                               accumulate ? &before : nullptr);
    };
    backward(false);
    const LinearGradients::Values first = gradients.values();
    backward(true);
    backward(false);
    checks_.expect(same_bits(gradients.values().weight, first.weight), "other bits on another run");
    for (const bool frozen_weight : {true, false}) {
      const LinearGradients alone(head_);
      call.gradients = frozen_weight ? alone.of_hidden() : alone.of_weight();
      checks_.ok(logps_backward(call));
      checks_.expect(same_unless_frozen(alone.values(), first, call.gradients), "other bits where a part is frozen");
    }
    call.gradients = gradients.out();

    // A shard overwrites the gradients of its own entries; those of the hidden states add up.
    merge_shards(checks_, head_, labels, merged.out());
    merged.compare(checks_, known_, labels_.checked);
    std::vector<double> sum(first.hidden.size());
    LinearGradients::Values all = gradients.values();
    for (const Head& shard : shards_of(head_)) {
      const LinearGradients part(shard);
      call.head = shard;
      call.gradients = part.out();
      checks_.ok(logps_backward(call));
      const LinearGradients::Values own = part.values();
      for (size_t i = 0; i < sum.size(); i++) sum[i] += own.hidden[i];
      const int64_t v = shard.vocab_offset;
      for (int64_t i = 0; i < shard.vocab_size * shard.hidden_size; i++) {
        const int64_t entry = i / shard.hidden_size, column = i % shard.hidden_size;
        all.weight[size(grad_weight_index(head_, v + entry, column))] =
            own.weight[size(grad_weight_index(shard, entry, column))];
      }
      std::copy(own.bias.begin(), own.bias.end(), all.bias.begin() + (head_.bias ? v : 0));
    }
    all.hidden.assign(sum.begin(), sum.end());
    compare_linear_gradients(checks_, known_, gradients_at_logits(head_.vocab_size > 1), labels_.checked, all);
  }

 private:
  /** Masked rows and what lies between rows are NaN: they are never read. */
  std::vector<double> hidden(const Shape& shape, bool hard) {
    const int64_t stride = shape.hidden_size + shape.gap;
    std::vector<double> values = checks_.normals(shape.offset + shape.rows * stride, 1);
    for (int64_t i = 0; i < shape.rows; i++) {
      const auto row = values.begin() + shape.offset + i * stride;
      std::fill_n(row + shape.hidden_size, shape.gap, NAN);
      if (labels_.checked[size(i)] == kMasked || (hard && i == 2)) std::fill_n(row, shape.hidden_size, NAN);
    }
    return values;
  }

  std::vector<double> bias(const Shape& shape, bool hard) {
    std::vector<double> values = checks_.normals(shape.bias ? shape.vocab : 0, 1);
    for (size_t v = 3; hard && v < values.size(); v += 7) values[v] = -INFINITY;
    return values;
  }

  Checks& checks_;
  const RowLabels labels_;
  const Stored hidden_, weight_, bias_;
  const DeviceArray<unsigned char> device_hidden_, device_weight_, device_bias_;
  oracle::Head known_;
  Head head_{};
};

/** An invalid label, found before anything is written. */
void check_refused(Checks& checks) {
  checks.begin("refused labels, linear");
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
  head.hidden = {hidden.get(), DType::float32, 4, 1};
  head.weight = {weight.get(), DType::float32, 4, 1};
  const Labels given{labels.get(), false, nullptr, -100};
  checks.fault(logps({head, given, {out.get(), out.get() + 6, nullptr}}), Code::label, 3, 9, "logps");
  const HeadGradients gradients{nullptr, out.get(), out.get(), nullptr, false};
  LogpsBackward backward{};
  backward.head = head, backward.labels = given, backward.lse = backward.grad_logps = rows.get();
  backward.gradients = gradients;
  checks.fault(logps_backward(backward), Code::label, 3, 9, "logps_backward");
  checks.expect(out.values() == before, "a refused call writes");
}

}  // namespace

void check_linear(Checks& checks, bool small) {
  check_refused(checks);
  std::vector<Shape> shapes = {{1, 1, 1, 0, 0, false},
                               {7, 5, 3, 1, 0, true},
                               {9, 33, 65, 2000, 1, true, 3},
                               {9, 33, 65, 2000, 1, true, 3, true},
                               {13, 18, 130, 9000, 0, true, 0, false, true},
                               {7, 33, 99, 4000, 1, false, 0, true, true},
                               {67, 24, 130, 30000, 0, false}};
  const std::vector<Shape> more = {{1, 7, 2, 0, 0, true},
                                   {300, 2, 3, 0, 0, true},
                                   {5, 1, 65, 0, 2, false},
                                   {7, 33, 95, 0, 0, true},
                                   {3, 8, 96, 0, 0, false},
                                   {4, 9, 97, 0, 5, true},
                                   {13, 17, 129, 0, 0, false},
                                   {3, 8, 4101, 0, 3, false},
                                   {300, 16, 200, 150000, 8, true},
                                   {5, 1, 65, 0, 2, true, 0, true},
                                   {6, 40, 1, 0, 0, true, 0, true},
                                   {130, 50, 98, 0, 3, true, 0, true},
                                   {70, 8, 301, 20000, 3, true, 2, true, true}};
  // Around the tiles and chunks of the CPU; slow on the emulator.
  const std::vector<Shape> of_cpu = {{2, 65, 4099, 0, 0, true},
                                     {67, 31, 257, 0, 1, true},
                                     {301, 5, 3, 0, 0, false},
                                     {1101, 3, 5, 0, 0, true},
                                     {90, 6, 1050, 0, 0, false},
                                     {1101, 6, 650, 0, 1, true, 0, true},
                                     {67, 210, 257, 0, 0, true, 0, true, true}};
  if (!small) shapes.insert(shapes.end(), more.begin(), more.end());
  if (!small && kOnCpu) shapes.insert(shapes.end(), of_cpu.begin(), of_cpu.end());
  int turn = 0;
  for (const Shape& shape : shapes) {
    for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
      turn++;
      const double temperature = turn % 5 == 0 ? 1.7 : turn % 5 == 3 ? 0.7 : 1;
      const double softcap = turn % 4 == 2 ? 3 : 0;
      LinearCheck(checks, shape, dtype, temperature, softcap, turn % 2 ? 1 : 0.01, false).run();
    }
    if (shape.bias) LinearCheck(checks, shape, static_cast<DType>(turn / 3 % 3), 1, turn % 2 * 8, 1, true).run();
  }
}
