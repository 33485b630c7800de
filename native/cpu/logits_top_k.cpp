// Divergences of rows of logits from a top-k teacher: one pass over the row as for log-probs, in which the entries of
// the support are left out, and K entries in float64. With 'renormalize' the K logits alone are read.
#include <algorithm>

#include "active.h"
#include "capped.h"
#include "divergence.h"
#include "row_segments.h"

namespace sweet {
namespace {

// Entries that are copied where the support has one of them. Of 2^15 entries of float32 with 64 in the support it was
// not varied.
constexpr int64_t kBlock = 4096;

/** The logits of the support of a row, [K]. */
void read_support(const Head& head, const TopK& top_k, int64_t i, float* logits) {
  for (int64_t k = 0; k < top_k.k(); k++) logits[k] = kernel_logit(head, i, top_k.indices(i)[k]);
}

/** The statistics of the entries first ... first + size - 1 that are not in the support; block: [kBlock] scratch. */
SegmentStats outside_stats(const Head& head, const TopK& top_k, int64_t i, int64_t first, int64_t size, float* block) {
  const Kernels& kernels = active_kernels();
  const float scale_log2 = log2_scale(kernel_temperature(head));
  const Softcap cap(head.softcap);
  const int32_t* const end = top_k.indices(i) + top_k.k();
  const int32_t* index = std::lower_bound(top_k.indices(i), end, first);
  SegmentStats stats = kEmptyStats;
  for (int64_t at = first; at < first + size && !cancelled(); at += kBlock) {
    const int64_t n = std::min(kBlock, first + size - at);
    const void* const x = static_cast<const char*>(head.logits) + (i * head.row_stride + at) * bytes_of(head.dtype);
    if (index == end || *index >= at + n) {
      add_stats(head, x, n, scale_log2, {}, &stats);
      continue;
    }
    cap.is_on() ? kernels.softcap(x, head.dtype, n, cap.inverse, block) : kernels.widen(x, head.dtype, n, block);
    for (; index < end && *index < at + n; index++) block[*index - at] = -INFINITY;
    kernels.softmax_stats(&stats, block, DType::float32, n, scale_log2, {});
  }
  return stats;
}

}  // namespace

Status logits_top_k(const HeadDivergence& call, const TopK& top_k, const int32_t* labels) {
  const Head& head = call.head;
  const RowSegments segments(head, 1);
  const bool bucket = top_k.has_bucket();
  Scratch<SegmentStats> stats(bucket ? head.rows * segments.per_row : 0);
  Scratch<float> blocks(bucket ? segments.workers * kBlock : 0), support(head.rows * top_k.k());
  if (!stats.ok() || !blocks.ok() || !support.ok()) return {Code::memory};
  each_row(
      segments, [&](int64_t i) { return labels[i] >= 0; }, 1,
      [&](int, int64_t item, int worker) {
        if (!bucket) return;
        stats[item] = outside_stats(head, top_k, segments.row(item), segments.first(item), segments.size(item),
                                    blocks.get() + worker * kBlock);
      },
      [&](int, int64_t i) {
        float* const logits = support.get() + i * top_k.k();
        read_support(head, top_k, i, logits);
        const auto part = [&](int64_t s) -> const SegmentStats& { return stats[i * segments.per_row + s]; };
        const SoftmaxStats others = merge_stats(bucket ? segments.per_row : 0, kernel_temperature(head), part);
        const TopKRow row(top_k, i, logits, others, kernel_temperature(head), call.type, call.jsd_beta);
        write_row(call, i, row.divergence, row.saved);
      },
      [&](int64_t i) { write_row(call, i, 0, {}); });
  return ended();
}

Status logits_top_k(const HeadDivergenceBackward& call, const TopK& top_k, const int32_t* labels) {
  const Head& head = call.head;
  const Kernels& kernels = active_kernels();
  const RowSegments segments(head, 1);
  const int64_t k_count = top_k.k(), bytes = bytes_of(head.dtype);
  const char* const logits = static_cast<const char*>(head.logits);
  char* const gradient = static_cast<char*>(call.gradients.logits);
  Scratch<float> support(head.rows * k_count), gradients(head.rows * k_count);
  Scratch<SoftmaxGradient> outside(head.rows);
  if (!support.ok() || !gradients.ok() || !outside.ok()) return {Code::memory};

  // Phase 0 reads the support, which phase 1 overwrites in place.
  const auto segment = [&](int phase, int64_t item, int) {
    const int64_t i = segments.row(item), at = i * head.row_stride + segments.first(item);
    if (phase == 0) {
      if (segments.first(item) != 0) return;
      float* const of_row = support.get() + i * k_count;
      read_support(head, top_k, i, of_row);
      const TopKGradient of = top_k_gradient(call, top_k, i);
      for (int64_t k = 0; k < k_count; k++) {
        const double slope = Softcap(head.softcap).slope(of_row[k]);
        gradients[i * k_count + k] = static_cast<float>(slope * of.of_support(top_k.logps(i)[k], of_row[k]));
      }
      outside[i] = of.outside();
    } else if (top_k.has_bucket()) {
      write_gradient(head, logits + at * bytes, segments.size(item), outside[i], false, gradient + at * bytes);
    }
  };
  const auto finish = [&](int phase, int64_t i) {
    if (phase == 0) return;
    clear_from(head, i, top_k.has_bucket() ? head.vocab_size : 0, gradient);
    for (int64_t k = 0; k < k_count; k++) {
      const int64_t at = i * head.row_stride + top_k.indices(i)[k];
      kernels.divergence->narrow(&gradients[i * k_count + k], head.dtype, 1, gradient + at * bytes);
    }
  };
  each_row(
      segments, [&](int64_t i) { return labels[i] >= 0; }, 2, segment, finish,
      [&](int64_t i) { clear_from(head, i, 0, gradient); });
  return ended();
}

}  // namespace sweet
