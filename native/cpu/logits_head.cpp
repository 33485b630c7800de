// The head of logits: one read of memory forward; one read and one write backward. The items of work are segments of
// rows, so that a few long rows occupy every thread too.
#include <algorithm>
#include <cstring>

#include "../backend.h"
#include "../scratch.h"
#include "active.h"
#include "capped.h"
#include "logps.h"
#include "parallel.h"

namespace sweet {
namespace {

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

/** The padding after row i becomes 0, after the last row as far as the array goes. */
void clear_padding(const Head& head, int64_t i, char* grad) {
  const int64_t from = i * head.row_stride + head.vocab_size;
  const int64_t to = std::max(from, std::min((i + 1) * head.row_stride, head.logits_length));
  memset(grad + from * bytes_of(head.dtype), 0, static_cast<size_t>((to - from) * bytes_of(head.dtype)));
}

// Rows per thread from which an item of work is a row, not a segment. Zen 5, 2 threads, 2 to 64 rows of 131072
// elements: 1, 2 and 32 take 0.89 to 1.05 of the time, which is within the noise of that shared machine.
constexpr int64_t kWholeRows = 8;

// A gradient of at least this size that is not in place is written by non-temporal stores: the caches cannot hold it
// until it is read, and the stores need not read its memory first. Zen 5, time with non-temporal stores relative to
// plain ones, AVX-512 (AVX2), of the gradient and of one that is read again: 4 MiB 1.21 (1.01) and 1.26 (1.00), 8 MiB
// 0.96 (0.83) and 1.12 (0.92), 16 MiB 0.82 (0.90) and 0.96 (0.95), 32 MiB 0.92 (0.93) and 0.92 (0.97).
constexpr int64_t kStreamBytes = int64_t{1} << 25;

/** The segments of all rows: item k is segment k % per_row of row k / per_row. */
struct Segments {
  int64_t per_row, bytes, vocab_size, row_stride;

  explicit Segments(const Head& head)
      : per_row((head.vocab_size + kSegment - 1) / kSegment),
        bytes(bytes_of(head.dtype)),
        vocab_size(head.vocab_size),
        row_stride(head.row_stride) {}

  int64_t row(int64_t item) const { return item / per_row; }
  int64_t first(int64_t item) const { return item % per_row * kSegment; }
  int64_t size(int64_t item) const { return std::min(kSegment, vocab_size - first(item)); }
  int64_t byte_offset(int64_t item) const { return (row(item) * row_stride + first(item)) * bytes; }
};

/** sum_v p_v of row i but its label. */
double other_probs(const Head& head, int64_t i, int64_t label, double lse) {
  const char* const row = static_cast<const char*>(head.logits) + i * head.row_stride * bytes_of(head.dtype);
  const double temperature = kernel_temperature(head);
  double sum = 0;
  const auto add = [&](int64_t first, int64_t end) {
    for (int64_t v = first; v < end && !cancelled(); v += kSegment) {
      SegmentStats stats = kEmptyStats;
      add_stats(head, row + v * bytes_of(head.dtype), std::min(kSegment, end - v), log2_scale(temperature), {}, &stats);
      sum += stats.sum_exp * exp(stats.max / temperature - lse);
    }
  };
  add(0, label);
  add(label + 1, head.vocab_size);
  return sum;
}

}  // namespace

Status logits_forward(const Head& head, const int32_t* labels, const ForwardOut& out) {
  const Segments segments(head);
  Scratch<SegmentStats> stats(head.rows * segments.per_row);
  if (!stats.ok()) return {Code::memory};

  const char* const logits = static_cast<const char*>(head.logits);
  const float scale_log2 = log2_scale(kernel_temperature(head));
  const auto compute_segment = [&](int64_t item) {
    SegmentStats segment = kEmptyStats;
    add_stats(head, logits + segments.byte_offset(item), segments.size(item), scale_log2, out.statistics(), &segment);
    segment.argmax += static_cast<int32_t>(head.vocab_offset + segments.first(item));
    stats[item] = segment;
  };
  const auto finish = [&](int64_t i) {
    const int32_t label = labels[i];
    const float label_logit = is_local(label) ? kernel_logit(head, i, label) : 0.0f;
    finish_row(head, stats.get() + i * segments.per_row, segments.per_row, label, label_logit, out, i);
  };

  // Many rows: one thread computes and finishes a row, while the label's logit is in its cache.
  const int64_t work = head.rows * head.vocab_size;
  if (head.rows >= kWholeRows * threads()) {
    parallel_for(threads(), head.rows, work, [&](int64_t i, int) {
      if (!is_read(labels[i], out.skip_ignored)) return skip_row(out, i);
      for (int64_t s = 0; s < segments.per_row && !cancelled(); s++) compute_segment(i * segments.per_row + s);
      finish(i);
    });
    return ended();
  }
  parallel_for(threads(), head.rows * segments.per_row, work, [&](int64_t item, int) {
    if (is_read(labels[segments.row(item)], out.skip_ignored)) compute_segment(item);
  });
  if (cancelled()) return ended();
  for (int64_t i = 0; i < head.rows; i++) is_read(labels[i], out.skip_ignored) ? finish(i) : skip_row(out, i);
  return ended();
}

Status logits_backward(const Head& head, const int32_t* labels, const Upstream& upstream, double* label_grads,
                       const HeadGradients& gradients) {
  const Segments segments(head);
  const double temperature = kernel_temperature(head);
  const char* const logits = static_cast<const char*>(head.logits);
  char* const grad = static_cast<char*>(gradients.logits);
  const bool stream = grad != logits && head.rows * head.vocab_size * segments.bytes >= kStreamBytes;
  const bool shard = is_shard(head);

  // The label's entry of row i, while all of its logits are there: in place, the gradient overwrites them.
  const auto compute_label_grad = [&](int64_t i) {
    if (!is_local(labels[i])) return;
    const float label_logit = kernel_logit(head, i, labels[i]);
    const double lse = upstream.lse[i];
    const UpstreamRow row = upstream.row(i, head.temperature);
    const LabelGradient label(label_logit, lse, upstream.rounded_lse, temperature, row);
    label_grads[i] = label.gradient;
    if (label.confident && !shard) {
      const double others = other_probs(head, i, labels[i], lse);
      label_grads[i] = LabelGradient::complete(log1p(-others), others, row);
    }
    label_grads[i] *= Softcap(head.softcap).slope(label_logit);
  };
  const auto compute_segment = [&](int64_t item) {
    const int64_t i = segments.row(item), first = segments.first(item), n = segments.size(item),
                  offset = segments.byte_offset(item);
    const int64_t label = labels[i];
    if (first + n == head.vocab_size && has_padding(head)) clear_padding(head, i, grad);
    if (label < 0) {
      memset(grad + offset, 0, static_cast<size_t>(n * segments.bytes));
      return;
    }
    const UpstreamRow row = upstream.row(i, head.temperature);
    write_gradient(head, logits + offset, n, softmax_gradient(upstream.lse[i], temperature, row), stream,
                   grad + offset);
    const bool has_label = label >= first && label < first + n;
    if (has_label) {
      set_grad_at(grad, head.dtype, i * head.row_stride + label, label_grads[i]);
    }
  };

  // Many rows: one thread computes a row, whose logits are in its cache.
  const int64_t work = head.rows * head.vocab_size;
  if (head.rows >= kWholeRows * threads()) {
    parallel_for(threads(), head.rows, work, [&](int64_t i, int) {
      compute_label_grad(i);
      for (int64_t s = 0; s < segments.per_row && !cancelled(); s++) compute_segment(i * segments.per_row + s);
    });
    return ended();
  }
  parallel_for(threads(), head.rows, work, [&](int64_t i, int) { compute_label_grad(i); });
  parallel_for(threads(), head.rows * segments.per_row, work, [&](int64_t item, int) { compute_segment(item); });
  return ended();
}

}  // namespace sweet
