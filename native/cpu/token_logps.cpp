// Rows of logits: one pass over memory forward, one read and one write backward. A row is cut into segments that are
// the items of work, so that few long rows keep every thread busy as well.
#include "../token_logps.h"

#include <algorithm>
#include <cstring>

#include "../backend.h"
#include "../scratch.h"
#include "active.h"
#include "parallel.h"
#include "rows.h"

namespace sweet {
namespace {

float logit_at(const void* logits, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::float32:
      return static_cast<const float*>(logits)[i];
    case DType::bfloat16:
      return to_float(static_cast<const bf16*>(logits)[i]);
    case DType::float16:
      break;
  }
  return to_float(static_cast<const f16*>(logits)[i]);
}

void set_grad_at(void* grad, DType dtype, int64_t i, double value) {
  const float x = static_cast<float>(value);
  switch (dtype) {
    case DType::float32:
      return from_float(x, static_cast<float*>(grad) + i);
    case DType::bfloat16:
      return from_float(x, static_cast<bf16*>(grad) + i);
    case DType::float16:
      return from_float(x, static_cast<f16*>(grad) + i);
  }
}

constexpr int64_t kManyRows = 8;  // a thread

// A gradient so large is out of the caches before anybody reads it; written past them, its memory is not read first.
constexpr int64_t kStreamBytes = int64_t{1} << 25;

/** Item k of the work is segment k % per_row of row k / per_row. */
struct Cut {
  int64_t per_row, bytes, vocab, stride;

  explicit Cut(const Head& head)
      : per_row((head.vocab + kSegment - 1) / kSegment),
        bytes(bytes_of(head.dtype)),
        vocab(head.vocab),
        stride(head.stride) {}

  int64_t row(int64_t item) const { return item / per_row; }
  int64_t first_word(int64_t item) const { return item % per_row * kSegment; }
  int64_t words(int64_t item) const { return std::min(kSegment, vocab - first_word(item)); }
  int64_t byte_offset(int64_t item) const { return (row(item) * stride + first_word(item)) * bytes; }
};

}  // namespace

Status logits_forward(const Head& head, const int32_t* labels, const RowsOut& out) {
  const Kernels& kernels = active_kernels();
  const Cut cut(head);
  Scratch<RowSums> sums(head.rows * cut.per_row);
  if (!sums.ok()) return {Code::memory};

  const char* const logits = static_cast<const char*>(head.logits);
  const float slope = slope_of(head.temperature);
  const auto sum_segment = [&](int64_t item) {
    RowSums segment = kNothingSeen;
    kernels.sum_words(&segment, logits + cut.byte_offset(item), head.dtype, cut.words(item), slope, out.with_entropy());
    sums[item] = segment;
  };
  const auto finish = [&](int64_t i) {
    const int32_t label = labels[i];
    const float label_logit = is_here(label) ? logit_at(head.logits, head.dtype, i * head.stride + label) : 0.0f;
    finish_row(sums.get() + i * cut.per_row, cut.per_row, label, label_logit, head.temperature, out, i);
  };

  // Rows enough to share out whole are finished where they were read, while the label's logit is at hand.
  const int64_t work = head.rows * head.vocab;
  if (head.rows >= kManyRows * threads()) {
    parallel_for(threads(), head.rows, work, [&](int64_t i, int) {
      if (!is_read(labels[i], out.skip_ignored)) return drop_row(out, i);
      for (int64_t s = 0; s < cut.per_row && !cancelled(); s++) sum_segment(i * cut.per_row + s);
      finish(i);
    });
    return ended();
  }
  parallel_for(threads(), head.rows * cut.per_row, work, [&](int64_t item, int) {
    if (is_read(labels[cut.row(item)], out.skip_ignored)) sum_segment(item);
  });
  if (cancelled()) return ended();
  for (int64_t i = 0; i < head.rows; i++) is_read(labels[i], out.skip_ignored) ? finish(i) : drop_row(out, i);
  return ended();
}

Status logits_backward(const Head& head, const int32_t* labels, const double* lse, const float* grad_logps,
                       const HeadGradients& out) {
  const Kernels& kernels = active_kernels();
  const Cut cut(head);
  const char* const logits = static_cast<const char*>(head.logits);
  char* const grad = static_cast<char*>(out.logits);
  const bool stream = grad != logits && head.rows * head.vocab * cut.bytes >= kStreamBytes;

  parallel_for(threads(), head.rows * cut.per_row, head.rows * head.vocab, [&](int64_t item, int) {
    const int64_t i = cut.row(item), first = cut.first_word(item), words = cut.words(item),
                  offset = cut.byte_offset(item);
    const int64_t label = labels[i];
    if (label < 0) {
      memset(grad + offset, 0, static_cast<size_t>(words * cut.bytes));
      return;
    }
    // In place, the label's logit is gone once the segment is written.
    const bool holds_label = label >= first && label < first + words;
    const int64_t label_at = i * head.stride + label;
    const float label_logit = holds_label ? logit_at(head.logits, head.dtype, label_at) : 0.0f;

    const double g = grad_logps[i] / head.temperature;
    const Softmax softmax(lse[i], head.temperature, -g);
    kernels.grad_words(logits + offset, grad + offset, head.dtype, words, softmax.slope, softmax.pivot, softmax.factor,
                       stream);
    if (holds_label) {
      set_grad_at(grad, head.dtype, label_at, label_gradient(label_logit, lse[i], head.temperature, g));
    }
  });
  return ended();
}

Status token_logps(const Head& head, const Labels& labels, const LogpsOut& out) { return logps_of(head, labels, out); }

Status token_logps_backward(const Head& head, const Labels& labels, const LogpsBackward& backward) {
  return logps_backward_of(head, labels, backward);
}

}  // namespace sweet
