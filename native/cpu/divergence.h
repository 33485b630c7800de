// Divergences on the CPU: of rows of logits (logits_divergence.cpp), of linear heads (linear_divergence.cpp), and what
// a top-k teacher needs (top_k.h).
#pragma once

#include <algorithm>

#include "../divergence.h"
#include "../scratch.h"
#include "kernels.h"
#include "top_k.h"

namespace sweet {

constexpr int64_t kRowColumns = 16;  // the lanes of the widest vector

/** The terms of PairRows for `stride` tokens, a multiple of kRowColumns, in `memory` of kSize * stride elements. */
class PairTerms {
 public:
  static constexpr int64_t kSize = 7;

  PairTerms(float* memory, int64_t stride, const Head& student, const Head& teacher, Divergence type)
      : memory_(memory),
        stride_(stride),
        temperature_x_(kernel_temperature(student)),
        temperature_y_(kernel_temperature(teacher)),
        type_(type) {}

  /** factor: g / temperature, of jsd times 1 - beta. */
  void set(int64_t token, const SavedRow& row, double factor);
  /** Tokens from `count` on: the probability 0 and the factor 0. */
  void set_padding(int64_t count);
  PairRows rows() const;

 private:
  float* const memory_;
  const int64_t stride_;
  const double temperature_x_, temperature_y_;
  const Divergence type_;
};

/** The terms of one row, for each lane of a vector. */
class RowTerms {
 public:
  RowTerms(const Head& student, const Head& teacher, Divergence type, const SavedRow& row, double factor)
      : terms_(memory_, kRowColumns, student, teacher, type) {
    terms_.set(0, row, factor);
    for (int64_t k = 0; k < PairTerms::kSize; k++) {
      std::fill_n(memory_ + k * kRowColumns + 1, kRowColumns - 1, memory_[k * kRowColumns]);
    }
  }
  PairRows rows() const { return terms_.rows(); }

 private:
  float memory_[PairTerms::kSize * kRowColumns];
  PairTerms terms_;
};

inline void add_sums(JsdSums* to, const JsdSums& sums) {
  to->divergence += sums.divergence;
  to->kappa += sums.kappa;
}

inline SavedRow saved_row(const double* saved, int64_t row) {
  const double* const at = saved + row * kSavedSize;
  return {at[0], at[1], at[2], at[3]};
}

inline void write_row(const HeadDivergence& call, int64_t row, double divergence, const SavedRow& saved) {
  double* const at = call.saved + row * kSavedSize;
  call.divergence[row] = static_cast<float>(divergence);
  at[0] = saved.lse_z, at[1] = saved.lse_y, at[2] = saved.kappa, at[3] = saved.log_q_tail;
}

// The passes by the kind of the head and of the teacher: of a HeadDivergence forward, of a HeadDivergenceBackward
// backward.

Status logits_divergence(const HeadDivergence& call, const int32_t* labels);
Status logits_divergence(const HeadDivergenceBackward& call, const int32_t* labels);

Status linear_divergence(const HeadDivergence& call, const int32_t* labels);
Status linear_divergence(const HeadDivergenceBackward& call, const int32_t* labels);

Status linear_top_k(const HeadDivergence& call, const TopK& top_k, const int32_t* labels);
Status linear_top_k(const HeadDivergenceBackward& call, const TopK& top_k, const int32_t* labels);

/** With 'renormalize': K products of a row. */
Status linear_support(const HeadDivergence& call, const TopK& top_k, const int32_t* labels);
Status linear_support(const HeadDivergenceBackward& call, const TopK& top_k, const int32_t* labels);

Status logits_top_k(const HeadDivergence& call, const TopK& top_k, const int32_t* labels);
Status logits_top_k(const HeadDivergenceBackward& call, const TopK& top_k, const int32_t* labels);

}  // namespace sweet
