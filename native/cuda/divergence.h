// Divergences on the device: what the files of divergences share. All pointers are to device memory.
#pragma once

#include "../divergence.h"
#include "linear_head.h"

namespace sweet {
namespace cuda {

/** Rows of logits in device memory: all rows of a head of logits, or the chunk of a linear head. */
struct LogitRows {
  const void* logits;  // rows `row_stride` elements apart
  DType dtype;
  int64_t row_stride, count, vocab_size;
  double temperature;  // of the logits as kernels take them: kernel_temperature()
  Softcap cap;
  const int32_t* labels;  // [count], negative where a row is not read; null: all are
  const int64_t* rows;    // [count] where their results are; null: in their order

  /** By which gradients are divided. */
  SWEET_HOST_DEVICE double head_temperature() const { return temperature * cap.value(); }
};

SWEET_HOST_DEVICE inline SavedRow saved_row(const double* saved, int64_t row) {
  const double* const at = saved + row * kSavedSize;
  return {at[0], at[1], at[2], at[3]};
}

SWEET_HOST_DEVICE inline void write_row(float* out, double* saved, int64_t row, const RowDivergence& of_row) {
  double* const at = saved + row * kSavedSize;
  out[row] = static_cast<float>(of_row.divergence);
  at[0] = of_row.saved.lse_z;
  at[1] = of_row.saved.lse_y;
  at[2] = of_row.saved.kappa;
  at[3] = of_row.saved.log_q_tail;
}

/** [N]: 0 for the rows that are read, kMasked for the others. */
const int32_t* kept_rows(LaunchContext& context, const Labels& labels, int64_t rows);
/** 0 for all rows. */
void clear_rows(LaunchContext& context, int64_t rows, float* out, double* saved);

/** x the student's rows, y the teacher's. */
void pair_forward(LaunchContext& context, const LogitRows& x, const LogitRows& y, const HeadDivergence& call);
/** gradient [length]: as x, may be x; `scale` multiplies it. */
void pair_backward(LaunchContext& context, const LogitRows& x, const LogitRows& y, const HeadDivergenceBackward& call,
                   float scale, void* gradient, int64_t length);

/** Of a teacher that was checked, in the order of the call. */
struct TopKTeacher {
  const int32_t* indices;  // [N, K]
  const float* logps;      // [N, K]
  int64_t k;
  bool renormalize, bucket;
};

/** Records the fault of the first row that breaks a rule. */
TopKTeacher check_top_k(LaunchContext& context, const Teacher& teacher, const Head& head, const int32_t* labels);

/** The logits of the supports are read from the rows. */
void top_k_forward(LaunchContext& context, const LogitRows& rows, const TopKTeacher& top_k, Divergence type,
                   double beta, float* out, double* saved);
/** gradient [length]: of the rows' type, with their stride, may be the logits; `scale` multiplies it. */
void top_k_backward(LaunchContext& context, const LogitRows& rows, const TopKTeacher& top_k, Divergence type,
                    double beta, const double* saved, const float* grad_divergence, float scale, void* gradient,
                    int64_t length);

/** A linear head from a renormalised teacher: K products of each of the compacted rows. */
void support_forward(LaunchContext& context, const Head& head, const CompactedRows& rows, const TopKTeacher& top_k,
                     Divergence type, double beta, float* out, double* saved);
void support_backward(LaunchContext& context, const Head& head, const CompactedRows& rows, const TopKTeacher& top_k,
                      Divergence type, double beta, const double* saved, const float* grad_divergence,
                      const HeadGradients& out);

}  // namespace cuda
}  // namespace sweet
