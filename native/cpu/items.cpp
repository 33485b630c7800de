#include "items.h"

#include <algorithm>
#include <cmath>

namespace sweet {

Items::Items(const ItemBatch& batch, Normalization normalization, bool allow_empty_turns, bool divides_by_length)
    : batch_(batch),
      normalization_(normalization),
      allow_empty_turns_(allow_empty_turns),
      divides_by_length_(divides_by_length),
      count_(batch.items()),
      tokens_(batch.labels, batch.tokens),
      turn_offsets_(batch.turns + 1),
      turn_weights_(batch.turns),
      item_offsets_(count_ + 1),
      weights_(count_) {}

bool Items::ok() const {
  return tokens_.ok() && turn_offsets_.ok() && turn_weights_.ok() && item_offsets_.ok() && weights_.ok();
}

Status Items::check_offsets() {
  const Status status =
      sweet::check_offsets(batch_.turn_offsets, batch_.turns, batch_.tokens, Code::turn_offsets, turn_offsets_.get());
  if (!status.ok()) return status;
  if (batch_.of_trajectories()) {
    return sweet::check_offsets(batch_.trajectory_offsets, count_, batch_.turns, Code::trajectory_offsets,
                                item_offsets_.get());
  }
  for (int64_t k = 0; k <= count_ && !cancelled(); k++) item_offsets_[k] = static_cast<int32_t>(k);
  return ended();
}

Status Items::check_tokens(const int32_t* checked_labels) {
  const Status status = tokens_.check(checked_labels);
  if (!status.ok()) return status;
  for (int64_t k = 0; k < count_ && !cancelled(); k++) {
    weights_[k] = 0;
    for (int64_t t = item_offsets_[k]; t < item_offsets_[k + 1]; t++) {
      turn_weights_[t] = tokens_.sum(turn_offsets_[t], turn_offsets_[t + 1]);
      if (cancelled()) return ended();
      if (turn_weights_[t] == 0 && normalization_ == Normalization::turn_mean && !allow_empty_turns_) {
        return {Code::empty_turn, t, 0};
      }
      weights_[k] += turn_weights_[t];
    }
    if (weights_[k] == 0 && (normalization_ == Normalization::token_mean || divides_by_length_) &&
        !allow_empty_turns_) {
      return {batch_.of_trajectories() ? Code::empty_trajectory : Code::empty_turn, k, 0};
    }
  }
  return ended();
}

int64_t Items::kept(int64_t k) const {
  int64_t count = 0;
  each_token(k, {}, [&](int64_t, int64_t, double) { count++; });
  return count;
}

double Items::ratio(int64_t k, Prefix prefix, const float* logps, const float* ref_logps, float* advantages) const {
  const auto advantage = [&](int64_t t, double sum, double of_turn) {
    if (advantages) {
      advantages[t] = static_cast<float>(normalization_ == Normalization::turn_mean ? of_turn : sum);
    }
  };
  if (!ref_logps)
    return score(
        k, prefix, [&](int64_t i) { return static_cast<double>(logps[i]); }, advantage);
  return score(
      k, prefix, [&](int64_t i) { return static_cast<double>(logps[i]) - ref_logps[i]; }, advantage);
}

void Items::scatter(int64_t k, double grad, double constant, float* to) const {
  each_turn(k, [&](int64_t t, int64_t first, int64_t last) {
    tokens_.scale(grad * coefficient(t, k) - constant, first, last, to);
  });
}

double Items::least_coefficient(int64_t k) const {
  double least = INFINITY;
  each_turn(k, [&](int64_t t, int64_t first, int64_t last) {
    const double of_turn = coefficient(t, k);
    tokens_.each(first, last, [&](int64_t, double m) { least = std::min(least, m * of_turn); });
  });
  return least;
}

int64_t Items::gather(int64_t k, double sign, Prefix prefix, int64_t n, int64_t* rows, float* coefficients) const {
  int64_t seen = 0;
  each_turn(k, [&](int64_t t, int64_t first, int64_t last) {
    const double of_turn = sign * coefficient(t, k);
    for (Blocks block(first, last); block.next();)
      for (int64_t i = block.begin; i < block.end; i++) {
        if (!tokens_.is_kept(i)) continue;
        const double weight = tokens_.weight(i);
        rows[n++] = i;
        coefficients[i] = static_cast<float>(of_turn * weight * (seen < prefix.tokens ? 1.0 : prefix.rest));
        if (weight > 0) seen++;
      }
  });
  return n;
}

}  // namespace sweet
