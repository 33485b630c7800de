#include "preference.h"

#include "parallel.h"

namespace sweet {

Preference::Preference(const PreferenceBatch& batch, const PreferenceOptions& options, Units units)
    : batch_(batch),
      options_(options),
      kind_(units),
      units_(units == Units::trajectories ? batch.trajectories : batch.turns),
      keeps_(batch.tokens),
      turn_offsets_(batch.turns + 1),
      turn_lengths_(batch.turns),
      unit_offsets_(units_ + 1),
      unit_lengths_(units_),
      chosen_(batch.pairs.count),
      rejected_(batch.pairs.count),
      weights_(batch.pairs.count),
      unit_pairs_(units_),
      unit_scores_(units_),
      unit_slopes_(units_),
      unit_logps_(units_),
      unit_nll_(units_) {}

Status Preference::check(const int32_t* labels) {
  if (!keeps_.ok() || !turn_offsets_.ok() || !turn_lengths_.ok() || !unit_offsets_.ok() || !unit_lengths_.ok() ||
      !chosen_.ok() || !rejected_.ok() || !weights_.ok() || !unit_pairs_.ok() || !unit_scores_.ok() ||
      !unit_slopes_.ok() || !unit_logps_.ok() || !unit_nll_.ok()) {
    return {Code::memory};
  }
  Status status =
      check_offsets(batch_.turn_offsets, batch_.turns, batch_.tokens, Code::turn_offsets, turn_offsets_.get());
  if (!status.ok()) return status;
  if (kind_ == Units::trajectories) {
    status =
        check_offsets(batch_.trajectory_offsets, units_, batch_.turns, Code::trajectory_offsets, unit_offsets_.get());
    if (!status.ok()) return status;
  } else {
    for (int64_t k = 0; k <= units_ && !cancelled(); k++) unit_offsets_[k] = static_cast<int32_t>(k);
  }
  status = check_pairs(batch_.pairs, units_, chosen_.get(), rejected_.get(), weights_.get());
  if (!status.ok()) return status;

  clear(1, unit_pairs_.get(), units_);
  denominator_ = options_.pair_denominator;
  for (int64_t p = 0; p < pairs() && !cancelled(); p++) {
    if (unit_pairs_[chosen_[p]] > 0 || unit_pairs_[rejected_[p]] > 0) shared_ = true;
    unit_pairs_[chosen_[p]]++;
    unit_pairs_[rejected_[p]]++;
    if (options_.pair_denominator == 0) denominator_ += weights_[p];
  }

  if (labels) {
    for (Blocks block(0, batch_.tokens); block.next();)
      for (int64_t i = block.begin; i < block.end; i++) keeps_[i] = labels[i] >= 0;
  } else {
    status = copy_mask(batch_.mask, batch_.tokens, keeps_.get());
  }
  if (cancelled()) return ended();
  for (int64_t k = 0; k < units_ && !cancelled(); k++) {
    unit_lengths_[k] = 0;
    for (int64_t t = unit_offsets_[k]; t < unit_offsets_[k + 1]; t++) {
      turn_lengths_[t] = 0;
      for (Blocks block(turn_offsets_[t], turn_offsets_[t + 1]); block.next();)
        for (int64_t i = block.begin; i < block.end; i++) turn_lengths_[t] += keeps_[i];
      if (cancelled()) return ended();
      if (turn_lengths_[t] == 0 && options_.normalization == Normalization::turn_mean && !options_.allow_empty_turns) {
        return {Code::empty_turn, t, 0};
      }
      unit_lengths_[k] += turn_lengths_[t];
    }
    if (unit_lengths_[k] == 0 && options_.normalization == Normalization::token_mean && !options_.allow_empty_turns) {
      return {Code::empty_trajectory, k, 0};
    }
  }
  return ended();
}

double Preference::coefficient(int64_t t, int64_t k) const {
  return coefficient_of(options_.normalization, turn_lengths_[t], unit_lengths_[k]);
}

double Preference::log_ratios(int64_t t, const float* logps, const float* ref_logps) const {
  double sum = 0;
  for (Blocks block(turn_offsets_[t], turn_offsets_[t + 1]); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) {
      if (keeps_[i]) sum += static_cast<double>(logps[i]) - ref_logps[i];
    }
  return sum;
}

bool Preference::separable() const { return options_.nll_coef == 0 && !shared_; }

int64_t Preference::tokens_of_pair(int64_t p, int64_t* rows, float* counts) const {
  int64_t n = 0;
  const auto add = [&](int64_t k, double sign) {
    for (int64_t t = unit_offsets_[k]; t < unit_offsets_[k + 1] && !cancelled(); t++) {
      const float count = static_cast<float>(sign * coefficient(t, k));
      for (Blocks block(turn_offsets_[t], turn_offsets_[t + 1]); block.next();)
        for (int64_t i = block.begin; i < block.end; i++) {
          if (keeps_[i]) rows[n++] = i, counts[i] = count;
        }
    }
  };
  if (p >= 0) {
    add(chosen_[p], 1);
    add(rejected_[p], -1);
    return n;
  }
  for (int64_t k = 0; k < units_ && !cancelled(); k++) {
    if (unit_pairs_[k] == 0) add(k, 0);
  }
  return n;
}

double Preference::pair_slope(int64_t p, const float* logps, const float* ref_logps) const {
  const auto score = [&](int64_t k) {
    double sum = 0;
    for (int64_t t = unit_offsets_[k]; t < unit_offsets_[k + 1] && !cancelled(); t++) {
      sum += log_ratios(t, logps, ref_logps) * coefficient(t, k);
    }
    return sum;
  };
  const double weight = weights_[p] / denominator_;
  if (weight == 0) return 0;
  return weight * pair_term(options_.pair_loss, score(chosen_[p]) - score(rejected_[p])).slope;
}

void Preference::compute(const float* logps, const float* ref_logps, const PreferenceOut& out) {
  for (int64_t k = 0; k < units_ && !cancelled(); k++) {
    unit_scores_[k] = unit_slopes_[k] = unit_logps_[k] = unit_nll_[k] = 0;
    for (int64_t t = unit_offsets_[k]; t < unit_offsets_[k + 1] && !cancelled(); t++) {
      for (Blocks block(turn_offsets_[t], turn_offsets_[t + 1]); block.next();)
        for (int64_t i = block.begin; i < block.end; i++) {
          if (keeps_[i]) unit_logps_[k] += logps[i];
        }
      const double ratios = log_ratios(t, logps, ref_logps), score = ratios * coefficient(t, k);
      unit_scores_[k] += score;
      out.turn_advantages[t] = static_cast<float>(options_.normalization == Normalization::turn_mean ? score : ratios);
    }
  }

  const double beta = options_.pair_loss.beta;
  double chosen_tokens = 0, wins = 0;
  for (int64_t p = 0; p < pairs() && !cancelled(); p++) chosen_tokens += static_cast<double>(unit_lengths_[chosen_[p]]);

  double preference_loss = 0, nll = 0;
  for (int64_t p = 0; p < pairs() && !cancelled(); p++) {
    const int32_t chosen = chosen_[p], rejected = rejected_[p];
    const double delta = unit_scores_[chosen] - unit_scores_[rejected];
    const PairTerm term = pair_term(options_.pair_loss, delta);
    out.pair_losses[p] = static_cast<float>(term.loss);
    out.margins[p] = static_cast<float>(beta * delta);
    out.chosen_rewards[p] = static_cast<float>(beta * unit_scores_[chosen]);
    out.rejected_rewards[p] = static_cast<float>(beta * unit_scores_[rejected]);
    wins += delta > 0;
    nll -= unit_logps_[chosen];
    unit_nll_[chosen] += 1;

    const double weight = weights_[p] / denominator_;
    if (weight == 0) continue;  // a pair of weight 0 is absent, be its loss infinite
    preference_loss += weight * term.loss;
    unit_slopes_[chosen] += weight * term.slope;
    unit_slopes_[rejected] -= weight * term.slope;
  }
  const double nll_tokens = options_.nll_denominator > 0 ? options_.nll_denominator : chosen_tokens;
  const double nll_loss = nll_tokens > 0 ? nll / nll_tokens : 0;
  const double nll_slope = options_.nll_coef > 0 && nll_tokens > 0 ? options_.nll_coef / nll_tokens : 0;

  for (int64_t k = 0; k < units_ && !cancelled(); k++) {
    for (int64_t t = unit_offsets_[k]; t < unit_offsets_[k + 1] && !cancelled(); t++) {
      const double grad = unit_slopes_[k] * coefficient(t, k) - unit_nll_[k] * nll_slope;
      for (Blocks block(turn_offsets_[t], turn_offsets_[t + 1]); block.next();)
        for (int64_t i = block.begin; i < block.end; i++) {
          out.grad_logps[i] = keeps_[i] ? static_cast<float>(grad) : 0.0f;
        }
    }
  }
  out.scalars[0] = options_.nll_coef > 0 ? preference_loss + options_.nll_coef * nll_loss : preference_loss;
  out.scalars[1] = preference_loss;
  out.scalars[2] = nll_loss;
  out.scalars[3] = wins / static_cast<double>(batch_.pairs.count);
}

Status preference_of(const PreferenceBatch& batch, const PreferenceOptions& options, Units units, const float* logps,
                     const float* ref_logps, const PreferenceOut& out) {
  Preference preference(batch, options, units);
  if (const Status status = preference.check(nullptr); !status.ok()) return status;
  preference.compute(logps, ref_logps, out);
  return ended();
}

}  // namespace sweet
