#include "top_k.h"

#include <algorithm>

#include "../backend.h"
#include "parallel.h"

namespace sweet {

TopK::TopK(const Teacher& teacher, const Head& head)
    : teacher_(teacher),
      head_(head),
      k_(teacher.k),
      workers_(threads()),
      indices_(head.rows * k_),
      logps_(head.rows * k_),
      faults_(k_ > 0 ? head.rows : 0),
      sorted_(workers_ * k_) {}

Status TopK::check(const int32_t* labels) {
  parallel_for(workers_, head_.rows, head_.rows * k_ * 16, [&](int64_t i, int worker) {
    faults_[i] = labels[i] < 0 ? Status{} : check_row(i, sorted_.get() + worker * k_);
  });
  for (int64_t i = 0; i < head_.rows && !cancelled(); i++) {
    if (!faults_[i].ok()) return faults_[i];
  }
  return ended();
}

Status TopK::check_row(int64_t row, Entry* sorted) {
  const int64_t first = row * k_;
  for (int64_t k = 0; k < k_; k++) {
    const int32_t index = read_once(teacher_.indices[first + k]);
    if (index < 0 || index >= head_.vocab_size) return {Code::teacher_index, first + k, index};
    sorted[k] = {index, static_cast<int32_t>(k)};
  }
  std::sort(sorted, sorted + k_, [](const Entry& a, const Entry& b) {
    return a.index != b.index ? a.index < b.index : a.position < b.position;
  });
  int64_t twice = k_;
  double sum = 0;
  for (int64_t k = 0; k < k_; k++) {
    if (k > 0 && sorted[k].index == sorted[k - 1].index) twice = std::min<int64_t>(twice, sorted[k].position);
    indices_[first + k] = sorted[k].index;
    logps_[first + k] = read_once(teacher_.logps[first + sorted[k].position]);
    sum += exp(static_cast<double>(logps_[first + k]));
  }
  if (twice < k_) return {Code::teacher_twice, first + twice, read_once(teacher_.indices[first + twice])};
  if (!valid_support(sum, !renormalizes() && !has_bucket())) return {Code::teacher_logps, row};
  return {};
}

TopKProbs probs_of(const TopK& top_k, int64_t row) {
  double sum = 0;
  for (int64_t k = 0; k < top_k.k(); k++) sum += exp(static_cast<double>(top_k.logps(row)[k]));
  return {sum, top_k.renormalizes(), top_k.has_bucket()};
}

TopKRow::TopKRow(const TopK& top_k, int64_t row, const float* logits, const SoftmaxStats& others, double temperature,
                 Divergence type, double beta)
    : divergence(0), saved{} {
  const int64_t k_count = top_k.k();
  const bool bucket = top_k.has_bucket();
  const auto part = [&](int64_t k) { return k < k_count ? SoftmaxStats{logits[k], 1, 0} : others; };
  const SoftmaxStats all = merge_stats(bucket ? k_count + 1 : k_count, temperature, part);
  saved.lse_z = lse_of(static_cast<float>(all.max), all.sum_exp, temperature);
  const TopKProbs probs = probs_of(top_k, row);
  saved.lse_y = probs.log_norm + log(probs.sum);
  if (bucket) {
    const double lse = others.sum_exp == 0 ? -INFINITY : others.max / temperature + log(others.sum_exp);
    saved.log_q_tail = lse - saved.lse_z;
  }
  DivergenceSum d{0, 0};
  for (int64_t k = 0; k < k_count; k++) {
    d.add(type, beta, top_k.logps(row)[k] - probs.log_norm, logits[k] / temperature - saved.lse_z);
  }
  if (bucket) d.add(type, beta, probs.log_tail, saved.log_q_tail);
  divergence = cut_at_0(d.divergence);
  saved.kappa = type == Divergence::reverse_kl ? divergence : d.kappa;
}

TopKGradient top_k_gradient(const HeadDivergenceBackward& call, const TopK& top_k, int64_t row) {
  const double* const at = call.saved + row * kSavedSize;
  return {probs_of(top_k, row),
          top_k.has_bucket(),
          {at[0], at[1], at[2], at[3]},
          kernel_temperature(call.head),
          call.type,
          call.jsd_beta,
          call.grad_divergence[row] / call.head.temperature};
}

}  // namespace sweet
