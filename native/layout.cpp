#include "layout.h"

#include "cancel.h"

namespace sweet {

Status check_labels(const Labels& labels, int64_t rows, const VocabShard& shard, int32_t* checked) {
  for (Blocks block(0, rows); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) {
      int64_t label = 0;
      if (!checked_label(labels, i, shard, &checked[i], &label)) return {Code::label, i, label};
    }
  return ended();
}

Status copy_kept(const Labels& labels, int64_t tokens, uint8_t* kept) {
  for (Blocks block(0, tokens); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) kept[i] = is_kept(labels, i);
  return ended();
}

Status check_weights(const Labels& labels, int64_t tokens, const uint8_t* kept, float* weights) {
  for (Blocks block(0, tokens); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) {
      weights[i] = token_weight(labels, i, kept[i]);
      if (!is_weight(weights[i])) return {Code::token_weight, i, weight_bits(weights[i])};
    }
  return ended();
}

Status check_offsets(const int32_t* offsets, int64_t groups, int64_t total, Code code, int32_t* checked) {
  int32_t last = 0;
  for (Blocks block(0, groups + 1); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) {
      const int32_t offset = read_once(offsets[i]);
      if (!offset_fits(offset, last, i, groups, total)) return {code, i, offset};
      checked[i] = last = offset;
    }
  return ended();
}

Status check_pairs(const Pairs& pairs, int64_t items, int32_t* chosen, int32_t* rejected, float* weights) {
  double sum = 0;
  for (int64_t p = 0; p < pairs.count && !cancelled(); p++) {
    chosen[p] = read_once(pairs.chosen[p]);
    rejected[p] = read_once(pairs.rejected[p]);
    weights[p] = pairs.weights ? read_once(pairs.weights[p]) : 1.0f;
    const Code fault = pair_fault(chosen[p], rejected[p], weights[p], items);
    if (fault != Code::ok) return {fault, p, fault == Code::rejected ? rejected[p] : chosen[p]};
    sum += weights[p];
  }
  if (cancelled()) return ended();
  if (sum == 0) return {Code::zero_weights, 0, 0};
  return {};
}

}  // namespace sweet
