// The head of logits: one read of memory forward; one read and one write backward.
#include <algorithm>
#include <cstring>

#include "../backend.h"
#include "../scratch.h"
#include "active.h"
#include "capped.h"
#include "logps.h"
#include "one_pass_update.h"
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

/** The forward pass: the statistics of segments, then the results of a row. */
class ForwardRows {
 public:
  ForwardRows(const Head& head, const int32_t* labels, const ForwardOut& out, const RowSegments& segments)
      : head_(head),
        labels_(labels),
        out_(out),
        segments_(segments),
        which_(out.statistics()),
        scale_log2_(log2_scale(kernel_temperature(head))),
        stats_(head.rows * segments.per_row) {}

  bool ok() const { return stats_.ok(); }

  void compute(int64_t item) {
    const void* const logits = static_cast<const char*>(head_.logits) + byte_offset(segments_, item);
    stats_[item] = kEmptyStats;
    add_stats(head_, logits, segments_.size(item), scale_log2_, which_, &stats_[item]);
    stats_[item].argmax += static_cast<int32_t>(head_.vocab_offset + segments_.first(item));
  }

  void finish(int64_t i) const {
    const int32_t label = labels_[i];
    const float label_logit = is_local(label) ? kernel_logit(head_, i, label) : 0.0f;
    finish_row(head_, stats_.get() + i * segments_.per_row, segments_.per_row, label, label_logit, out_, i);
  }

 private:
  const Head& head_;
  const int32_t* const labels_;
  const ForwardOut& out_;
  const RowSegments& segments_;
  const Statistics which_;
  const float scale_log2_;
  Scratch<SegmentStats> stats_;  // [N, segments of a row]
};

/** The backward pass: the label's entry of a row, then its segments. */
class BackwardRows {
 public:
  BackwardRows(const Head& head, const int32_t* labels, const Upstream& upstream, double* label_grads,
               const HeadGradients& gradients, const RowSegments& segments)
      : head_(head),
        labels_(labels),
        upstream_(upstream),
        label_grads_(label_grads),
        segments_(segments),
        grad_(static_cast<char*>(gradients.logits)),
        temperature_(kernel_temperature(head)),
        cap_(head.softcap),
        stream_(gradients.logits != head.logits && is_streamed(head)),
        shard_(is_shard(head)) {}

  UpstreamRow row(int64_t i) const { return upstream_.row(i, head_.temperature); }

  /** While all logits of row i are there: in place, the gradient overwrites them. */
  void compute_label(int64_t i, const UpstreamRow& row) const {
    if (!is_local(labels_[i])) return;
    const float label_logit = kernel_logit(head_, i, labels_[i]);
    const double lse = upstream_.lse[i];
    const LabelGradient label(label_logit, lse, upstream_.rounded_lse, temperature_, row);
    double gradient = label.gradient;
    if (label.confident && !shard_) {
      const double others = other_probs(head_, i, labels_[i], lse);
      gradient = LabelGradient::complete(log1p(-others), others, row);
    }
    label_grads_[i] = gradient * cap_.slope(label_logit);
  }

  void compute(int64_t item, const UpstreamRow& row) const {
    const int64_t i = segments_.row(item), first = segments_.first(item), n = segments_.size(item),
                  offset = byte_offset(segments_, item);
    const int64_t label = labels_[i];
    if (first + n == head_.vocab_size && has_padding(head_)) clear_from(head_, i, head_.vocab_size, grad_);
    if (label < 0) {
      memset(grad_ + offset, 0, static_cast<size_t>(n * bytes_of(head_.dtype)));
      return;
    }
    write_gradient(head_, static_cast<const char*>(head_.logits) + offset, n,
                   softmax_gradient(upstream_.lse[i], temperature_, row), stream_, grad_ + offset);
    const bool has_label = label >= first && label < first + n;
    if (has_label) {
      set_grad_at(grad_, head_.dtype, i * head_.row_stride + label, label_grads_[i]);
    }
  }

  void compute_row(int64_t i) const {
    const UpstreamRow of_row = row(i);
    compute_label(i, of_row);
    for (int64_t s = 0; s < segments_.per_row && !cancelled(); s++) compute(i * segments_.per_row + s, of_row);
  }

 private:
  const Head& head_;
  const int32_t* const labels_;
  const Upstream& upstream_;
  double* const label_grads_;  // [N]
  const RowSegments& segments_;
  char* const grad_;
  const double temperature_;
  const Softcap cap_;
  const bool stream_, shard_;
};

}  // namespace

Status logits_forward(const Head& head, const int32_t* labels, const ForwardOut& out) {
  const RowSegments segments(head, 1);
  ForwardRows forward(head, labels, out, segments);
  if (!forward.ok()) return {Code::memory};
  each_row(
      segments, [&](int64_t i) { return is_read(labels[i], out.skip_ignored); }, 1,
      [&](int, int64_t item, int) { forward.compute(item); }, [&](int, int64_t i) { forward.finish(i); },
      [&](int64_t i) { skip_row(out, i); });
  return ended();
}

Status logits_backward(const Head& head, const int32_t* labels, const Upstream& upstream, double* label_grads,
                       const HeadGradients& gradients) {
  const RowSegments segments(head, 1);
  const BackwardRows backward(head, labels, upstream, label_grads, gradients, segments);
  if (segments.whole_rows()) {
    parallel_for(segments.workers, head.rows, segments.work, [&](int64_t i, int) { backward.compute_row(i); });
    return ended();
  }
  parallel_for(segments.workers, head.rows, segments.work,
               [&](int64_t i, int) { backward.compute_label(i, backward.row(i)); });
  parallel_for(segments.workers, head.rows * segments.per_row, segments.work,
               [&](int64_t item, int) { backward.compute(item, backward.row(segments.row(item))); });
  return ended();
}

Status logits_update(const OnePassUpdate& call, TokenLoss& loss) {
  const Head& head = call.head;
  const RowSegments segments(head, 2);
  const Upstream upstream = upstream_of(call, loss);
  Scratch<double> label_grads(head.rows);
  ForwardRows forward(head, call.labels, call.forward, segments);
  const BackwardRows backward(head, call.labels, upstream, label_grads.get(), call.gradients, segments);
  if (!label_grads.ok() || !forward.ok()) return {Code::memory};
  parallel_for(segments.workers, head.rows, segments.work, [&](int64_t i, int) {
    if (is_read(call.labels[i], call.forward.skip_ignored)) {
      for (int64_t s = 0; s < segments.per_row && !cancelled(); s++) forward.compute(i * segments.per_row + s);
      forward.finish(i);
      loss.compute_token(i, call.logps);
    } else {
      skip_row(call.forward, i);
    }
    backward.compute_row(i);
  });
  loss.compute(call.logps);
  return ended();
}

}  // namespace sweet
