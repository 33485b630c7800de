// logps and logps_backward, of logits and of linear heads.
#include <sys/mman.h>

#include "../../native/logps.h"
#include "heads.h"

namespace fuzz {
namespace {

/** Mostly small; sizes at the limits of the kernels and for several threads come at rates that no mutation raises. */
Shape pick_shape(Reader& reader, bool linear) {
  Shape shape = {reader.pick(0, 6), reader.pick(1, 50), linear ? reader.pick(1, 18) : 0};
  if (reader.one_in(8)) shape.rows = reader.pick(1, 70), shape.vocab = reader.pick(1, 5);
  const uint64_t dice = reader.random() % 8192;
  if (linear) {
    const Shape odd[] = {{5, 97, 3},  {2, 193, 2},  {1, 485, 2}, {2, 3101, 1}, {1030, 3, 1},
                         {67, 12, 5}, {3, 4, 1030}, {2, 3, 513}, {40, 96, 4},  {17, 100, 33}};
    const Shape shared[] = {{16, 400, 24}, {130, 65, 17}, {3, 1500, 30}};
    return dice < 2 ? reader.any_of(shared) : dice < 60 ? reader.any_of(odd) : shape;
  }
  const Shape odd[] = {{2, 1023, 0}, {1, 1025, 0}, {2, 300, 0}, {1, 4095, 0}, {1, 4096, 0},
                       {2, 4101, 0}, {1, 2500, 0}, {300, 3, 0}, {1, 5100, 0}, {65, 64, 0}};
  const Shape segments[] = {{1, 16384, 0}, {2, 16385, 0}, {1, 32770, 0}};
  const Shape shared[] = {{9, 16390, 0}, {4200, 33, 0}, {4, 33000, 0}, {135, 1000, 0}};
  return dice < 1 ? reader.any_of(shared) : dice < 6 ? reader.any_of(segments) : dice < 80 ? reader.any_of(odd) : shape;
}

/** Rows whose offsets exceed 2^31 elements and 2^32 bytes give the bits of packed rows. The memory between is reserved
 * only. */
void run_far(Memory& memory, const HeadCase& packed, const LabelCase& labels) {
  constexpr size_t kReserve = size_t{1} << 34;
  static char* const far = static_cast<char*>(
      mmap(nullptr, kReserve, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (far == MAP_FAILED) fail("no addresses for rows far apart");
  const int64_t n = packed.head.rows, vocab = packed.head.vocab_size, bytes = packed.bytes();
  if (n < 2 || vocab > 4096) return;
  sweet::Head head = packed.head;
  head.row_stride = (static_cast<int64_t>(kReserve) / bytes - vocab) / (n - 1);
  head.logits = far;
  const auto row_at = [&](void* base, int64_t i, const sweet::Head& of) {
    return static_cast<char*>(base) + i * of.row_stride * bytes;
  };
  const size_t row_bytes = static_cast<size_t>(vocab * bytes);
  for (int64_t i = 0; i < n; i++)
    memcpy(row_at(far, i, head), row_at(const_cast<void*>(packed.head.logits), i, packed.head), row_bytes);

  float *const logps = memory.take<float>(n), *const lse = memory.take<float>(n);
  float *const far_logps = memory.take<float>(n), *const far_lse = memory.take<float>(n);
  sweet::logps({packed.head, labels.labels, {logps, lse, nullptr}});
  sweet::logps({head, labels.labels, {far_logps, far_lse, nullptr}});
  if (memcmp(logps, far_logps, size_t(n) * 4) != 0 || memcmp(lse, far_lse, size_t(n) * 4) != 0) fail("far rows differ");
  sweet::LogpsBackward backward{};
  backward.head = packed.head, backward.labels = labels.labels, backward.lse = lse;
  backward.grad_logps = memory.numbers(Pattern::normal, 1, n);
  backward.gradients.logits = memory.take(n * packed.head.row_stride, bytes);
  logps_backward(backward);
  void* const gradients = backward.gradients.logits;
  backward.gradients.logits = far;
  backward.head = head;
  logps_backward(backward);
  for (int64_t i = 0; i < n; i++) {
    if (memcmp(row_at(far, i, head), row_at(gradients, i, packed.head), row_bytes) != 0)
      fail("gradients far away differ");
  }
  madvise(far, kReserve, MADV_DONTNEED);
}

void run(const uint8_t* data, size_t size) {
  Reader reader(data, size);
  Memory memory(reader);
  pick_backend(reader);
  const bool linear = reader.one_in(2), wild = reader.one_in(3), twice = reader.one_in(3);
  const Shape shape = pick_shape(reader, linear);
  const bool large = shape.rows * shape.vocab * std::max<int64_t>(1, shape.hidden_size) >= 1 << 17;
  LabelCase labels(reader, memory, shape.rows, shape.vocab, reader.one_in(12));
  HeadCase rows(reader, memory, shape, wild);
  const int64_t n = shape.rows;
  if (!linear && labels.expected.ok() && reader.random() % 256 == 0) return run_far(memory, rows, labels);

  const sweet::LogpsOut out = {
      memory.take<float>(n), memory.take<float>(n), reader.one_in(2) ? memory.take<float>(n) : nullptr,
      reader.one_in(3) ? memory.take<int32_t>(n) : nullptr, reader.one_in(3) ? memory.take<float>(n) : nullptr};
  rows.hide_padding();
  for (int64_t i = 0; i < n; i++) {
    if (labels.checked[static_cast<size_t>(i)] == -2) rows.hide(i);
  }
  const auto forward = [&] { return sweet::logps({rows.head, labels.labels, out}); };
  expect_status(
      memory.run({out.logps, out.lse, out.entropy, out.argmax, out.sum_squared_probs}, twice || large, forward),
      labels.expected);
  FirstFailure comparison;
  if (labels.expected.ok()) compare_rows(comparison, rows.known, labels.checked.data(), out);

  const bool in_place = !linear && reader.one_in(3);
  sweet::LogpsBackward backward{};
  backward.head = rows.head, backward.labels = labels.labels, backward.lse = out.lse;
  const double scales[] = {1, 0.01, 1e-4, 100, 1e20};
  const double scale = reader.any_of(scales);
  const bool of_entropy = out.entropy && reader.one_in(2) && rows.is_moderate(), of_lse = reader.one_in(3);
  if (!(of_entropy || of_lse) || !reader.one_in(4)) {
    backward.grad_logps = memory.numbers(pick_pattern(reader, wild), scale, n);
  }
  if (of_entropy) backward.entropy = out.entropy, backward.grad_entropy = memory.numbers(Pattern::normal, scale, n);
  if (of_lse) backward.grad_lse = memory.numbers(Pattern::normal, scale, n);
  backward.gradients = rows.gradients(reader, in_place);
  memory.show_all();
  if (!in_place) rows.hide_padding();
  for (int64_t i = 0; i < n && !in_place; i++) {
    if (labels.checked[static_cast<size_t>(i)] < 0) rows.hide(i);
  }
  const auto back = [&] { return logps_backward(backward); };
  const sweet::HeadGradients& to = backward.gradients;
  expect_status(memory.run({to.logits, to.hidden, to.weight, to.bias}, twice || large, back), labels.expected);
  if (!labels.expected.ok()) return;
  const oracle::Array<double> lse(out.lse, out.lse + n);
  const oracle::Upstream upstream{backward.grad_logps, backward.grad_entropy, backward.entropy, backward.grad_lse};
  rows.compare_gradients(to, labels.checked.data(), upstream, lse.data(), nullptr);
}

}  // namespace
}  // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::run(data, size);
  return 0;
}
