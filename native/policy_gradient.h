// The policy-gradient losses of one token and of a batch, compiled by the kernels of the CPU and of the GPU.
//
//   d_i = logp_i - old_i (0 without old log-probs),  m_i 1 where the token counts, else 0
//   r_i = exp(d_i) of a token,  exp(sum_{j in u} m_j d_j / L_u) of a turn or trajectory u of L_u counted tokens
//   policy loss = sum_i c_i w_i l_i,  KL = sum_i c_i kl_i,  entropy bonus = sum_i c_i H_i
//   loss = policy loss + kl_coef KL - entropy_coef entropy bonus
//   c_i = 1 / D: token mean, D tokens, or sums of sequences, D sequences;  1 / (L_k D): mean over the sequence first
//
// Exponents are clamped to +-20, with gradient 0 beyond. A sequence is a trajectory. See docs/guide/objectives.md.
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"
#include "layout.h"

namespace sweet {

enum class Objective : int32_t { clip, cispo, sapo, dppo, reinforce };

/** What has one ratio. */
enum class RatioLevel : int32_t { token, turn, trajectory };

enum class LossReduction : int32_t { token_mean, sequence_mean_token_sum, sequence_mean_token_mean, constant };

enum class KlType : int32_t { k1, k2, k3 };

struct PolicyGradientOptions {
  Objective objective;
  RatioLevel ratio_level;
  double clip_low, clip_high;         // 1 - clip_low <= r <= 1 + clip_high
  double dual_clip;                   // INFINITY: none
  double tau_positive, tau_negative;  // of sapo
  LossReduction reduction;
  double denominator;  // D; 0: the count of this call
  KlType kl_type;
  double kl_coef, kl_max, entropy_coef;

  SWEET_HOST_DEVICE bool by_sequence() const {
    return reduction == LossReduction::sequence_mean_token_sum || reduction == LossReduction::sequence_mean_token_mean;
  }
  /** The slope is that at a log-prob, and of its token alone under any ratio. */
  SWEET_HOST_DEVICE bool of_logp() const { return objective == Objective::cispo || objective == Objective::reinforce; }
};

/** Float32 or float64 numbers of the caller, [N] or null. */
struct Reals {
  bool wide;
  const void* data;

  SWEET_HOST_DEVICE double at(int64_t i) const {
    return wide ? read_once(static_cast<const double*>(data)[i])
                : static_cast<double>(read_once(static_cast<const float*>(data)[i]));
  }
};

/** A token under its ratio. */
struct PolicyToken {
  double ratio, advantage, logp, old_logp;
};

/** What a token adds to the policy loss, before its weight. */
struct PolicyTerm {
  double loss;
  double slope;  // dl/dr r, at the log of the ratio; of_logp(): dl/dlogp
  bool clipped;  // a bound is active
};

constexpr double kMaxRatioExponent = 20;

/** NaN stays NaN. */
SWEET_HOST_DEVICE inline double clamp_exponent(double d) {
  return d > kMaxRatioExponent ? kMaxRatioExponent : d < -kMaxRatioExponent ? -kMaxRatioExponent : d;
}

SWEET_HOST_DEVICE inline bool is_clamped(double d) { return fabs(d) > kMaxRatioExponent; }

SWEET_HOST_DEVICE inline double clip_ratio(const PolicyGradientOptions& o, double r) {
  const double low = 1 - o.clip_low, high = 1 + o.clip_high;
  return r < low ? low : r > high ? high : r;
}

/** PPO, arXiv 1707.06347; the bound for A < 0 of dual clip, arXiv 1912.09729. */
SWEET_HOST_DEVICE inline PolicyTerm clip_term(const PolicyGradientOptions& o, const PolicyToken& token) {
  const double a = token.advantage, free = -token.ratio * a, bounded = -clip_ratio(o, token.ratio) * a;
  const double loss = bounded > free ? bounded : free, most = -o.dual_clip * a;
  if (a < 0 && most < loss) return {most, 0, true};
  return {loss, bounded > free ? 0 : free, bounded > free};
}

/** CISPO, arXiv 2506.13585: the clipped ratio is a constant. */
SWEET_HOST_DEVICE inline PolicyTerm cispo_term(const PolicyGradientOptions& o, const PolicyToken& token) {
  const double clipped = clip_ratio(o, token.ratio), factor = -clipped * token.advantage;
  return {factor * token.logp, factor, token.ratio < 1 - o.clip_low || token.ratio > 1 + o.clip_high};
}

/** SAPO, arXiv 2511.20347: l = -A (4 / tau) sigma(tau (r - 1)), dl/dr = -4 A sigma (1 - sigma). */
SWEET_HOST_DEVICE inline PolicyTerm sapo_term(const PolicyGradientOptions& o, const PolicyToken& token) {
  const double a = token.advantage, tau = a > 0 ? o.tau_positive : o.tau_negative, x = tau * (token.ratio - 1);
  const double e = exp(-fabs(x)), sigma = (x >= 0 ? 1 : e) / (1 + e);
  return {-4 / tau * a * sigma, -4 * a * (e / ((1 + e) * (1 + e))) * token.ratio, false};
}

/** DPPO, arXiv 2602.04879: no gradient where the probability has moved by more than a bound to where A pushes it. */
SWEET_HOST_DEVICE inline PolicyTerm dppo_term(const PolicyGradientOptions& o, const PolicyToken& token) {
  const double a = token.advantage, moved = exp(token.logp) - exp(token.old_logp);
  if (a > 0 ? moved > o.clip_high : moved < -o.clip_low) return {0 * a, 0, true};
  return {-token.ratio * a, -token.ratio * a, false};
}

SWEET_HOST_DEVICE inline PolicyTerm policy_term(const PolicyGradientOptions& o, const PolicyToken& token) {
  switch (o.objective) {
    case Objective::clip:
      return clip_term(o, token);
    case Objective::cispo:
      return cispo_term(o, token);
    case Objective::sapo:
      return sapo_term(o, token);
    case Objective::dppo:
      return dppo_term(o, token);
    case Objective::reinforce:
      break;
  }
  return {-token.advantage * token.logp, -token.advantage, false};
}

struct KlTerm {
  double kl, slope;
};

/**
 * The estimate of KL(policy, reference) from e = logp - ref_logp (Schulman's k1, k2, k3), clamped to +-kl_max. A NaN is
 * one in the slope too.
 */
SWEET_HOST_DEVICE inline KlTerm kl_term(const PolicyGradientOptions& o, double e) {
  if (e != e) return {e, e};
  double kl = e, slope = 1;
  if (o.kl_type == KlType::k2) kl = e * e / 2, slope = e;
  if (o.kl_type == KlType::k3) {
    slope = -expm1(-e);
    kl = slope == -INFINITY ? INFINITY : e - slope;  // e = -inf too
  }
  if (kl > o.kl_max) return {o.kl_max, 0};
  if (kl < -o.kl_max) return {-o.kl_max, 0};
  return {kl, slope};
}

/** exp(d) - 1 - d, an estimate of the divergence from the old policy. */
SWEET_HOST_DEVICE inline double approx_kl(double d) {
  const double clamped = clamp_exponent(d);
  return expm1(clamped) - clamped;
}

}  // namespace sweet
