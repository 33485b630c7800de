// Divergences of rows of logits: one read of both rows forward, two for jsd; one read of both and one write backward.
// The items of work are segments of rows, as in logits_head.cpp; each is computed in blocks that stay in the L1 cache.
#include <algorithm>

#include "active.h"
#include "capped.h"
#include "divergence.h"
#include "row_segments.h"

namespace sweet {
namespace {

// Entries that are converted at once: 8 KiB of float32 for each row.
constexpr int64_t kBlock = 2048;

/** The two rows of an item; where their types differ or one has a softcap, blocks of them, converted to float32. */
class PairBlocks {
 public:
  PairBlocks(const Head& student, const Head& teacher, int workers)
      : student_(student),
        teacher_(teacher),
        direct_(student.dtype == teacher.dtype && !Softcap(student.softcap).is_on() &&
                !Softcap(teacher.softcap).is_on()),
        kernels_(active_kernels()),
        blocks_(direct_ ? 0 : workers * 3 * kBlock) {}

  bool ok() const { return blocks_.ok(); }
  /** Whether both rows are read where they are. */
  bool direct() const { return direct_; }

  /** Calls use(pair, first) for the parts of entries first ... first + size - 1 of row i, teacher first if `swapped`.
   */
  template <class Use>
  void each(int64_t i, int64_t first, int64_t size, int worker, bool swapped, Use use) {
    const int64_t step = direct_ ? size : kBlock;
    for (int64_t at = first; at < first + size && !cancelled(); at += step) {
      const int64_t n = std::min(step, first + size - at);
      const void* const x = block(student_, i, at, n, scratch(worker));
      const void* const y = block(teacher_, i, at, n, scratch(worker) + kBlock);
      use(PairOfRows{swapped ? y : x, swapped ? x : y, direct_ ? student_.dtype : DType::float32, n}, at);
    }
  }

  /** Of the worker, for a block of the student's gradient. */
  float* gradient(int worker) { return scratch(worker) + 2 * kBlock; }

 private:
  float* scratch(int worker) { return blocks_.get() + worker * 3 * kBlock; }

  const void* block(const Head& head, int64_t i, int64_t first, int64_t n, float* to) const {
    const void* const from =
        static_cast<const char*>(head.logits) + (i * head.row_stride + first) * bytes_of(head.dtype);
    if (direct_) return from;
    const Softcap cap(head.softcap);
    cap.is_on() ? kernels_.softcap(from, head.dtype, n, cap.inverse, to) : kernels_.widen(from, head.dtype, n, to);
    return to;
  }

  const Head& student_;
  const Head& teacher_;
  const bool direct_;
  const Kernels& kernels_;
  Scratch<float> blocks_;  // per worker: of x, of y and of the gradient
};

void fill_nan(DType dtype, int64_t n, void* out) {
  if (dtype == DType::float32) {
    std::fill_n(static_cast<float*>(out), n, NAN);
  } else {
    std::fill_n(static_cast<uint16_t*>(out), n, static_cast<uint16_t>(dtype == DType::bfloat16 ? 0x7fc0 : 0x7e00));
  }
}

}  // namespace

Status logits_divergence(const HeadDivergence& call, const int32_t* labels) {
  const Head& head = call.head;
  const Head& teacher = call.teacher.head;
  const DivergenceKernels& kernels = *active_kernels().divergence;
  const RowSegments segments(head, 2);
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
    stats[item] = kEmptyPair;
    blocks.each(segments.row(item), segments.first(item), segments.size(item), worker, swapped,
                [&](const PairOfRows& pair, int64_t) { kernels.row_stats(pair, &stats[item], scale_a, scale_b); });
  };
  const auto compute_jsd = [&](int64_t item, int worker) {
    const RowTerms terms(head, teacher, call.type, saved[segments.row(item)], 0);
    sums[item] = {0, 0};
    blocks.each(
        segments.row(item), segments.first(item), segments.size(item), worker, false,
        [&](const PairOfRows& pair, int64_t) { kernels.row_jsd(pair, terms.rows(), beta, other_beta, &sums[item]); });
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
      segments, [&](int64_t i) { return labels[i] >= 0; }, jsd ? 2 : 1,
      [&](int phase, int64_t item, int worker) {
        phase == 0 ? compute_stats(item, worker) : compute_jsd(item, worker);
      },
      finish, [&](int64_t i) { write_row(call, i, 0, {}); });
  return ended();
}

Status logits_divergence(const HeadDivergenceBackward& call, const int32_t* labels) {
  const Head& head = call.head;
  const Head& teacher = call.teacher.head;
  const DivergenceKernels& kernels = *active_kernels().divergence;
  const RowSegments segments(head, 2);
  const int64_t bytes = bytes_of(head.dtype);
  const float beta = static_cast<float>(call.jsd_beta), other_beta = static_cast<float>(1 - call.jsd_beta);
  char* const gradient = static_cast<char*>(call.gradients.logits);
  const bool in_place = gradient == head.logits || gradient == teacher.logits;
  PairBlocks blocks(head, teacher, segments.workers);
  if (!blocks.ok()) return {Code::memory};

  const auto compute = [&](int, int64_t item, int worker) {
    const int64_t i = segments.row(item), at = i * head.row_stride;
    const SavedRow saved = saved_row(call.saved, i);
    const bool computed = has_gradient(saved, call.grad_divergence[i]);
    const RowTerms terms(head, teacher, call.type, saved,
                         gradient_factor(call.type, call.jsd_beta, call.grad_divergence[i], head.temperature));
    const bool capped = Softcap(head.softcap).is_on();
    blocks.each(i, segments.first(item), segments.size(item), worker, false,
                [&](const PairOfRows& pair, int64_t first) {
                  void* const to = gradient + (at + first) * bytes;
                  if (!computed) return fill_nan(head.dtype, pair.n, to);
                  void* const out = blocks.direct() ? to : blocks.gradient(worker);
                  kernels.row_gradient(pair, terms.rows(), call.type, beta, other_beta, out,
                                       blocks.direct() && !in_place && is_streamed(head));
                  if (blocks.direct()) return;
                  const float* const d = static_cast<const float*>(out);
                  capped ? active_kernels().times_slope(d, static_cast<const float*>(pair.x), pair.n, to, head.dtype)
                         : kernels.narrow(d, head.dtype, pair.n, to);
                });
  };
  each_row(
      segments, [&](int64_t i) { return labels[i] >= 0; }, 1, compute,
      [&](int, int64_t i) { clear_from(head, i, head.vocab_size, gradient); },
      [&](int64_t i) { clear_from(head, i, 0, gradient); });
  return ended();
}

}  // namespace sweet
