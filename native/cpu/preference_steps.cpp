// The gradient of a preference loss as steps of an update in one pass: what of it is known before the log-probs are.
//
//   dloss/dlogp_i = c_i a_i g_k - [k chosen] nll_grad m_i,  g_k = w_p W_p dl_p/dpi_k
//
// A token's m_i is c_i times a number of its item, so that the NLL joins g_k, except in trajectories under turn_mean
// and with a_i that differ.
#include <algorithm>
#include <cmath>

#include "preference_loss.h"

namespace sweet {

PreferenceComputation::Separation PreferenceComputation::separation() const {
  const PairLoss& loss = options_.pair_loss;
  const bool nll = options_.nll_coef > 0;
  const bool nll_joins =
      !options_.by_pair() && !(batch_.of_trajectories() && options_.normalization == Normalization::turn_mean);
  if (shared_ || loss.has_batch() || (nll && !nll_joins)) return Separation::none;

  const PairParameters& p = loss.parameters;
  bool margin = p.f_divergence == ScoreMap::reverse_kl && p.dpop_lambda == 0, separate = !options_.use_weighting;
  int64_t means = 0, terms = 0;
  for (int64_t j = 0; j < loss.count; j++) {
    const LossType type = loss.terms[j].type;
    if (loss.terms[j].weight == 0 || class_of(type) == LossClass::nll) continue;
    if (class_of(type) != LossClass::margin) margin = false;
    if (class_of(type) != LossClass::separate) separate = false;
    means += divides_by_length(type);
    terms++;
  }
  // Types with and without a division by the length have no common coefficients.
  if (options_.normalization == Normalization::sum && means > 0 && means < terms) margin = false;
  if (separate) return Separation::of_items;
  return margin && !nll ? Separation::of_pairs : Separation::two_factors;
}

int64_t PreferenceComputation::steps() const {
  switch (separation_) {
    case Separation::none:
      return 0;
    case Separation::of_items:
      return 2 * pairs();
    case Separation::of_pairs:
    case Separation::two_factors:
      break;
  }
  return pairs();
}

/** ds/dpi of item k, of class margin. */
double PreferenceComputation::score_slope(int64_t k) const {
  if (!options_.pair_loss.has_mean()) return 1;
  return items_.length(k) > 0 ? 1 / items_.length(k) : 0;
}

/** Of the tokens of all pairs, see tokens_of(). */
double PreferenceComputation::least_coefficient() const {
  double least = INFINITY;
  for (int64_t k = 0; k < items_.count() && !cancelled(); k++) {
    if (item_pairs_[k] == 0) continue;
    const double slope = separation_ == Separation::of_pairs ? score_slope(k) : 1;
    if (slope != 0) least = std::min(least, items_.least_coefficient(k) * slope);
  }
  return options_.ld_alpha > 0 ? least * options_.ld_alpha : least;
}

int64_t PreferenceComputation::tokens_of(int64_t step, int group, int64_t* rows, float* coefficients) const {
  if (step < 0) {
    int64_t n = 0;
    for (int64_t k = 0; k < items_.count() && !cancelled(); k++) {
      if (item_pairs_[k] == 0) n = items_.gather(k, 0, {}, n, rows, coefficients);
    }
    return n;
  }
  if (separation_ == Separation::of_pairs) {
    const Prefix prefix = prefix_of(step);
    const int32_t chosen = chosen_[step], rejected = rejected_[step];
    const int64_t n = items_.gather(chosen, score_slope(chosen), prefix, 0, rows, coefficients);
    return items_.gather(rejected, -score_slope(rejected), prefix, n, rows, coefficients);
  }
  const bool of_items = separation_ == Separation::of_items;
  const int64_t p = of_items ? step / 2 : step;
  const bool rejected = of_items ? step % 2 == 1 : group == 1;
  return items_.gather(rejected ? rejected_[p] : chosen_[p], 1, prefix_of(p), 0, rows, coefficients);
}

void PreferenceComputation::factors(int64_t step, const TokenLogps& logps, double* factors) const {
  const bool of_items = separation_ == Separation::of_items;
  const int64_t p = of_items ? step / 2 : step;
  const int32_t chosen = chosen_[p], rejected = rejected_[p];
  const Prefix prefix = prefix_of(p);
  double weight = weights_[p] / denominator_;
  if (options_.use_weighting) weight *= exp(log_weight(chosen, logps) + log_weight(rejected, logps));
  // The NLL of the chosen item's tokens, m_i = c_i times their number under a mean.
  const double of_weight = options_.normalization == Normalization::sum ? 1 : items_.weight(chosen);
  const double of_nll = weights_[p] > 0 ? nll_grad() * of_weight : 0;

  if (of_items) {
    const bool is_chosen = step % 2 == 0;
    const ItemScore item = score(is_chosen ? chosen : rejected, prefix, logps, nullptr);
    const PairTerm term = weight == 0 ? PairTerm{} : pair_term(options_.pair_loss, item, item);
    factors[0] = is_chosen ? weight * term.chosen - of_nll : weight * term.rejected;
    return;
  }
  PairTerm term{};
  if (weight != 0) {
    term =
        pair_term(options_.pair_loss, score(chosen, prefix, logps, nullptr), score(rejected, prefix, logps, nullptr));
  }
  if (separation_ == Separation::two_factors) {
    factors[0] = weight * term.chosen - of_nll;
    factors[1] = weight * term.rejected;
  } else {
    const double of_chosen = score_slope(chosen), of_rejected = score_slope(rejected);
    const double slope = of_chosen > 0 ? term.chosen / of_chosen : of_rejected > 0 ? -term.rejected / of_rejected : 0;
    factors[0] = weight * slope;
  }
}

}  // namespace sweet
