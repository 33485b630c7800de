#include "layout.h"

namespace sweet {

Status check_labels(const Labels& labels, int64_t rows, int64_t vocab, int32_t* checked) {
  for (int64_t i = 0; i < rows; i++) {
    if (!checked_label(labels, i, vocab, &checked[i])) return {Code::label, i, label_at(labels, i)};
  }
  return {};
}

Status check_offsets(const int32_t* offsets, int64_t groups, int64_t total, Code code, int32_t* checked) {
  int32_t last = 0;
  for (int64_t i = 0; i <= groups; i++) {
    const int32_t offset = offsets[i];
    if (!offset_fits(offset, last, i, groups, total)) return {code, i, offset};
    checked[i] = last = offset;
  }
  return {};
}

Status check_pairs(const Pairs& pairs, int64_t units, int32_t* chosen, int32_t* rejected, float* weights) {
  double sum = 0;
  for (int64_t p = 0; p < pairs.count; p++) {
    chosen[p] = pairs.chosen[p];
    rejected[p] = pairs.rejected[p];
    weights[p] = pairs.weights ? pairs.weights[p] : 1.0f;
    const Code fault = pair_fault(chosen[p], rejected[p], weights[p], units);
    if (fault != Code::ok) return {fault, p, fault == Code::rejected ? rejected[p] : chosen[p]};
    sum += weights[p];
  }
  if (sum == 0) return {Code::zero_weights, 0, 0};
  return {};
}

}  // namespace sweet
