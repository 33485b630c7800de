#include "preference_loss.h"

#include "parallel.h"

namespace sweet {

PreferenceComputation::PreferenceComputation(const PreferenceBatch& batch, const PreferenceOptions& options)
    : batch_(batch),
      options_(options),
      items_(batch.items()),
      tokens_(batch.labels, batch.tokens),
      turn_offsets_(batch.turns + 1),
      turn_weights_(batch.turns),
      item_offsets_(items_ + 1),
      item_weights_(items_),
      chosen_(batch.pairs.count),
      rejected_(batch.pairs.count),
      weights_(batch.pairs.count),
      item_pairs_(items_),
      scores_(items_),
      grad_scores_(items_),
      item_logps_(items_),
      times_chosen_(items_) {}

Status PreferenceComputation::check(const int32_t* labels) {
  if (!tokens_.ok() || !turn_offsets_.ok() || !turn_weights_.ok() || !item_offsets_.ok() || !item_weights_.ok() ||
      !chosen_.ok() || !rejected_.ok() || !weights_.ok() || !item_pairs_.ok() || !scores_.ok() || !grad_scores_.ok() ||
      !item_logps_.ok() || !times_chosen_.ok()) {
    return {Code::memory};
  }
  Status status =
      check_offsets(batch_.turn_offsets, batch_.turns, batch_.tokens, Code::turn_offsets, turn_offsets_.get());
  if (!status.ok()) return status;
  if (batch_.of_trajectories()) {
    status =
        check_offsets(batch_.trajectory_offsets, items_, batch_.turns, Code::trajectory_offsets, item_offsets_.get());
    if (!status.ok()) return status;
  } else {
    for (int64_t k = 0; k <= items_ && !cancelled(); k++) item_offsets_[k] = static_cast<int32_t>(k);
  }
  status = check_pairs(batch_.pairs, items_, chosen_.get(), rejected_.get(), weights_.get());
  if (!status.ok()) return status;

  clear(1, item_pairs_.get(), items_);
  denominator_ = options_.pair_denominator;
  for (int64_t p = 0; p < pairs() && !cancelled(); p++) {
    if (item_pairs_[chosen_[p]] > 0 || item_pairs_[rejected_[p]] > 0) shared_ = true;
    item_pairs_[chosen_[p]]++;
    item_pairs_[rejected_[p]]++;
    if (options_.pair_denominator == 0) denominator_ += weights_[p];
  }

  status = tokens_.check(labels);
  if (!status.ok()) return status;
  for (int64_t k = 0; k < items_ && !cancelled(); k++) {
    item_weights_[k] = 0;
    for (int64_t t = item_offsets_[k]; t < item_offsets_[k + 1]; t++) {
      turn_weights_[t] = tokens_.sum(turn_offsets_[t], turn_offsets_[t + 1]);
      if (cancelled()) return ended();
      if (turn_weights_[t] == 0 && options_.normalization == Normalization::turn_mean && !options_.allow_empty_turns) {
        return {Code::empty_turn, t, 0};
      }
      item_weights_[k] += turn_weights_[t];
    }
    if (item_weights_[k] == 0 && options_.normalization == Normalization::token_mean && !options_.allow_empty_turns) {
      return {Code::empty_trajectory, k, 0};
    }
  }
  return ended();
}

double PreferenceComputation::coefficient(int64_t t, int64_t k) const {
  return score_coefficient(options_.normalization, turn_weights_[t], item_weights_[k]);
}

double PreferenceComputation::log_ratios(int64_t t, const float* logps, const float* ref_logps) const {
  double sum = 0;
  tokens_.each(turn_offsets_[t], turn_offsets_[t + 1],
               [&](int64_t i, double weight) { sum += weight * (static_cast<double>(logps[i]) - ref_logps[i]); });
  return sum;
}

bool PreferenceComputation::separable() const { return options_.nll_coef == 0 && !shared_; }

int64_t PreferenceComputation::tokens_of_pair(int64_t p, int64_t* rows, float* coefficients) const {
  int64_t n = 0;
  const auto add = [&](int64_t k, double sign) {
    for (int64_t t = item_offsets_[k]; t < item_offsets_[k + 1] && !cancelled(); t++) {
      const double coefficient_of_turn = sign * coefficient(t, k);
      for (Blocks block(turn_offsets_[t], turn_offsets_[t + 1]); block.next();)
        for (int64_t i = block.begin; i < block.end; i++) {
          if (!tokens_.is_kept(i)) continue;
          rows[n++] = i;
          coefficients[i] = static_cast<float>(coefficient_of_turn * tokens_.weight(i));
        }
    }
  };
  if (p >= 0) {
    add(chosen_[p], 1);
    add(rejected_[p], -1);
    return n;
  }
  for (int64_t k = 0; k < items_ && !cancelled(); k++) {
    if (item_pairs_[k] == 0) add(k, 0);
  }
  return n;
}

double PreferenceComputation::pair_grad(int64_t p, const float* logps, const float* ref_logps) const {
  const auto score = [&](int64_t k) {
    double sum = 0;
    for (int64_t t = item_offsets_[k]; t < item_offsets_[k + 1] && !cancelled(); t++) {
      sum += log_ratios(t, logps, ref_logps) * coefficient(t, k);
    }
    return sum;
  };
  const double weight = weights_[p] / denominator_;
  if (weight == 0) return 0;
  return weight * pair_term(options_.pair_loss, score(chosen_[p]) - score(rejected_[p])).grad;
}

void PreferenceComputation::compute(const float* logps, const float* ref_logps, const PreferenceOut& out) {
  for (int64_t k = 0; k < items_ && !cancelled(); k++) {
    scores_[k] = grad_scores_[k] = item_logps_[k] = times_chosen_[k] = 0;
    for (int64_t t = item_offsets_[k]; t < item_offsets_[k + 1] && !cancelled(); t++) {
      tokens_.each(turn_offsets_[t], turn_offsets_[t + 1],
                   [&](int64_t i, double m) { item_logps_[k] += m * logps[i]; });
      const double ratios = log_ratios(t, logps, ref_logps), score = ratios * coefficient(t, k);
      scores_[k] += score;
      out.turn_advantages[t] = static_cast<float>(options_.normalization == Normalization::turn_mean ? score : ratios);
    }
  }

  const double beta = options_.pair_loss.beta;
  double chosen_weight = 0, wins = 0;
  for (int64_t p = 0; p < pairs() && !cancelled(); p++) {
    if (weights_[p] > 0) chosen_weight += item_weights_[chosen_[p]];
  }

  double preference_loss = 0, nll = 0;
  for (int64_t p = 0; p < pairs() && !cancelled(); p++) {
    const int32_t chosen = chosen_[p], rejected = rejected_[p];
    const double delta = scores_[chosen] - scores_[rejected];
    const PairTerm term = pair_term(options_.pair_loss, delta);
    out.pair_losses[p] = static_cast<float>(term.loss);
    out.margins[p] = static_cast<float>(beta * delta);
    out.chosen_rewards[p] = static_cast<float>(beta * scores_[chosen]);
    out.rejected_rewards[p] = static_cast<float>(beta * scores_[rejected]);
    wins += delta > 0;
    if (weights_[p] == 0) continue;  // a pair of weight 0 is in no loss, even if its own is infinite
    nll -= item_logps_[chosen];
    times_chosen_[chosen] += 1;

    const double weight = weights_[p] / denominator_;
    if (weight == 0) continue;  // the quotient may underflow: 0 * inf would be NaN
    preference_loss += weight * term.loss;
    grad_scores_[chosen] += weight * term.grad;
    grad_scores_[rejected] -= weight * term.grad;
  }
  const double nll_weight = options_.nll_denominator > 0 ? options_.nll_denominator : chosen_weight;
  const double nll_loss = nll_weight > 0 ? nll / nll_weight : 0;
  const double nll_grad = options_.nll_coef > 0 && nll_weight > 0 ? options_.nll_coef / nll_weight : 0;

  for (int64_t k = 0; k < items_ && !cancelled(); k++) {
    for (int64_t t = item_offsets_[k]; t < item_offsets_[k + 1] && !cancelled(); t++) {
      const double grad = grad_scores_[k] * coefficient(t, k) - times_chosen_[k] * nll_grad;
      tokens_.scale(grad, turn_offsets_[t], turn_offsets_[t + 1], out.grad_logps);
    }
  }
  out.scalars[0] = options_.nll_coef > 0 ? preference_loss + options_.nll_coef * nll_loss : preference_loss;
  out.scalars[1] = preference_loss;
  out.scalars[2] = nll_loss;
  out.scalars[3] = wins / static_cast<double>(batch_.pairs.count);
}

Status preference_loss(const PreferenceLoss& call) {
  PreferenceComputation loss(call.batch, call.options);
  if (const Status status = loss.check(nullptr); !status.ok()) return status;
  loss.compute(call.logps, call.ref_logps, call.out);
  return ended();
}

}  // namespace sweet
