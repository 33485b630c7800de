// The head of logits: one read of memory forward; one read and one write backward.
#include <algorithm>
#include <cstring>

#include "../backend.h"
#include "../scratch.h"
#include "active.h"
#include "capped.h"
#include "logps.h"
#include "parallel.h"
#include "row_segments.h"

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

/** Of an item, in an array of the logits' layout. */
int64_t byte_offset(const RowSegments& segments, int64_t item) {
  const Head& head = segments.head;
  return (segments.row(item) * head.row_stride + segments.first(item)) * bytes_of(head.dtype);
}

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
  const RowSegments segments(head, 1);
  Scratch<SegmentStats> stats(head.rows * segments.per_row);
  if (!stats.ok()) return {Code::memory};

  const char* const logits = static_cast<const char*>(head.logits);
  const float scale_log2 = log2_scale(kernel_temperature(head));
  const Statistics which = out.statistics();
  const auto compute_segment = [&](int64_t item) {
    stats[item] = kEmptyStats;
    add_stats(head, logits + byte_offset(segments, item), segments.size(item), scale_log2, which, &stats[item]);
    stats[item].argmax += static_cast<int32_t>(head.vocab_offset + segments.first(item));
  };
  const auto finish = [&](int64_t i) {
    const int32_t label = labels[i];
    const float label_logit = is_local(label) ? kernel_logit(head, i, label) : 0.0f;
    finish_row(head, stats.get() + i * segments.per_row, segments.per_row, label, label_logit, out, i);
  };

  each_row(
      segments, [&](int64_t i) { return is_read(labels[i], out.skip_ignored); }, 1,
      [&](int, int64_t item, int) { compute_segment(item); }, [&](int, int64_t i) { finish(i); },
      [&](int64_t i) { skip_row(out, i); });
  return ended();
}

Status logits_backward(const Head& head, const int32_t* labels, const Upstream& upstream, double* label_grads,
                       const HeadGradients& gradients) {
  const RowSegments segments(head, 1);
  const double temperature = kernel_temperature(head);
  const char* const logits = static_cast<const char*>(head.logits);
  char* const grad = static_cast<char*>(gradients.logits);
  const bool stream = grad != logits && is_streamed(head);
  const bool shard = is_shard(head);

  // The label's entry of row i, while all of its logits are there: in place, the gradient overwrites them.
  const Softcap cap(head.softcap);
  const auto compute_label_grad = [&](int64_t i, const UpstreamRow& row) {
    if (!is_local(labels[i])) return;
    const float label_logit = kernel_logit(head, i, labels[i]);
    const double lse = upstream.lse[i];
    const LabelGradient label(label_logit, lse, upstream.rounded_lse, temperature, row);
    double gradient = label.gradient;
    if (label.confident && !shard) {
      const double others = other_probs(head, i, labels[i], lse);
      gradient = LabelGradient::complete(log1p(-others), others, row);
    }
    label_grads[i] = gradient * cap.slope(label_logit);
  };
  const auto compute_segment = [&](int64_t item, const UpstreamRow& row) {
    const int64_t i = segments.row(item), first = segments.first(item), n = segments.size(item),
                  offset = byte_offset(segments, item);
    const int64_t label = labels[i];
    if (first + n == head.vocab_size && has_padding(head)) clear_from(head, i, head.vocab_size, grad);
    if (label < 0) {
      memset(grad + offset, 0, static_cast<size_t>(n * bytes_of(head.dtype)));
      return;
    }
    write_gradient(head, logits + offset, n, softmax_gradient(upstream.lse[i], temperature, row), stream,
                   grad + offset);
    const bool has_label = label >= first && label < first + n;
    if (has_label) {
      set_grad_at(grad, head.dtype, i * head.row_stride + label, label_grads[i]);
    }
  };

  // Many rows: one thread computes a row, whose logits are in its cache.
  if (head.rows >= kWholeRows * segments.workers) {
    parallel_for(segments.workers, head.rows, segments.work, [&](int64_t i, int) {
      const UpstreamRow row = upstream.row(i, head.temperature);
      compute_label_grad(i, row);
      for (int64_t s = 0; s < segments.per_row && !cancelled(); s++) compute_segment(i * segments.per_row + s, row);
    });
    return ended();
  }
  parallel_for(segments.workers, head.rows, segments.work,
               [&](int64_t i, int) { compute_label_grad(i, upstream.row(i, head.temperature)); });
  parallel_for(segments.workers, head.rows * segments.per_row, segments.work,
               [&](int64_t item, int) { compute_segment(item, upstream.row(segments.row(item), head.temperature)); });
  return ended();
}

}  // namespace sweet
