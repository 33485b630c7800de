// Heads and labels of a case, and the judgement of what comes out of them: log-probs and gradients.
#pragma once

#include "../../native/head.h"
#include "memory.h"
#include "oracle.h"

namespace fuzz {

using sweet::DType;

struct Shape {
  int64_t rows, vocab, width;  // width: of a linear head; 0 for logits
};

inline const oracle::Half* half_of(DType dtype) {
  return dtype == DType::float32 ? nullptr : dtype == DType::bfloat16 ? &oracle::kBfloat16 : &oracle::kFloat16;
}

inline double pick_temperature(Reader& reader) {
  if (reader.one_in(2)) return 1;
  const double common[] = {0.7, 1.3, 0.05, 3, 100, 1e-3, 1e6, 1e-30, 1e30, 2};
  return reader.any_of(common);
}

class HeadCase {
 public:
  sweet::Head head{};
  oracle::Array<double> x, errors;  // logits before the temperature, and how far float32 is off; [N, V]

  HeadCase(Reader& reader, Memory& memory, const Shape& shape, bool wild) : memory_(memory) {
    const DType dtypes[] = {DType::float32, DType::bfloat16, DType::float16};
    const double scales[] = {1, 4, 0.1, 20};
    head.dtype = reader.any_of(dtypes);
    head.rows = shape.rows, head.vocab_size = shape.vocab, head.hidden_size = shape.width;
    head.temperature = pick_temperature(reader);
    const double scale = reader.any_of(scales);
    char text[160];
    snprintf(text, sizeof(text), "%lld rows of %lld words, H %lld, dtype %d, temperature %g, scale %g; ",
             static_cast<long long>(shape.rows), static_cast<long long>(shape.vocab),
             static_cast<long long>(shape.width), static_cast<int>(head.dtype), head.temperature, scale);
    about += text;
    const int64_t n = shape.rows, words = shape.vocab, width = shape.width;
    x.resize(static_cast<size_t>(n * words));
    if (width == 0) {
      head.row_stride = words + (reader.one_in(4) ? reader.pick(1, 9) : 0);
      const int64_t padded = n == 0 ? 0 : reader.one_in(2) ? n * head.row_stride : (n - 1) * head.row_stride + words;
      void* const logits = memory.take(padded, bytes());
      head.logits = logits;
      const Pattern pattern = pick_pattern(reader, wild);
      for (int64_t i = 0; i < n; i++) {
        // Now and then one row alone is of the pattern.
        const Pattern own = pattern == Pattern::normal || i % 2 == 0 ? pattern : Pattern::normal;
        put(Numbers(reader, own, scale, words), logits, i * head.row_stride, words, x.data() + i * words);
      }
      return;
    }
    void *const hidden = memory.take(n * width, bytes()), *const weight = memory.take(words * width, bytes());
    head.hidden = hidden, head.weight = weight;
    hidden_.resize(static_cast<size_t>(n * width)), weight_.resize(static_cast<size_t>(words * width));
    const Pattern of_hidden = pick_pattern(reader, wild);
    put(Numbers(reader, of_hidden, 1, n * width), hidden, 0, n * width, hidden_.data());
    const Pattern of_weight = pick_pattern(reader, wild);
    put(Numbers(reader, of_weight, scale / std::sqrt(width), words * width), weight, 0, words * width, weight_.data());
    hidden_at_random_ = !repeats(of_hidden), weight_at_random_ = !repeats(of_weight);
    oracle::Array<double> bias(static_cast<size_t>(words));
    if (reader.one_in(2)) {
      void* const stored = memory.take(words, bytes());
      head.bias = stored;
      put(Numbers(reader, pick_pattern(reader, wild), scale, words), stored, 0, words, bias.data());
    }
    errors.resize(x.size());
    for (int64_t i = 0; i < n; i++) {
      for (int64_t v = 0; v < words; v++) x[static_cast<size_t>(i * words + v)] = bias[static_cast<size_t>(v)];
    }
    const bool at_random = hidden_at_random_ || weight_at_random_;
    oracle::project(
        n, words, width, [&](int64_t i, int64_t k) { return hidden_[static_cast<size_t>(i * width + k)]; },
        [&](int64_t k, int64_t v) { return weight_[static_cast<size_t>(v * width + k)]; },
        [](int64_t, int64_t) { return 0.0; }, at_random, x.data(), errors.data());
    for (size_t at = 0; at < x.size(); at++) {
      // A bias is one more term. What an input makes infinite or NaN is so exactly, unless float32 overflows before.
      const double own = bias[at % static_cast<size_t>(words)];
      if (std::isfinite(own)) errors[at] += oracle::sum_error(width + 2, at_random) * std::fabs(own);
      if (!std::isfinite(x[at]) && errors[at] < oracle::kInfinite) errors[at] = 0;
    }
  }

  int64_t bytes() const { return sweet::bytes_of(head.dtype); }
  const double* row(int64_t i) const { return x.data() + i * head.vocab_size; }
  const double* errors_of(int64_t i) const { return errors.empty() ? nullptr : errors.data() + i * head.vocab_size; }

  /** Row i must not be read, nor what lies between the rows. */
  void hide(int64_t i) {
    if (head.logits) memory_.hide(at(head.logits, i * head.row_stride), head.vocab_size * bytes());
    if (head.hidden) memory_.hide(at(head.hidden, i * head.hidden_size), head.hidden_size * bytes());
  }
  void hide_padding() {
    if (!head.logits) return;
    for (int64_t i = 0; i + 1 < head.rows; i++) {
      memory_.hide(at(head.logits, i * head.row_stride + head.vocab_size),
                   (head.row_stride - head.vocab_size) * bytes());
    }
  }

  /** Room for gradients at the head, with numbers to add to; `in_place`: the logits themselves. */
  sweet::HeadGradients gradients(Reader& reader, bool in_place) {
    sweet::HeadGradients out{};
    if (head.logits) {
      const int64_t padded = head.rows == 0 ? 0 : (head.rows - 1) * head.row_stride + head.vocab_size;
      out.logits = in_place ? const_cast<void*>(head.logits) : memory_.take(padded, bytes());
      return out;
    }
    out.accumulate = reader.one_in(3);
    out.hidden = memory_.numbers(Pattern::normal, 3, head.rows * head.hidden_size);
    out.weight = memory_.numbers(Pattern::normal, 3, head.vocab_size * head.hidden_size);
    if (head.bias) out.bias = memory_.numbers(Pattern::normal, 3, head.vocab_size);
    return out;
  }

  /** labels[i] < 0: row i is dropped. lse is known to lse_error. */
  void judge_gradients(const sweet::HeadGradients& ours, const int32_t* labels, const float* grad_logps,
                       const double* lse, const double* lse_error) const {
    const int64_t n = head.rows, words = head.vocab_size, width = head.hidden_size;
    oracle::Array<double> d(x.size()), bounds(x.size());
    for (int64_t i = 0; i < n; i++) {
      if (labels[i] < 0) continue;
      double *const own = d.data() + i * words, *const bound = bounds.data() + i * words;
      oracle::gradient_of(row(i), errors_of(i), words, labels[i], head.temperature, grad_logps[i], lse[i], lse_error[i],
                          own, bound);
    }
    if (head.logits) return judge_logits(ours.logits, labels, grad_logps, d, bounds);
    // Where pairs of bfloat16 are multiplied, gradients of the logits are rounded to that type before.
    const bool narrow = head.dtype == DType::bfloat16 && strcmp(active_backend(), "avx512bf16") == 0;
    for (size_t at = 0; narrow && at < d.size(); at++) bounds[at] += oracle::kBfloat16.ulp(d[at]) / 2;

    const auto d_at = [&](int64_t i, int64_t v) { return d[static_cast<size_t>(i * words + v)]; };
    const auto bound_at = [&](int64_t i, int64_t v) { return bounds[static_cast<size_t>(i * words + v)]; };
    const auto weight_at = [&](int64_t v, int64_t k) { return weight_[static_cast<size_t>(v * width + k)]; };
    // Dropped rows are never read: their gradient is 0 whatever stands there.
    const auto hidden_at = [&](int64_t i, int64_t k) {
      return labels[i] < 0 ? 0 : hidden_[static_cast<size_t>(i * width + k)];
    };
    // The gradients of logits may all be alike, whatever the inputs: under a high temperature, with one upstream
    // gradient.
    judge("gradHidden", ours.hidden, ours.accumulate, n, width, words, weight_at_random_, d_at, weight_at, bound_at,
          labels);
    const auto turned = [](const auto& f) { return [&f](int64_t a, int64_t b) { return f(b, a); }; };
    judge("gradWeight", ours.weight, ours.accumulate, words, width, n, hidden_at_random_, turned(d_at), hidden_at,
          turned(bound_at));
    if (!head.bias) return;
    judge(
        "gradBias", ours.bias, ours.accumulate, words, 1, n, false, turned(d_at), [](int64_t, int64_t) { return 1.0; },
        turned(bound_at));
  }

 private:
  const void* at(const void* data, int64_t i) const { return static_cast<const char*>(data) + i * bytes(); }

  void put(Numbers&& numbers, void* to, int64_t first, int64_t n, double* values) const {
    for (int64_t i = 0; i < n; i++) {
      store(head.dtype, to, first + i, numbers.next());
      values[i] = oracle::number_at(half_of(head.dtype), to, first + i);
    }
  }

  void judge_logits(const void* ours, const int32_t* labels, const float* grad_logps, const oracle::Array<double>& d,
                    const oracle::Array<double>& bounds) const {
    const oracle::Half* const half = half_of(head.dtype);
    const double largest = half ? half->largest() : oracle::kLargest;
    for (int64_t i = 0; i < head.rows; i++) {
      for (int64_t v = 0; v < head.vocab_size; v++) {
        const size_t word = static_cast<size_t>(i * head.vocab_size + v);
        const double own = oracle::number_at(half, ours, i * head.row_stride + v);
        const double rounded = half ? half->round(d[word]) : d[word];
        const double expected = std::isinf(rounded) ? d[word] : rounded;
        const double ulp = half && std::isfinite(d[word]) ? half->ulp(d[word]) : 0;
        const bool fine = labels[i] < 0                  ? own == 0
                          : std::isfinite(grad_logps[i]) ? oracle::is_close(own, expected, bounds[word] + ulp, largest)
                                                         : !std::isfinite(own);
        if (!fine) {
          fail("gradLogits[%d, %d] %.9g, expected %.9g +- %g of logit %g, label %d, g %g", int(i), int(v), own, d[word],
               bounds[word] + ulp, x[word], labels[i], static_cast<double>(grad_logps[i]));
        }
      }
      if (i + 1 == head.rows) break;
      const int64_t end = (i * head.row_stride + head.vocab_size) * bytes(),
                    gap = (head.row_stride - head.vocab_size) * bytes();
      if (memcmp(static_cast<const char*>(ours) + end, static_cast<const char*>(memory_.before(ours)) + end,
                 static_cast<size_t>(gap)) != 0) {
        fail("what lies between two rows of gradLogits was written");
      }
    }
  }

  template <class A, class B, class Bound>
  void judge(const char* name, const float* ours, bool accumulate, int64_t rows, int64_t columns, int64_t depth,
             bool at_random, A a, B b, Bound bound, const int32_t* labels = nullptr) const {
    const size_t size = static_cast<size_t>(rows * columns);
    oracle::Array<double> expected(size), bounds(size);
    const float* const before = static_cast<const float*>(memory_.before(ours));
    oracle::project(rows, columns, depth, a, b, bound, at_random, expected.data(), bounds.data());
    for (size_t at = 0; at < size; at++) {
      if (labels && labels[static_cast<int64_t>(at) / columns] < 0) expected[at] = bounds[at] = 0;
      if (accumulate) expected[at] += static_cast<double>(before[at]);
      // Groups of tiles and chunks of tokens are added one by one.
      if (accumulate) bounds[at] += oracle::sum_error(2 + depth / 64) * std::fabs(static_cast<double>(before[at]));
      if (bounds[at] == oracle::kInfinite) continue;
      const bool fine =
          std::isfinite(expected[at]) ? oracle::is_close(ours[at], expected[at], bounds[at]) : !std::isfinite(ours[at]);
      if (!fine) fail("%s[%d] %.9g, expected %.9g +- %g", name, int(at), ours[at], expected[at], bounds[at]);
    }
  }

  Memory& memory_;
  oracle::Array<double> hidden_, weight_;
  bool hidden_at_random_ = true, weight_at_random_ = true;
};

/** Labels of which few are not sound; a broken one in `fault` of the cases. */
struct LabelCase {
  sweet::Labels labels{};
  oracle::Array<int32_t> checked;  // as the rules have it: the word, -1 ignored, -2 masked
  sweet::Status expected;

  LabelCase(Reader& reader, Memory& memory, int64_t rows, int64_t vocab, bool fault) {
    const int64_t ignored[] = {-100, -100, -100, -1, 0, 3, int64_t{1} << 40, INT64_MIN};
    labels.wide = reader.one_in(4);
    labels.ignore_index = reader.any_of(ignored);
    uint8_t* const mask = reader.one_in(2) ? memory.take<uint8_t>(rows) : nullptr;
    void* const data = memory.take(rows, labels.wide ? 8 : 4);
    labels.data = data;
    labels.mask = mask;
    const int64_t wrong = fault && rows > 0 ? reader.pick(0, rows - 1) : -1;
    const int64_t drops[] = {2, 5, 16};
    const uint64_t drop_one_in = static_cast<uint64_t>(reader.any_of(drops));
    for (int64_t i = 0; i < rows; i++) {
      int64_t label = static_cast<int64_t>(reader.random() % static_cast<uint64_t>(vocab));
      if (reader.random() % drop_one_in == 0) label = labels.ignore_index;
      if (mask) mask[i] = reader.random() % drop_one_in == 0 ? 0 : static_cast<uint8_t>(reader.random() % 255 + 1);
      if (i == wrong || (mask && mask[i] == 0)) label = pick_wrong(reader, vocab);
      const int32_t narrow = static_cast<int32_t>(label);
      if (!labels.wide) label = narrow;
      labels.wide ? memcpy(static_cast<int64_t*>(data) + i, &label, 8)
                  : memcpy(static_cast<int32_t*>(data) + i, &narrow, 4);

      const bool masked = mask && mask[i] == 0, skipped = label == labels.ignore_index;
      checked.push_back(masked ? -2 : skipped ? -1 : narrow);
      if (!masked && !skipped && (label < 0 || label >= vocab) && expected.ok()) {
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

/** One number of a result. */
inline void expect_close(const char* name, int64_t i, double ours, double expected, double bound,
                         double largest = oracle::kLargest) {
  if (oracle::is_close(ours, expected, bound, largest)) return;
  fail("%s[%d] %.17g, expected %.17g +- %g, off %g", name, int(i), ours, expected, bound, std::fabs(ours - expected));
}

}  // namespace fuzz
