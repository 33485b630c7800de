// Divergences on the device: the passes of pair_divergence.cu and top_k.cu, over all rows of logits or over the chunks
// of linear heads. Of these, the logits of a chunk are computed once in a call for each head; D of the student's takes
// their place for the products of linear_head.cu.
#include "divergence.h"

#include <optional>

namespace sweet {
namespace cuda {
namespace {

LogitRows rows_of(const Head& head, const int32_t* labels) {
  return {head.logits,           head.dtype, head.row_stride, head.rows, head.vocab_size, kernel_temperature(head),
          Softcap(head.softcap), labels,     nullptr};
}

/** What the forward and the backward pass of a call begin with: the checks, and the rows that are read. */
struct CheckedCall {
  const Head& head;
  const Teacher& teacher;
  LaunchContext context;
  const int32_t* const labels;
  const TopKTeacher top_k;
  const CompactedRows rows;  // of a linear head

  template <class Call>
  explicit CheckedCall(const Call& call)
      : head(call.head),
        teacher(call.teacher),
        labels(kept_rows(context, call.labels, head.rows)),
        top_k(teacher.is_top_k() ? check_top_k(context, teacher, head, labels) : TopKTeacher{}),
        rows(compacted_rows_of(context, head, labels, true)) {}

  LogitRows student_rows() const { return rows_of(head, labels); }
  /** Empty where the teacher is top-k. */
  LogitRows teacher_rows() const { return teacher.is_top_k() ? LogitRows{} : rows_of(teacher.head, labels); }
};

/** A head with the memory of a chunk that it shares with another head. */
Head with_half_of_memory(const Head& head) {
  Head half = head;
  half.chunk_bytes = (head.chunk_bytes > 0 ? head.chunk_bytes : LinearPass::kDefaultChunkBytes) / 2;
  if (half.chunk_bytes < 1) half.chunk_bytes = 1;
  return half;
}

/** The chunks of a linear head, and those of its teacher where that is a head too. */
class PairPass {
 public:
  explicit PairPass(CheckedCall& call)
      : context_(call.context),
        rows_(call.rows),
        student_head_(call.teacher.is_top_k() ? call.head : with_half_of_memory(call.head)),
        teacher_head_(with_half_of_memory(call.teacher.head)),
        chunk_(chunk_of(call.teacher)),
        student_(context_, student_head_, call.labels, rows_, chunk_) {
    if (!call.teacher.is_top_k()) teacher_.emplace(context_, teacher_head_, call.labels, rows_, chunk_);
  }

  LinearPass& student() { return student_; }

  /** Calls use(x, y, first) for the logits of each chunk; y is empty where the teacher is top-k. */
  template <class Use>
  void each_chunk(Use use) {
    for (int64_t first = 0; first < rows_.count && context_.ok(); first += chunk_) {
      const int64_t count = chunk_ < rows_.count - first ? chunk_ : rows_.count - first;
      const LogitRows y = teacher_ ? rows_of(*teacher_, teacher_head_, first, count) : LogitRows{};
      use(rows_of(student_, student_head_, first, count), y, first);
    }
  }

 private:
  int64_t chunk_of(const Teacher& teacher) const {
    const int64_t of_student = LinearPass::chunk_of(student_head_, rows_.count);
    if (teacher.is_top_k()) return of_student;
    const int64_t of_teacher = LinearPass::chunk_of(teacher_head_, rows_.count);
    return of_teacher < of_student ? of_teacher : of_student;
  }

  LogitRows rows_of(LinearPass& pass, const Head& head, int64_t first, int64_t count) const {
    const float* const logits = pass.compute_logits(first, count);
    const double temperature = kernel_temperature(head);
    return {logits,  DType::float32,    pass.row_stride(), count, head.vocab_size, temperature, Softcap(head.softcap),
            nullptr, rows_.rows + first};
  }

  LaunchContext& context_;
  const CompactedRows rows_;
  const Head student_head_, teacher_head_;
  const int64_t chunk_;
  LinearPass student_;
  std::optional<LinearPass> teacher_;
};

}  // namespace
}  // namespace cuda

using namespace cuda;

Status head_divergence(const HeadDivergence& call) {
  CheckedCall checked(call);
  const Head& head = call.head;
  const TopKTeacher& top_k = checked.top_k;
  LaunchContext& context = checked.context;
  clear_rows(context, head.rows, call.divergence, call.saved);
  const auto write_rows = [&](const LogitRows& x, const LogitRows& y, int64_t) {
    if (!call.teacher.is_top_k()) return pair_forward(context, x, y, call);
    top_k_forward(context, x, top_k, call.type, call.jsd_beta, call.divergence, call.saved);
  };
  if (head.logits) {
    write_rows(checked.student_rows(), checked.teacher_rows(), 0);
  } else if (top_k.renormalize) {
    support_forward(context, head, checked.rows, top_k, call.type, call.jsd_beta, call.divergence, call.saved);
  } else {
    PairPass pass(checked);
    pass.each_chunk(write_rows);
  }
  return context.finish(nullptr);
}

Status head_divergence_backward(const HeadDivergenceBackward& call) {
  CheckedCall checked(call);
  const Head& head = call.head;
  const TopKTeacher& top_k = checked.top_k;
  const HeadGradients& out = call.gradients;
  LaunchContext& context = checked.context;
  const auto write_gradient = [&](const LogitRows& x, const LogitRows& y, float scale, void* gradient, int64_t length) {
    if (!call.teacher.is_top_k()) return pair_backward(context, x, y, call, scale, gradient, length);
    top_k_backward(context, x, top_k, call.type, call.jsd_beta, call.saved, call.grad_divergence, scale, gradient,
                   length);
  };
  if (head.logits) {
    write_gradient(checked.student_rows(), checked.teacher_rows(), 1, out.logits, head.logits_length);
    return context.finish(nullptr);
  }
  if (!out.accumulate && out.hidden) context.set_zero(out.hidden, 4 * head.rows * head.hidden_size);
  if (!out.accumulate && (checked.rows.count == 0 || top_k.renormalize)) {
    if (out.weight) context.set_zero(out.weight, 4 * head.vocab_size * head.hidden_size);
    if (out.bias) context.set_zero(out.bias, 4 * head.vocab_size);
  }
  if (top_k.renormalize) {
    support_backward(context, head, checked.rows, top_k, call.type, call.jsd_beta, call.saved, call.grad_divergence,
                     out);
    return context.finish(nullptr);
  }
  PairPass pass(checked);
  const float scale = pass.student().grad_scale_of(call.grad_divergence);
  pass.each_chunk([&](const LogitRows& x, const LogitRows& y, int64_t first) {
    write_gradient(x, y, scale, const_cast<void*>(x.logits), x.count * x.row_stride);
    pass.student().multiply_gradients(first, x.count, scale, out.accumulate || first > 0, out);
  });
  return context.finish(nullptr);
}

}  // namespace sweet
