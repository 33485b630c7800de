// Heads and labels of a case, valid or with one broken rule, and the comparison of gradients at a head.
#pragma once

#include "../../native/head.h"
#include "memory.h"

namespace fuzz {

using sweet::DType;

struct Shape {
  int64_t rows, vocab, hidden_size;  // hidden_size 0: logits
};

inline double pick_temperature(Reader& reader) {
  if (reader.one_in(2)) return 1;
  const double common[] = {0.7, 1.3, 0.05, 3, 100, 1e-3, 1e6, 1e-30, 1e30, 2};
  return reader.any_of(common);
}

class HeadCase {
 public:
  sweet::Head head{};
  oracle::Head known;

  HeadCase(Reader& reader, Memory& memory, const Shape& shape, bool wild) : memory_(memory) {
    const DType dtypes[] = {DType::float32, DType::bfloat16, DType::float16};
    const double scales[] = {1, 4, 0.1, 20};
    head.dtype = reader.any_of(dtypes);
    head.rows = shape.rows, head.vocab_size = shape.vocab, head.hidden_size = shape.hidden_size;
    head.temperature = pick_temperature(reader);
    const double scale = reader.any_of(scales);
    char text[160];
    snprintf(text, sizeof(text), "%lld rows of V %lld, H %lld, dtype %d, temperature %g, scale %g; ",
             static_cast<long long>(shape.rows), static_cast<long long>(shape.vocab),
             static_cast<long long>(shape.hidden_size), static_cast<int>(head.dtype), head.temperature, scale);
    about += text;
    const int64_t n = shape.rows, vocab = shape.vocab, hidden_size = shape.hidden_size;
    known.rows = n, known.vocab = vocab, known.hidden_size = hidden_size, known.temperature = head.temperature;
    // At a temperature of 1e-30 the last bit of a capped logit is larger than all of the entropy's terms.
    if (reader.one_in(4) && is_moderate()) {
      const double softcaps[] = {30, 50, 1, 0.01, 1000, 1e6};
      head.softcap = known.softcap = reader.any_of(softcaps);
      snprintf(text, sizeof(text), "softcap %g; ", head.softcap);
      about += text;
    }
    // dpbf16ps takes subnormal operands and results for 0.
    if (bf16_pairs()) known.smallest = 0x1.02p-126;
    if (hidden_size == 0) {
      known.logits.resize(oracle::size(n * vocab));
      head.row_stride = vocab + (reader.one_in(4) ? reader.pick(1, 9) : 0);
      const int64_t padded = n == 0 ? 0 : reader.one_in(2) ? n * head.row_stride : (n - 1) * head.row_stride + vocab;
      void* const logits = memory.take(padded, bytes());
      head.logits = logits, head.logits_length = padded;
      const Pattern pattern = pick_pattern(reader, wild);
      for (int64_t i = 0; i < n; i++) {
        // In some cases every other row alone has the pattern.
        const Pattern own = pattern == Pattern::normal || i % 2 == 0 ? pattern : Pattern::normal;
        put(Numbers(reader, own, scale, vocab), logits, i * head.row_stride, vocab, known.logits.data() + i * vocab,
            head.dtype);
      }
      known.cap();
      return;
    }
    const int64_t stride = hidden_size + (reader.one_in(4) ? reader.pick(1, 9) : 0);
    const int64_t spread = n == 0 ? 0 : reader.one_in(2) ? n * stride : (n - 1) * stride + hidden_size;
    const DType of_hidden_states = head.dtype, of_weights = reader.one_in(4) ? reader.any_of(dtypes) : head.dtype;
    if (of_weights != of_hidden_states) head.dtype = DType::float32;
    if (of_weights != of_hidden_states || !bf16_pairs()) known.smallest = 0;
    known.transposed = reader.one_in(3);
    void* const hidden = memory.take(spread, sweet::bytes_of(of_hidden_states));
    void* const weight = memory.take(vocab * hidden_size, sweet::bytes_of(of_weights));
    head.hidden = {hidden, of_hidden_states, stride, 1}, head.weight = {weight, of_weights, hidden_size, 1};
    if (known.transposed) head.weight.row_stride = 1, head.weight.column_stride = vocab;
    snprintf(text, sizeof(text), "weight of dtype %d%s; ", static_cast<int>(of_weights),
             known.transposed ? ", [H, V]" : "");
    about += text;
    known.hidden.resize(oracle::size(n * hidden_size)), known.weight.resize(oracle::size(vocab * hidden_size));
    const Pattern of_hidden = pick_pattern(reader, wild);
    Numbers of_rows(reader, of_hidden, 1, n * hidden_size);
    for (int64_t i = 0; i < n; i++)
      put(of_rows, hidden, i * stride, hidden_size, known.hidden.data() + i * hidden_size, of_hidden_states);
    const Pattern of_weight = pick_pattern(reader, wild);
    oracle::Array<double> stored(known.weight.size());
    put(Numbers(reader, of_weight, scale / std::sqrt(hidden_size), vocab * hidden_size), weight, 0, vocab * hidden_size,
        stored.data(), of_weights);
    for (int64_t i = 0; i < vocab * hidden_size; i++) {
      const int64_t v = i / hidden_size, k = i % hidden_size;
      known.weight[oracle::size(i)] = stored[oracle::size(known.transposed ? k * vocab + v : i)];
    }
    known.hidden_at_random = !repeats(of_hidden), known.weight_at_random = !repeats(of_weight);
    if (reader.one_in(2)) {
      head.bias_dtype = reader.one_in(2) ? of_weights : DType::float32;
      void* const bias = memory.take(vocab, sweet::bytes_of(head.bias_dtype));
      head.bias = bias;
      known.bias.resize(oracle::size(vocab));
      put(Numbers(reader, pick_pattern(reader, wild), scale, vocab), bias, 0, vocab, known.bias.data(),
          head.bias_dtype);
    }
    known.project();
    known.cap();
  }

  /** Whether the temperature is one that models are used with. */
  bool is_moderate() const { return head.temperature >= 1e-3 && head.temperature <= 1e3; }

  int64_t bytes() const { return sweet::bytes_of(head.dtype); }

  /** Row i must not be read, nor what lies between the rows. */
  void hide(int64_t i) {
    if (head.logits) memory_.hide(at(head.logits, i * head.row_stride), head.vocab_size * bytes());
    if (!head.logits) memory_.hide(head.hidden.at(i, 0), head.hidden_size * sweet::bytes_of(head.hidden.dtype));
  }
  void hide_padding() {
    for (int64_t i = 0; i + 1 < head.rows; i++) {
      if (head.logits) {
        memory_.hide(at(head.logits, i * head.row_stride + head.vocab_size),
                     (head.row_stride - head.vocab_size) * bytes());
      } else {
        memory_.hide(head.hidden.at(i, head.hidden_size),
                     (head.hidden.row_stride - head.hidden_size) * sweet::bytes_of(head.hidden.dtype));
      }
    }
  }

  /** Memory for gradients at the head, with numbers to add to; `in_place`: the logits themselves. */
  sweet::HeadGradients gradients(Reader& reader, bool in_place) {
    sweet::HeadGradients out{};
    if (head.logits) {
      out.logits = in_place ? const_cast<void*>(head.logits) : memory_.take(head.logits_length, bytes());
      return out;
    }
    out.accumulate = reader.one_in(3);
    const bool frozen_weight = reader.one_in(6), frozen_hidden = !frozen_weight && reader.one_in(6);
    if (!frozen_hidden) out.hidden = memory_.numbers(Pattern::normal, 3, head.rows * head.hidden_size);
    if (frozen_weight) return out;
    out.weight = memory_.numbers(Pattern::normal, 3, head.vocab_size * head.hidden_size);
    if (head.bias) out.bias = memory_.numbers(Pattern::normal, 3, head.vocab_size);
    return out;
  }

  /** lse is known to lse_errors (null: exactly). one_pass: an update may scale the gradients after it rounds them. */
  void compare_gradients(const sweet::HeadGradients& ours, const int32_t* labels, const oracle::Upstream& upstream,
                         const double* lse, const double* lse_errors, bool one_pass = false) const {
    oracle::Gradients of_logits = known.logit_gradients(labels, upstream, lse, lse_errors);
    FirstFailure comparison;
    if (head.logits) {
      compare_logit_gradients(comparison, known, of_logits, labels, upstream.grad_logps, ours.logits, head.dtype,
                              head.row_stride);
      return expect_padding_zero(ours.logits);
    }
    // Where pairs of bfloat16 are multiplied, gradients of the logits are rounded to that type before.
    for (size_t i = 0; bf16_pairs() && i < of_logits.values.size(); i++) {
      const double value = of_logits.values[i];
      if (std::isfinite(value))
        of_logits.bounds[i] += one_pass ? std::fabs(value) * 0x1p-8 : oracle::kBfloat16.ulp(value) / 2;
    }
    const auto before = [&](const float* array) {
      return ours.accumulate && array ? static_cast<const float*>(memory_.before(array)) : nullptr;
    };
    compare_head_gradients(comparison, known, of_logits, labels, ours,
                           {before(ours.hidden), before(ours.weight), before(ours.bias)});
  }

 private:
  bool bf16_pairs() const { return head.dtype == DType::bfloat16 && strcmp(active_backend(), "avx512bf16") == 0; }

  const void* at(const void* data, int64_t i) const { return static_cast<const char*>(data) + i * bytes(); }

  static void put(Numbers&& numbers, void* to, int64_t first, int64_t n, double* values, DType dtype) {
    put(numbers, to, first, n, values, dtype);
  }

  static void put(Numbers& numbers, void* to, int64_t first, int64_t n, double* values, DType dtype) {
    for (int64_t i = 0; i < n; i++) {
      store(dtype, to, first + i, numbers.next());
      values[i] = oracle::value_at(half_of(dtype), to, first + i);
    }
  }

  void expect_padding_zero(const void* gradients) const {
    if (!sweet::has_padding(head)) return;
    for (int64_t i = 0; i < head.logits_length; i++) {
      if (i % head.row_stride < head.vocab_size) continue;
      if (oracle::value_at(half_of(head.dtype), gradients, i) != 0) fail("the padding of gradLogits is not 0");
    }
  }

  Memory& memory_;
};

/** Labels, one of them invalid where `fault`. */
struct LabelCase {
  sweet::Labels labels{};
  oracle::Array<int32_t> checked;  // as in layout.h: the token id, -1 ignored, -2 masked
  sweet::Status expected;

  LabelCase(Reader& reader, Memory& memory, int64_t rows, int64_t vocab, bool fault) {
    const int64_t ignore_indices[] = {-100, -100, -100, -1, 0, 3, int64_t{1} << 40, INT64_MIN};
    labels.wide = reader.one_in(4);
    labels.ignore_index = reader.any_of(ignore_indices);
    uint8_t* const mask = reader.one_in(2) ? memory.take<uint8_t>(rows) : nullptr;
    void* const data = memory.take(rows, labels.wide ? 8 : 4);
    labels.data = data;
    labels.mask = mask;
    const int64_t wrong = fault && rows > 0 ? reader.pick(0, rows - 1) : -1;
    const int64_t rates[] = {2, 5, 16};
    const uint64_t skip_one_in = static_cast<uint64_t>(reader.any_of(rates));
    for (int64_t i = 0; i < rows; i++) {
      int64_t label = static_cast<int64_t>(reader.random() % static_cast<uint64_t>(vocab));
      if (reader.random() % skip_one_in == 0) label = labels.ignore_index;
      if (mask) mask[i] = reader.random() % skip_one_in == 0 ? 0 : static_cast<uint8_t>(reader.random() % 255 + 1);
      if (i == wrong || (mask && mask[i] == 0)) label = pick_wrong(reader, vocab);
      const int32_t narrow = static_cast<int32_t>(label);
      if (!labels.wide) label = narrow;
      labels.wide ? memcpy(static_cast<int64_t*>(data) + i, &label, 8)
                  : memcpy(static_cast<int32_t*>(data) + i, &narrow, 4);

      const bool masked = mask && mask[i] == 0, ignored = label == labels.ignore_index;
      checked.push_back(masked ? -2 : ignored ? -1 : narrow);
      if (!masked && !ignored && (label < 0 || label >= vocab) && expected.ok()) {
        expected = {sweet::Code::label, i, label};
      }
    }
  }

 private:
  static int64_t pick_wrong(Reader& reader, int64_t vocab) {
    const int64_t wrong[] = {vocab, -1, -2, -7, INT32_MAX, INT32_MIN, (int64_t{1} << 32) + 1, INT64_MAX, vocab + 1};
    return reader.any_of(wrong);
  }
};

}  // namespace fuzz
