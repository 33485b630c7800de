// Divergences of rows of logits: one read of both rows forward, two for jsd; one read of both and one write backward.
// The items of work are segments of rows, as in logits_head.cpp; each is computed in blocks that stay in the L1 cache.
#include <algorithm>

#include "active.h"
#include "capped.h"
#include "divergence.h"
#include "row_segments.h"

namespace sweet {
namespace {

// Entries of a block: 8 KiB of each row, in which every lane adds 64 terms or fewer to a float32 sum.
constexpr int64_t kBlock = 2048;

/** Blocks of the two rows of an item as tiles, converted to float32 and padded where that is needed. */
class PairBlocks {
 public:
  PairBlocks(const Head& student, const Head& teacher, int workers)
      : student_(student), teacher_(teacher), kernels_(active_kernels()), blocks_(workers * 3 * kBlock) {}

  bool ok() const { return blocks_.ok(); }

  /** The tile of n <= kBlock entries from `first` on of row i; in the order teacher, student if `swapped`. */
  PairTile tile(int64_t i, int64_t first, int64_t n, int worker, bool swapped) {
    const float* const x = block(student_, i, first, n, scratch(worker));
    const float* const y = block(teacher_, i, first, n, scratch(worker) + kBlock);
    const int64_t entries = (n + kRowColumns - 1) / kRowColumns;
    return {swapped ? y : x, swapped ? x : y, kRowColumns, entries, kRowColumns};
  }

  /** Of the worker, for a block of the student's gradient. */
  float* gradient(int worker) { return scratch(worker) + 2 * kBlock; }

 private:
  float* scratch(int worker) { return blocks_.get() + worker * 3 * kBlock; }

  const float* block(const Head& head, int64_t i, int64_t first, int64_t n, float* to) const {
    const void* const from =
        static_cast<const char*>(head.logits) + (i * head.row_stride + first) * bytes_of(head.dtype);
    const Softcap cap(head.softcap);
    if (cap.is_on()) {
      kernels_.softcap(from, head.dtype, n, cap.inverse, to);
    } else if (head.dtype == DType::float32 && n % kRowColumns == 0) {
      return static_cast<const float*>(from);
    } else {
      kernels_.widen(from, head.dtype, n, to);
    }
    std::fill(to + n, to + (n + kRowColumns - 1) / kRowColumns * kRowColumns, -INFINITY);
    return to;
  }

  const Head& student_;
  const Head& teacher_;
  const Kernels& kernels_;
  Scratch<float> blocks_;  // per worker: of x, of y and of the gradient
};

/** Calls use(first, n) for the blocks of a segment. */
template <class Use>
void each_block(int64_t first, int64_t size, Use use) {
  for (int64_t at = first; at < first + size && !cancelled(); at += kBlock) {
    use(at, std::min(kBlock, first + size - at));
  }
}

}  // namespace

Status logits_divergence(const HeadDivergence& call, const int32_t* labels) {
  const Head& head = call.head;
  const Head& teacher = call.teacher.head;
  const DivergenceKernels& kernels = *active_kernels().divergence;
  const RowSegments segments(head);
  const bool swapped = teacher_first(call.type), jsd = call.type == Divergence::jsd;
  const double of_student = kernel_temperature(head), of_teacher = kernel_temperature(teacher);
  const double temperature_a = swapped ? of_teacher : of_student;
  const double temperature_b = swapped ? of_student : of_teacher;
  const float scale_a = log2_scale(temperature_a), scale_b = log2_scale(temperature_b);
  const float beta = static_cast<float>(call.jsd_beta), other_beta = static_cast<float>(1 - call.jsd_beta);
  PairBlocks blocks(head, teacher, segments.workers);
  Scratch<PairStats> stats(head.rows * segments.per_row);
  Scratch<JsdSums> sums(jsd ? head.rows * segments.per_row : 0);
  Scratch<SavedRow> saved(head.rows);
  if (!blocks.ok() || !stats.ok() || !sums.ok() || !saved.ok()) return {Code::memory};

  // Of jsd, which needs both lse alone: those of log-probs, at fewer operations.
  const auto segment_stats = [&](const Head& of, int64_t item) {
    SegmentStats segment = kEmptyStats;
    const int64_t at = segments.row(item) * of.row_stride + segments.first(item);
    add_stats(of, static_cast<const char*>(of.logits) + at * bytes_of(of.dtype), segments.size(item),
              log2_scale(kernel_temperature(of)), {}, &segment);
    segment.max = std::max(segment.max, -FLT_MAX);
    return segment;
  };
  const auto compute_stats = [&](int64_t item, int worker) {
    if (jsd) {
      const SegmentStats x = segment_stats(head, item), y = segment_stats(teacher, item);
      stats[item] = {x.max, y.max, x.sum_exp, y.sum_exp, 0, false};
      return;
    }
    PairStats columns[kRowColumns];
    std::fill_n(columns, kRowColumns, kEmptyPair);
    each_block(segments.first(item), segments.size(item), [&](int64_t first, int64_t n) {
      kernels.pair_stats(blocks.tile(segments.row(item), first, n, worker, swapped), columns, scale_a, scale_b, true);
    });
    stats[item] = kEmptyPair;
    for (const PairStats& column : columns) merge_pair(&stats[item], column, scale_a, scale_b);
  };
  const auto compute_jsd = [&](int64_t item, int worker) {
    const RowTerms terms(head, teacher, call.type, saved[segments.row(item)], 0);
    JsdSums columns[kRowColumns] = {};
    each_block(segments.first(item), segments.size(item), [&](int64_t first, int64_t n) {
      kernels.jsd_sums(blocks.tile(segments.row(item), first, n, worker, false), terms.rows(), beta, other_beta,
                       columns);
    });
    sums[item] = {0, 0};
    for (const JsdSums& column : columns) add_sums(&sums[item], column);
  };
  const auto finish = [&](int phase, int64_t i) {
    const int64_t first = i * segments.per_row;
    double divergence = 0;
    if (phase == 0) {
      PairStats all = kEmptyPair;
      for (int64_t s = 0; s < segments.per_row; s++) merge_pair(&all, stats[first + s], scale_a, scale_b);
      const RowDivergence row = row_of_stats(call.type, all, of_student, of_teacher);
      divergence = row.divergence;
      saved[i] = row.saved;
      if (jsd) return;
    } else {
      JsdSums all{0, 0};
      for (int64_t s = 0; s < segments.per_row; s++) add_sums(&all, sums[first + s]);
      divergence = cut_at_0(all.divergence);
      saved[i].kappa = all.kappa;
    }
    write_row(call, i, divergence, saved[i]);
  };
  each_row(
      segments, labels, jsd ? 2 : 1,
      [&](int phase, int64_t item, int worker) {
        phase == 0 ? compute_stats(item, worker) : compute_jsd(item, worker);
      },
      finish, [&](int64_t i) { write_row(call, i, 0, {}); });
  return ended();
}

Status logits_divergence_backward(const HeadDivergenceBackward& call, const int32_t* labels) {
  const Head& head = call.head;
  const Head& teacher = call.teacher.head;
  const DivergenceKernels& kernels = *active_kernels().divergence;
  const RowSegments segments(head);
  const int64_t bytes = bytes_of(head.dtype);
  const float beta = static_cast<float>(call.jsd_beta), other_beta = static_cast<float>(1 - call.jsd_beta);
  char* const gradient = static_cast<char*>(call.gradients.logits);
  PairBlocks blocks(head, teacher, segments.workers);
  if (!blocks.ok()) return {Code::memory};

  const auto compute = [&](int, int64_t item, int worker) {
    const int64_t i = segments.row(item), at = i * head.row_stride;
    const SavedRow saved = saved_row(call.saved, i);
    const bool computed = has_gradient(saved, call.grad_divergence[i]);
    const RowTerms terms(head, teacher, call.type, saved,
                         gradient_factor(call.type, call.jsd_beta, call.grad_divergence[i], head.temperature));
    float* const scratch = blocks.gradient(worker);
    const bool capped = Softcap(head.softcap).is_on();
    each_block(segments.first(item), segments.size(item), [&](int64_t first, int64_t n) {
      void* const to = gradient + (at + first) * bytes;
      const bool direct = head.dtype == DType::float32 && n % kRowColumns == 0 && !capped;
      float* const out = direct ? static_cast<float*>(to) : scratch;
      if (computed) {
        const PairTile tile = blocks.tile(i, first, n, worker, false);
        kernels.gradient(tile, terms.rows(), call.type, beta, other_beta, out);
        if (capped) return active_kernels().times_slope(out, tile.x, n, to, head.dtype);
      } else {
        std::fill_n(out, n, NAN);
      }
      if (!direct) kernels.narrow(scratch, head.dtype, n, to);
    });
  };
  each_row(
      segments, labels, 1, compute, [&](int, int64_t i) { clear_from(head, i, head.vocab_size, gradient); },
      [&](int64_t i) { clear_from(head, i, 0, gradient); });
  return ended();
}

}  // namespace sweet
