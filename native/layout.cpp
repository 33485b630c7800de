#include "layout.h"

#include <cmath>

namespace sweet {

Status check_labels(const Labels& labels, int64_t rows, int64_t vocab, int32_t* checked) {
  for (int64_t i = 0; i < rows; i++) {
    if (labels.mask && labels.mask[i] == 0) {
      checked[i] = kMasked;
      continue;
    }
    const int64_t label =
        labels.wide ? static_cast<const int64_t*>(labels.data)[i] : static_cast<const int32_t*>(labels.data)[i];
    if (label == labels.ignore_index) {
      checked[i] = kIgnored;
    } else if (label >= 0 && label < vocab) {
      checked[i] = static_cast<int32_t>(label);
    } else {
      return {Code::label, i, label};
    }
  }
  return {};
}

Status check_offsets(const int32_t* offsets, int64_t groups, int64_t total, Code code, int32_t* checked) {
  int32_t last = 0;
  for (int64_t i = 0; i <= groups; i++) {
    const int32_t offset = offsets[i];
    if (offset < last || offset > total || (i == 0 && offset != 0) || (i == groups && offset != total)) {
      return {code, i, offset};
    }
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
    if (chosen[p] < 0 || chosen[p] >= units) return {Code::chosen, p, chosen[p]};
    if (rejected[p] < 0 || rejected[p] >= units) return {Code::rejected, p, rejected[p]};
    if (chosen[p] == rejected[p]) return {Code::same_pair, p, chosen[p]};
    if (!std::isfinite(weights[p]) || weights[p] < 0) return {Code::pair_weight, p, 0};
    sum += weights[p];
  }
  if (sum == 0) return {Code::zero_weights, 0, 0};
  return {};
}

}  // namespace sweet
