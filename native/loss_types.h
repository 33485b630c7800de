// The losses of one pair of items (turns or trajectories) and their slopes, compiled by the kernels of the CPU and of
// the GPU.
//
//   pi_k = sum_i c_i a_i logp_i of item k,  x_k = pi_k - the same sum over the reference, or pi_k where there is none
//   s = f(x) (ScoreMap),  u = beta (s+ - s-),  a = beta s+,  b = beta s-
//   loss of a pair = sum_j lambda_j l_j over the types of the call
//
// A loss type is a row of SWEET_LOSS_TYPES and the function `<name>_loss` above it. pair_loss.h makes the enum and the
// sum over types of the rows. `npm run generate` reads them too: names, checks of options, the table of the guide and
// the lists of the tests follow from them.
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"

namespace sweet {

struct PairTerm {
  double loss;
  double chosen, rejected;  // dloss/dpi of the two items
};

/** What f is in s = f(x): the f-divergences of f-DPO (arXiv 2309.16240), as slopes of their generators. */
enum class ScoreMap : int32_t { reverse_kl, forward_kl, js_divergence, alpha_divergence };

/** Parameters of all types. */
struct PairParameters {
  double beta, label_smoothing, gamma, discopop_tau;
  ScoreMap f_divergence;
  double f_alpha, dpop_lambda;
};

/** Sums over an item's tokens. */
struct ItemScore {
  double ratio;   // x; pi where there is no reference
  double policy;  // pi
  double ref;     // the sum over the reference; of aot alone
  double length;  // what length-normalised types divide by: L under Normalization::sum, else 1; 0 of an empty item
};

/** The score of an item as a loss type sees it. */
struct Score {
  double x, dx;  // dx = dx/dpi
  double s, ds;  // ds = ds/dpi
};

/** From which sum x is computed, and what is divided by the item's length. */
enum class ScoreKind { ratio, policy, mapped_ratio_mean, policy_mean };

/** log sigma(u) without overflow or cancellation for any u. */
SWEET_HOST_DEVICE inline double log_sigmoid(double u) { return fmin(u, 0.0) - log1p(exp(-fabs(u))); }

SWEET_HOST_DEVICE inline double sigmoid(double u) {
  const double e = exp(-fabs(u));
  return (u >= 0 ? 1.0 : e) / (1.0 + e);
}

/** sigma'(u) */
SWEET_HOST_DEVICE inline double sigmoid_slope(double u) { return sigmoid(u) * sigmoid(-u); }

/** A product in which a factor 0 silences an infinity: the limits of p log p and p u at u = +-inf. */
SWEET_HOST_DEVICE inline double silenced(double factor, double x) { return factor == 0 ? 0.0 : factor * x; }

/** log(1 - e^x), x < 0 (arXiv 1202.5450 is the usual reference for the switch at -log 2). */
SWEET_HOST_DEVICE inline double log1m_exp(double x) {
  return x > -0.6931471805599453 ? log(-expm1(x)) : log1p(-exp(x));
}

/** f(x) and f'(x). Exponents end at 80, where float32 still has exp. */
SWEET_HOST_DEVICE inline void map_score(const PairParameters& p, double x, double* s, double* ds) {
  constexpr double kMost = 80;
  switch (p.f_divergence) {
    case ScoreMap::forward_kl:
      *s = -exp(-x > kMost ? kMost : -x);
      *ds = -x > kMost ? 0.0 : exp(-x);
      return;
    case ScoreMap::js_divergence:
      *s = log_sigmoid(x);
      *ds = sigmoid(-x);
      return;
    case ScoreMap::alpha_divergence: {
      const double slope = p.f_alpha - 1, t = slope * x;
      if (fabs(slope) < 1e-6) break;
      *s = exp(t > kMost ? kMost : t) / slope;
      *ds = t > kMost ? 0.0 : exp(t);
      return;
    }
    case ScoreMap::reverse_kl:
      break;
  }
  *s = x;
  *ds = 1;
}

/** x and dx. An empty item scores 0 and has no gradient where the score is a mean. */
SWEET_HOST_DEVICE inline Score plain_score(ScoreKind kind, const ItemScore& item) {
  const bool of_ratio = kind == ScoreKind::ratio || kind == ScoreKind::mapped_ratio_mean;
  const double sum = of_ratio ? item.ratio : item.policy;
  if (kind == ScoreKind::ratio || kind == ScoreKind::policy) return {sum, 1, 0, 0};
  return item.length == 0 ? Score{0, 0, 0, 0} : Score{sum / item.length, 1 / item.length, 0, 0};
}

SWEET_HOST_DEVICE inline Score score_of(const PairParameters& p, ScoreKind kind, const ItemScore& item) {
  Score score = plain_score(kind, item);
  const bool divide_after = kind == ScoreKind::mapped_ratio_mean && item.length != 0;
  map_score(p, divide_after ? item.ratio : score.x, &score.s, &score.ds);
  if (divide_after) score.s /= item.length;
  score.ds *= score.dx;
  return score;
}

// -- the types

/** The loss of class `margin`, a function of s+ - s-, from its value and dl/ds+ = -dl/ds-. */
SWEET_HOST_DEVICE inline PairTerm of_margin(double loss, double slope, const Score& chosen, const Score& rejected) {
  return {loss, slope * chosen.ds, slope * -rejected.ds};
}

/** Conservative DPO at u: Bradley-Terry where a share epsilon of the labels is wrong. */
SWEET_HOST_DEVICE inline PairTerm sigmoid_at(const PairParameters& p, double u) {
  const double eps = p.label_smoothing;
  // With u = +-inf one logarithm is infinite; skip it where epsilon = 0, for 0 * inf is NaN.
  const double against = eps > 0 ? eps * log_sigmoid(-u) : 0.0;
  const double slope = -p.beta * ((1 - eps) * sigmoid(-u) - eps * sigmoid(u));
  return {-(1 - eps) * log_sigmoid(u) - against, slope, -slope};
}

/** DPO, arXiv 2305.18290; dpop_lambda: DPO-Positive, arXiv 2402.13228, u = beta (x+ - x- - lambda max(0, -x+)). */
SWEET_HOST_DEVICE inline PairTerm sigmoid_loss(const PairParameters& p, const Score& chosen, const Score& rejected) {
  const bool penalty = p.dpop_lambda > 0 && chosen.x < 0;
  const double delta = chosen.s - rejected.s;
  const PairTerm term = sigmoid_at(p, p.beta * (penalty ? delta + p.dpop_lambda * chosen.x : delta));
  PairTerm at_scores = of_margin(term.loss, term.chosen, chosen, rejected);
  if (penalty) at_scores.chosen *= 1 + p.dpop_lambda;
  return at_scores;
}

/** sigmoid without a penalty: sigmoid_norm, cpo (arXiv 2401.08417); with a target margin simpo (arXiv 2405.14734). */
SWEET_HOST_DEVICE inline PairTerm sigmoid_minus(const PairParameters& p, double target, const Score& chosen,
                                                const Score& rejected) {
  const PairTerm term = sigmoid_at(p, p.beta * (chosen.s - rejected.s) - target);
  return of_margin(term.loss, term.chosen, chosen, rejected);
}

SWEET_HOST_DEVICE inline PairTerm sigmoid_norm_loss(const PairParameters& p, const Score& a, const Score& b) {
  return sigmoid_minus(p, 0, a, b);
}

SWEET_HOST_DEVICE inline PairTerm cpo_loss(const PairParameters& p, const Score& a, const Score& b) {
  return sigmoid_minus(p, 0, a, b);
}

SWEET_HOST_DEVICE inline PairTerm simpo_loss(const PairParameters& p, const Score& a, const Score& b) {
  return sigmoid_minus(p, p.gamma, a, b);
}

/** SLiC, arXiv 2305.10425. */
SWEET_HOST_DEVICE inline PairTerm hinge_loss(const PairParameters& p, const Score& chosen, const Score& rejected) {
  const double u = p.beta * (chosen.s - rejected.s);
  // NaN propagates to both.
  return of_margin(u >= 1 ? 0.0 : 1 - u, u >= 1 ? 0.0 : u < 1 ? -p.beta : u, chosen, rejected);
}

/** IPO, arXiv 2310.12036. */
SWEET_HOST_DEVICE inline PairTerm ipo_loss(const PairParameters& p, const Score& chosen, const Score& rejected) {
  const double d = chosen.s - rejected.s - 1 / (2 * p.beta);
  return of_margin(d * d, 2 * d, chosen, rejected);
}

/** Unbiased where a share epsilon of the labels is wrong, arXiv 2403.00409; not bounded from below. */
SWEET_HOST_DEVICE inline PairTerm robust_loss(const PairParameters& p, const Score& chosen, const Score& rejected) {
  const double eps = p.label_smoothing, u = p.beta * (chosen.s - rejected.s);
  const double against = eps > 0 ? eps * log_sigmoid(-u) : 0.0;
  return of_margin((against - (1 - eps) * log_sigmoid(u)) / (1 - 2 * eps),
                   -p.beta * ((1 - eps) * sigmoid(-u) + eps * sigmoid(u)) / (1 - 2 * eps), chosen, rejected);
}

/** EXO, arXiv 2402.00856: KL(sigma(u) || 1 - epsilon). */
SWEET_HOST_DEVICE inline PairTerm exo_pair_loss(const PairParameters& p, const Score& chosen, const Score& rejected) {
  const double eps = p.label_smoothing, u = p.beta * (chosen.s - rejected.s);
  const double loss =
      silenced(sigmoid(u), log_sigmoid(u) - log1p(-eps)) + silenced(sigmoid(-u), log_sigmoid(-u) - log(eps));
  return of_margin(loss, p.beta * silenced(sigmoid_slope(u), u - (log1p(-eps) - log(eps))), chosen, rejected);
}

/** DiscoPOP, arXiv 2406.08414. E = exp(log sigma(u/tau) - u) with the exponent's u taken together where u < 0. */
SWEET_HOST_DEVICE inline PairTerm discopop_loss(const PairParameters& p, const Score& chosen, const Score& rejected) {
  const double tau = p.discopop_tau, u = p.beta * (chosen.s - rejected.s), v = u / tau;
  const double e = exp(u < 0 ? u * (1 / tau - 1) - log1p(exp(v)) : log_sigmoid(v) - u);
  const double loss = silenced(sigmoid(-v), -log_sigmoid(u)) + e;
  const double slope =
      silenced(sigmoid_slope(v), log_sigmoid(u)) / tau - sigmoid(-u) * sigmoid(-v) + silenced(e, sigmoid(-v) / tau - 1);
  return of_margin(loss, p.beta * slope, chosen, rejected);
}

/** NCA, arXiv 2402.05369. */
SWEET_HOST_DEVICE inline PairTerm nca_pair_loss(const PairParameters& p, const Score& chosen, const Score& rejected) {
  const double a = p.beta * chosen.s, b = p.beta * rejected.s;
  return {-log_sigmoid(a) - 0.5 * log_sigmoid(-a) - 0.5 * log_sigmoid(-b),
          p.beta * (0.5 * sigmoid(a) - sigmoid(-a)) * chosen.ds, 0.5 * p.beta * sigmoid(b) * rejected.ds};
}

/** BCO on pairs, without a running shift, arXiv 2404.04656. */
SWEET_HOST_DEVICE inline PairTerm bco_pair_loss(const PairParameters& p, const Score& chosen, const Score& rejected) {
  const double a = p.beta * chosen.s, b = p.beta * rejected.s;
  return {-log_sigmoid(a) - log_sigmoid(-b), -p.beta * sigmoid(-a) * chosen.ds, p.beta * sigmoid(b) * rejected.ds};
}

/** SPPO with hard labels, arXiv 2405.00675. */
SWEET_HOST_DEVICE inline PairTerm sppo_hard_loss(const PairParameters& p, const Score& chosen, const Score& rejected) {
  const double a = chosen.s - 1 / (2 * p.beta), b = rejected.s + 1 / (2 * p.beta);
  return {a * a + b * b, 2 * a * chosen.ds, 2 * b * rejected.ds};
}

/** APO-zero, arXiv 2408.06266: of x, whatever f is. */
SWEET_HOST_DEVICE inline PairTerm apo_zero_loss(const PairParameters& p, const Score& chosen, const Score& rejected) {
  const double a = p.beta * chosen.x, b = p.beta * rejected.x;
  return {sigmoid(-a) + sigmoid(b), -p.beta * sigmoid_slope(a) * chosen.dx, p.beta * sigmoid_slope(b) * rejected.dx};
}

/** APO-down, arXiv 2408.06266: f in u alone. */
SWEET_HOST_DEVICE inline PairTerm apo_down_loss(const PairParameters& p, const Score& chosen, const Score& rejected) {
  const double a = p.beta * chosen.x, u = p.beta * (chosen.s - rejected.s), of_u = p.beta * sigmoid_slope(u);
  return {sigmoid(a) + sigmoid(-u), p.beta * sigmoid_slope(a) * chosen.dx - of_u * chosen.ds, of_u * rejected.ds};
}

/** The odds ratio of ORPO, arXiv 2403.07691: o = pi+ - pi- - log(1 - e^pi+) + log(1 - e^pi-), of pi < 0. */
SWEET_HOST_DEVICE inline PairTerm orpo_loss(const PairParameters& p, const Score& chosen, const Score& rejected) {
  constexpr double kMost = -1.0 / (1 << 24);  // the nearest to 0 that a mean of float32 log-probs is told from it
  const double a = chosen.x > kMost ? kMost : chosen.x, b = rejected.x > kMost ? kMost : rejected.x;
  const double odds = a - b - log1m_exp(a) + log1m_exp(b), slope = p.beta * sigmoid(-odds);
  return {-p.beta * log_sigmoid(odds), slope / expm1(a) * chosen.dx, -(slope / expm1(b)) * rejected.dx};
}

/** The NLL of the chosen tokens, which the loss adds by its nll_coef; no pair has a part of it. */
SWEET_HOST_DEVICE inline PairTerm sft_loss(const PairParameters&, const Score&, const Score&) { return {0, 0, 0}; }

// Types of class `batch` sort two numbers of each pair over all pairs, and compare those of equal rank.

struct SortKeys {
  double left, right;
};

/** The keys of the other side that have the ranks of a pair's keys. */
struct RankMatch {
  double right_of_left;  // the right key whose rank is that of the pair's left key
  double left_of_right;
};

/** Ascending, NaN last, equal keys in the order of the pairs: whether key `a` of pair p stands before `b` of pair q. */
SWEET_HOST_DEVICE inline bool ranks_before(double a, int64_t p, double b, int64_t q) {
  const bool nan_a = a != a, nan_b = b != b;
  if (nan_a != nan_b) return nan_b;
  return a < b || (!(b < a) && p < q);
}

/** AOT, arXiv 2406.05882: log-ratios between chosen and rejected, of the model and of the reference. */
SWEET_HOST_DEVICE inline SortKeys aot_keys(const ItemScore& chosen, const ItemScore& rejected) {
  return {chosen.policy - rejected.policy, chosen.ref - rejected.ref};
}

SWEET_HOST_DEVICE inline PairTerm aot_loss(const PairParameters& p, const SortKeys& keys, const RankMatch& match) {
  return sigmoid_at(p, p.beta * (keys.left - match.right_of_left));
}

/** The same between all chosen and all rejected items. */
SWEET_HOST_DEVICE inline SortKeys aot_unpaired_keys(const ItemScore& chosen, const ItemScore& rejected) {
  return {chosen.ratio, rejected.ratio};
}

SWEET_HOST_DEVICE inline PairTerm aot_unpaired_loss(const PairParameters& p, const SortKeys& keys,
                                                    const RankMatch& match) {
  const PairTerm chosen = sigmoid_at(p, p.beta * (keys.left - match.right_of_left));
  const PairTerm rejected = sigmoid_at(p, p.beta * (match.left_of_right - keys.right));
  return {chosen.loss, chosen.chosen, rejected.rejected};
}

// TYPE(name, class, score, "options beyond those of every type", "loss of a pair")
//   class     margin: a function of s+ - s-;  separate: a sum of one of s+ and one of s-;  joint: of both;
//             batch: of all pairs;  nll: of no pair
//   score     a ScoreKind; a type whose score is a ratio needs a reference, except nll
#define SWEET_LOSS_TYPES(TYPE)                                                                                       \
  TYPE(sigmoid, margin, ratio, "labelSmoothing fDivergence dpopLambda", "-(1-eps) log sigma(u) - eps log sigma(-u)") \
  TYPE(hinge, margin, ratio, "fDivergence", "max(0, 1 - u)")                                                         \
  TYPE(ipo, margin, ratio, "fDivergence", "(s+ - s- - 1/(2 beta))^2")                                                \
  TYPE(sigmoid_norm, margin, mapped_ratio_mean, "labelSmoothing fDivergence", "sigmoid on s / L")                    \
  TYPE(cpo, margin, policy, "labelSmoothing fDivergence", "sigmoid on f(pi)")                                        \
  TYPE(simpo, margin, policy_mean, "labelSmoothing gamma fDivergence", "sigmoid at u - gamma on f(pi / L)")          \
  TYPE(robust, margin, ratio, "labelSmoothing fDivergence",                                                          \
       "(-(1-eps) log sigma(u) + eps log sigma(-u)) / (1 - 2 eps)")                                                  \
  TYPE(exo_pair, margin, ratio, "labelSmoothing fDivergence",                                                        \
       "sigma(u) (log sigma(u) - log(1-eps)) + sigma(-u) (log sigma(-u) - log eps)")                                 \
  TYPE(discopop, margin, ratio, "discopopTau fDivergence", "-log sigma(u) sigma(-u/tau) + exp(-u) sigma(u/tau)")     \
  TYPE(nca_pair, separate, ratio, "fDivergence", "-log sigma(a) - 1/2 log sigma(-a) - 1/2 log sigma(-b)")            \
  TYPE(bco_pair, separate, ratio, "fDivergence", "-log sigma(a) - log sigma(-b)")                                    \
  TYPE(sppo_hard, separate, ratio, "fDivergence", "(s+ - 1/(2 beta))^2 + (s- + 1/(2 beta))^2")                       \
  TYPE(apo_zero, separate, ratio, "", "sigma(-beta x+) + sigma(beta x-)")                                            \
  TYPE(apo_down, joint, ratio, "fDivergence", "sigma(beta x+) + sigma(-u)")                                          \
  TYPE(orpo, joint, policy_mean, "", "-beta log sigma(logit e^(pi+ / L) - logit e^(pi- / L))")                       \
  TYPE(aot, batch, ratio, "labelSmoothing", "sigmoid of sorted pi+ - pi- against sorted r+ - r-")                    \
  TYPE(aot_unpaired, batch, ratio, "labelSmoothing", "sigmoid of sorted x+ against sorted x-")                       \
  TYPE(sft, nll, ratio, "", "the NLL of the chosen tokens, in the place of nllCoef")

}  // namespace sweet
