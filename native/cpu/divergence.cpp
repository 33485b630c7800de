#include "divergence.h"

#include <algorithm>

namespace sweet {
namespace {

enum Term { kMaxX, kShiftX, kMaxY, kShiftY, kFactor, kKappa, kKappaRest };

/** 0 for the rows that are read, kMasked for the others. */
Status read_rows(const Labels& labels, int64_t rows, int32_t* read) {
  for (Blocks block(0, rows); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) read[i] = is_kept(labels, i) ? 0 : kMasked;
  return ended();
}

/** Of a HeadDivergence the forward pass, of a HeadDivergenceBackward the backward pass. */
template <class Call>
Status run_checked(const Call& call) {
  Scratch<int32_t> labels(call.head.rows);
  TopK top_k(call.teacher, call.head);
  if (!labels.ok() || !top_k.ok()) return {Code::memory};
  Status status = read_rows(call.labels, call.head.rows, labels.get());
  if (!status.ok()) return status;
  const bool linear = !call.head.logits;
  if (!call.teacher.is_top_k()) {
    return linear ? linear_divergence(call, labels.get()) : logits_divergence(call, labels.get());
  }
  status = top_k.check(labels.get());
  if (!status.ok()) return status;
  if (!linear) return logits_top_k(call, top_k, labels.get());
  return top_k.renormalizes() ? linear_support(call, top_k, labels.get()) : linear_top_k(call, top_k, labels.get());
}

}  // namespace

void PairTerms::set(int64_t token, const SavedRow& row, double factor) {
  const NormalizedRow x(row.lse_z, temperature_x_), y(row.lse_y, temperature_y_);
  const bool reverse = type_ == Divergence::reverse_kl;
  const double kappa = reverse ? row.kappa * 1.4426950408889634 + y.shift : row.kappa;
  const float rounded_kappa = static_cast<float>(kappa), kappa_rest = static_cast<float>(kappa - rounded_kappa);
  const float terms[kSize] = {x.max, x.shift, y.max, y.shift, static_cast<float>(factor), rounded_kappa, kappa_rest};
  for (int64_t k = 0; k < kSize; k++) memory_[k * stride_ + token] = terms[k];
}

void PairTerms::set_padding(int64_t count) {
  const float terms[kSize] = {INFINITY, 0, INFINITY, 0, 0, 0, 0};
  for (int64_t k = 0; k < kSize; k++) std::fill(memory_ + k * stride_ + count, memory_ + (k + 1) * stride_, terms[k]);
}

PairRows PairTerms::rows() const {
  const auto of = [&](Term term) { return memory_ + term * stride_; };
  return {of(kMaxX),
          of(kShiftX),
          of(kMaxY),
          of(kShiftY),
          of(kFactor),
          of(kKappa),
          of(kKappaRest),
          log2_scale(temperature_x_),
          log2_scale(temperature_y_)};
}

Status head_divergence(const HeadDivergence& call) { return run_checked(call); }

Status head_divergence_backward(const HeadDivergenceBackward& call) { return run_checked(call); }

}  // namespace sweet
