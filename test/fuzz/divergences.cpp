// head_divergence and head_divergence_backward, of logits and of linear heads, from heads and from top-k teachers.
// There is no oracle here: what is checked are bounds of the memory, equal bits for any number of threads, the rows
// that are dropped, the faults of top-k teachers, the signs and limits of D, and that the gradient of a row adds up to
// 0.
#include <cmath>

#include "../../native/divergence.h"
#include "heads.h"

namespace fuzz {
namespace {

Shape pick_shape(Reader& reader, bool linear) {
  Shape shape = {reader.pick(0, 6), reader.pick(1, 50), linear ? reader.pick(1, 18) : 0};
  if (reader.one_in(8)) shape.rows = reader.pick(1, 70), shape.vocab = reader.pick(1, 5);
  const Shape odd[] = {{2, 2047, 0}, {1, 2049, 0}, {3, 17, 0}, {1, 4100, 0}, {130, 33, 0}, {1, 16390, 0}};
  const Shape odd_linear[] = {{5, 97, 3}, {2, 193, 2}, {1, 485, 2}, {70, 12, 5}, {17, 100, 33}};
  if (reader.random() % 64 == 0) return linear ? reader.any_of(odd_linear) : reader.any_of(odd);
  return shape;
}

/** K entries of each row, one of them invalid where `fault`; the rule that the first row breaks that is read. */
struct TopKCase {
  sweet::Teacher teacher{};
  sweet::Status expected;

  TopKCase(Reader& reader, Memory& memory, const Shape& shape, const LabelCase& labels, bool fault) {
    const int64_t n = shape.rows,
                  k = reader.one_in(4) ? shape.vocab : reader.pick(1, std::min<int64_t>(shape.vocab, 7));
    int32_t* const indices = memory.take<int32_t>(n * k);
    float* const logps = memory.take<float>(n * k);
    const int64_t wrong = fault && n > 0 ? reader.pick(0, n - 1) : -1;
    for (int64_t i = 0; i < n; i++) {
      double sum = 0;
      const int64_t step = shape.vocab > 1 && reader.one_in(2) ? shape.vocab - 1 : 1,
                    first = reader.pick(0, shape.vocab - 1);
      for (int64_t j = 0; j < k; j++) {
        indices[i * k + j] = static_cast<int32_t>((first + j * step) % shape.vocab);
        const double p =
            reader.one_in(16) ? 0 : static_cast<double>(reader.pick(1, 1000)) / 1000 / static_cast<double>(k);
        logps[i * k + j] = static_cast<float>(std::log(p));
        sum += p;
      }
      // All entries are a whole distribution.
      for (int64_t j = 0; k == shape.vocab && j < k; j++) {
        float& logp = logps[i * k + j];
        logp = static_cast<float>(sum > 0 ? logp - std::log(sum) : -std::log(static_cast<double>(k)));
      }
      if (i != wrong) continue;
      const int64_t at = i * k + reader.pick(0, k - 1), kind = reader.pick(0, 2);
      const bool is_read = labels.checked[static_cast<size_t>(i)] >= 0;
      if (kind == 0) {
        const int32_t outside[] = {static_cast<int32_t>(shape.vocab), -1, INT32_MAX, INT32_MIN};
        indices[at] = reader.any_of(outside);
        if (is_read) expected = {sweet::Code::teacher_index, at, indices[at]};
      } else if (kind == 1 && k > 1) {
        indices[i * k + k - 1] = indices[i * k];
        if (is_read) expected = {sweet::Code::teacher_twice, i * k + k - 1, indices[i * k]};
      } else {
        logps[at] = 1;
        if (is_read) expected = {sweet::Code::teacher_logps, i, 0};
      }
    }
    teacher.k = k, teacher.indices = indices, teacher.logps = logps;
    teacher.tail = reader.one_in(2) ? sweet::TopKTail::bucket : sweet::TopKTail::renormalize;
  }
};

void run(const uint8_t* data, size_t size) {
  Reader reader(data, size);
  Memory memory(reader);
  pick_backend(reader);
  const bool linear = reader.one_in(2), wild = reader.one_in(3), twice = reader.one_in(3), top_k = reader.one_in(2);
  const Shape shape = pick_shape(reader, linear);
  const int64_t n = shape.rows, vocab = shape.vocab;
  LabelCase labels(reader, memory, n, vocab, false);
  HeadCase student(reader, memory, shape, wild);
  TopKCase top(reader, memory, shape, labels, top_k && reader.one_in(8));
  HeadCase other(reader, memory, {n, vocab, linear ? reader.pick(1, 18) : 0}, wild);
  if (reader.one_in(4)) other.head.temperature = student.head.temperature;
  sweet::Teacher teacher = top.teacher;
  if (!top_k) teacher = {}, teacher.head = other.head;
  const sweet::Status expected = top_k ? top.expected : sweet::Status{};

  const sweet::Divergence types[] = {sweet::Divergence::forward_kl, sweet::Divergence::reverse_kl,
                                     sweet::Divergence::jsd};
  const double betas[] = {0.5, 0.1, 0.9, 1e-3, 1e-9};
  const sweet::Divergence type = reader.any_of(types);
  const double beta = reader.any_of(betas);
  float* const out = memory.take<float>(n);
  double* const saved = memory.take<double>(n * sweet::kSavedSize);
  // There lse may be so large that it has no digits for the logarithm of a sum: ties count one each.
  const bool cold =
      std::fabs(std::log(student.head.temperature)) > 6 || std::fabs(std::log(other.head.temperature)) > 6;
  const auto hide_dropped = [&] {
    student.hide_padding();
    for (int64_t i = 0; i < n; i++) {
      if (labels.checked[static_cast<size_t>(i)] < 0) student.hide(i);
    }
  };
  hide_dropped();
  expect_status(
      memory.run({out, saved}, twice,
                 [&] {
                   return sweet::head_divergence({student.head, labels.labels, teacher, type, beta, out, saved});
                 }),
      expected);
  memory.show_all();
  if (!expected.ok()) return;
  for (int64_t i = 0; i < n; i++) {
    if (out[i] < 0) fail("D[%d] is %g", int(i), out[i]);
    if (labels.checked[static_cast<size_t>(i)] < 0 && out[i] != 0) fail("D[%d] of a dropped row is %g", int(i), out[i]);
    if (!wild && !cold && type == sweet::Divergence::jsd && out[i] > 0.7) fail("D[%d] of jsd is %g", int(i), out[i]);
  }

  sweet::HeadDivergenceBackward backward{student.head, labels.labels, teacher, type, beta, saved, nullptr, {}};
  backward.grad_divergence = memory.numbers(Pattern::normal, 1, n);
  const bool in_place = !linear && reader.one_in(3);
  backward.gradients = student.gradients(reader, in_place);
  const sweet::HeadGradients& to = backward.gradients;
  if (!in_place) hide_dropped();
  expect_status(memory.run({to.logits, to.hidden, to.weight, to.bias}, twice,
                           [&] { return sweet::head_divergence_backward(backward); }),
                expected);
  memory.show_all();
  if (linear) return;
  for (int64_t i = 0; i < n; i++) {
    double sum = 0, magnitude = 0;
    for (int64_t v = 0; v < vocab; v++) {
      const double g = oracle::value_at(half_of(student.head.dtype), to.logits, i * student.head.row_stride + v);
      sum += g, magnitude += std::fabs(g);
    }
    if (labels.checked[static_cast<size_t>(i)] < 0 && magnitude != 0) fail("a dropped row %d has a gradient", int(i));
    // Of 16-bit numbers, each is rounded; D and kappa are sums in float32.
    const double scale = std::fabs(backward.grad_divergence[i]) / student.head.temperature * (1 + out[i]);
    const double bound = 1e-2 * magnitude + 1e-4 * scale + static_cast<double>(vocab) * 1e-7;
    if (!wild && !cold && student.head.softcap == 0 && std::isfinite(sum) && !(std::fabs(sum) <= bound)) {
      fail("the gradient of row %d adds up to %g of %g", int(i), sum, magnitude);
    }
  }
}

}  // namespace
}  // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::run(data, size);
  return 0;
}
