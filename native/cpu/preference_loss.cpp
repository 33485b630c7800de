#include "preference_loss.h"

#include <algorithm>

#include "parallel.h"

namespace sweet {

PreferenceComputation::PreferenceComputation(const PreferenceBatch& batch, const PreferenceOptions& options,
                                             const PreferenceOut& out)
    : batch_(batch),
      options_(options),
      out_(out),
      items_(batch, options.normalization, options.allow_empty_turns, options.divides_by_length()),
      chosen_(batch.pairs.count),
      rejected_(batch.pairs.count),
      weights_(batch.pairs.count),
      item_pairs_(batch.items()),
      pair_of_(batch.items()),
      scores_(options.by_pair() ? 0 : batch.items()),
      grads_(options.by_pair() ? 0 : batch.items()),
      token_grads_(options.by_pair() ? batch.tokens : 0),
      item_logps_(batch.items()),
      times_chosen_(batch.items()),
      log_weights_(options.use_weighting ? batch.items() : 0),
      matches_(options.pair_loss.has_batch() ? options.pair_loss.count * batch.pairs.count : 0),
      keys_(options.pair_loss.has_batch() ? batch.pairs.count : 0),
      ranked_(options.pair_loss.has_batch() ? 2 * batch.pairs.count : 0) {}

Status PreferenceComputation::check(const int32_t* labels) {
  if (!items_.ok() || !chosen_.ok() || !rejected_.ok() || !weights_.ok() || !item_pairs_.ok() || !pair_of_.ok() ||
      !scores_.ok() || !grads_.ok() || !token_grads_.ok() || !item_logps_.ok() || !times_chosen_.ok() ||
      !log_weights_.ok() || !matches_.ok() || !keys_.ok() || !ranked_.ok()) {
    return {Code::memory};
  }
  Status status = items_.check_offsets();
  if (!status.ok()) return status;
  status = check_pairs(batch_.pairs, items_.count(), chosen_.get(), rejected_.get(), weights_.get());
  if (!status.ok()) return status;

  clear(1, item_pairs_.get(), items_.count());
  denominator_ = options_.pair_denominator;
  for (int64_t p = 0; p < pairs() && !cancelled(); p++) {
    if (item_pairs_[chosen_[p]] > 0 || item_pairs_[rejected_[p]] > 0) shared_ = true;
    item_pairs_[chosen_[p]]++;
    item_pairs_[rejected_[p]]++;
    pair_of_[chosen_[p]] = pair_of_[rejected_[p]] = static_cast<int32_t>(p);
    if (options_.pair_denominator == 0) denominator_ += weights_[p];
  }

  status = items_.check_tokens(labels);
  if (!status.ok()) return status;
  for (int64_t p = 0; p < pairs() && !cancelled(); p++) {
    if (weights_[p] > 0) chosen_weight_ += items_.weight(chosen_[p]);
  }
  separation_ = separation();
  if (separation_ != Separation::none && least_coefficient() < kLeastCoefficient) separation_ = Separation::none;
  return ended();
}

double PreferenceComputation::nll_grad() const {
  return options_.nll_coef > 0 && nll_weight() > 0 ? options_.nll_coef / nll_weight() : 0;
}

Prefix PreferenceComputation::prefix_of(int64_t p) const {
  if (!options_.by_pair()) return {};
  return {std::min(items_.kept(chosen_[p]), items_.kept(rejected_[p])), options_.ld_alpha};
}

/** advantages: [T], or null. */
ItemScore PreferenceComputation::score(int64_t k, Prefix prefix, const TokenLogps& logps, float* advantages) const {
  const auto nothing = [](int64_t, double, double) {};
  const float *policy = logps.logps, *ref = logps.ref_logps;
  ItemScore score{0, 0, 0, items_.length(k)};
  score.ratio = items_.ratio(k, prefix, policy, ref, advantages);
  if (!ref) {
    score.policy = score.ratio;
    return score;
  }
  if (options_.pair_loss.has_policy()) {
    score.policy = items_.score(
        k, prefix, [&](int64_t i) { return static_cast<double>(policy[i]); }, nothing);
  }
  if (options_.pair_loss.has_batch()) {
    score.ref = items_.score(
        k, prefix, [&](int64_t i) { return static_cast<double>(ref[i]); }, nothing);
  }
  return score;
}

PreferenceComputation::PairScores PreferenceComputation::scores_of(int64_t p, const TokenLogps& logps) const {
  if (!options_.by_pair()) return {scores_[chosen_[p]], scores_[rejected_[p]]};
  const Prefix prefix = prefix_of(p);
  return {score(chosen_[p], prefix, logps, nullptr), score(rejected_[p], prefix, logps, nullptr)};
}

double PreferenceComputation::log_weight(int64_t k, const TokenLogps& logps) const {
  double sum = 0;
  items_.each_token(k, {}, [&](int64_t, int64_t i, double m) {
    sum += m * (static_cast<double>(logps.logps[i]) - log(static_cast<double>(logps.sum_squared_probs[i])));
  });
  return items_.weight(k) > 0 ? sum / items_.weight(k) : 0;
}

/** For each type of the batch and each pair, the keys of the other side that have the ranks of this pair's keys. */
void PreferenceComputation::match_ranks(const TokenLogps& logps) {
  int64_t *const left = ranked_.get(), *const right = left + pairs();
  for (int64_t j = 0; j < options_.pair_loss.count && !cancelled(); j++) {
    if (!options_.pair_loss.is_batch(j)) continue;
    for (int64_t p = 0; p < pairs() && !cancelled(); p++) {
      const PairScores scores = scores_of(p, logps);
      keys_[p] = sort_keys(options_.pair_loss.terms[j].type, scores.chosen, scores.rejected);
      left[p] = right[p] = p;
    }
    std::sort(left, right, [&](int64_t p, int64_t q) { return ranks_before(keys_[p].left, p, keys_[q].left, q); });
    std::sort(right, right + pairs(),
              [&](int64_t p, int64_t q) { return ranks_before(keys_[p].right, p, keys_[q].right, q); });
    RankMatch* const matches = &matches_[j * pairs()];
    for (int64_t rank = 0; rank < pairs() && !cancelled(); rank++) {
      matches[left[rank]].right_of_left = keys_[right[rank]].right;
      matches[right[rank]].left_of_right = keys_[left[rank]].left;
    }
  }
}

/** Of a pair whose scores do not hold for other pairs of its items. */
void PreferenceComputation::add_token_grads(int64_t p, const PairTerm& term, double weight) {
  const Prefix prefix = prefix_of(p);
  for (const auto& [k, slope] : {std::pair{chosen_[p], term.chosen}, {rejected_[p], term.rejected}}) {
    items_.each_token(k, prefix, [&, item = k, grad = weight * slope](int64_t t, int64_t i, double m) {
      token_grads_[i] += grad * items_.coefficient(t, item) * m;
    });
  }
}

void PreferenceComputation::compute(const TokenLogps& logps) {
  const bool by_pair = options_.by_pair();
  if (by_pair) clear(1, token_grads_.get(), batch_.tokens);
  for (int64_t k = 0; k < items_.count() && !cancelled(); k++) {
    item_logps_[k] = times_chosen_[k] = 0;
    items_.each_token(k, {}, [&](int64_t, int64_t i, double m) { item_logps_[k] += m * logps.logps[i]; });
    const ItemScore of_item = score(k, {}, logps, out_.turn_advantages);
    if (options_.use_weighting) log_weights_[k] = log_weight(k, logps);
    if (by_pair) continue;
    scores_[k] = of_item;
    grads_[k] = 0;
  }
  if (options_.pair_loss.has_batch()) match_ranks(logps);

  const double beta = options_.pair_loss.parameters.beta;
  double preference_loss = 0, nll = 0, wins = 0;
  for (int64_t p = 0; p < pairs() && !cancelled(); p++) {
    const int32_t chosen = chosen_[p], rejected = rejected_[p];
    const PairScores scores = scores_of(p, logps);
    const PairTerm term = pair_term(options_.pair_loss, scores.chosen, scores.rejected, matches_.get() + p, pairs());
    const double of_chosen = metric_score(options_.pair_loss, scores.chosen);
    const double of_rejected = metric_score(options_.pair_loss, scores.rejected);
    const double delta = of_chosen - of_rejected;
    out_.pair_losses[p] = static_cast<float>(term.loss);
    out_.margins[p] = static_cast<float>(beta * delta);
    out_.chosen_rewards[p] = static_cast<float>(beta * of_chosen);
    out_.rejected_rewards[p] = static_cast<float>(beta * of_rejected);
    wins += delta > 0;
    if (weights_[p] == 0) continue;  // a pair of weight 0 is in no loss, even if its own is infinite
    nll -= item_logps_[chosen];
    times_chosen_[chosen] += 1;

    double weight = weights_[p] / denominator_;
    if (options_.use_weighting) weight *= exp(log_weights_[chosen] + log_weights_[rejected]);
    if (weight == 0) continue;  // the quotient may underflow: 0 * inf would be NaN
    preference_loss += weight * term.loss;
    if (by_pair) {
      add_token_grads(p, term, weight);
    } else {
      grads_[chosen] += weight * term.chosen;
      grads_[rejected] += weight * term.rejected;
    }
  }
  const double nll_loss = nll_weight() > 0 ? nll / nll_weight() : 0;

  for (int64_t k = 0; k < items_.count() && !cancelled(); k++) {
    const double of_nll = times_chosen_[k] * nll_grad();
    items_.scatter(k, by_pair ? 0.0 : grads_[k], of_nll, out_.grad_logps);
    if (!by_pair) continue;
    items_.each_token(k, {}, [&](int64_t, int64_t i, double m) {
      out_.grad_logps[i] = static_cast<float>(token_grads_[i] - of_nll * m);
    });
  }
  out_.scalars[0] = options_.nll_coef > 0 ? preference_loss + options_.nll_coef * nll_loss : preference_loss;
  out_.scalars[1] = preference_loss;
  out_.scalars[2] = nll_loss;
  out_.scalars[3] = wins / static_cast<double>(pairs());
}

Status preference_loss(const PreferenceLoss& call) {
  PreferenceComputation loss(call.batch, call.options, call.out);
  if (const Status status = loss.check(nullptr); !status.ok()) return status;
  loss.compute({call.logps, call.ref_logps, call.sum_squared_probs});
  return ended();
}

}  // namespace sweet
