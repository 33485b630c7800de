#include "policy_gradient.h"

#include "../layout.h"
#include "head_update.h"

namespace sweet {

PolicyGradient::PolicyGradient(const PolicyGradientUpdate& call)
    : call_(call),
      batch_(call.batch),
      options_(call.options),
      turn_offsets_(batch_.turn_offsets ? batch_.turns + 1 : 0),
      trajectory_offsets_(batch_.trajectory_offsets ? batch_.trajectories + 1 : 0),
      counted_(batch_.tokens),
      coefficients_(batch_.tokens),
      grads_(batch_.tokens),
      grad_logps_(batch_.tokens),
      grad_entropy_(batch_.tokens) {}

Status PolicyGradient::check(const int32_t* labels) {
  if (!turn_offsets_.ok() || !trajectory_offsets_.ok() || !counted_.ok() || !coefficients_.ok() || !grads_.ok() ||
      !grad_logps_.ok() || !grad_entropy_.ok()) {
    return {Code::memory};
  }
  if (batch_.turn_offsets) {
    const Status status =
        check_offsets(batch_.turn_offsets, batch_.turns, batch_.tokens, Code::turn_offsets, turn_offsets_.get());
    if (!status.ok()) return status;
  }
  if (batch_.trajectory_offsets) {
    const Status status = check_offsets(batch_.trajectory_offsets, batch_.trajectories, batch_.turns,
                                        Code::trajectory_offsets, trajectory_offsets_.get());
    if (!status.ok()) return status;
  }
  for (Blocks block(0, batch_.tokens); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) {
      counted_[i] = labels[i] >= 0;
      count_ += counted_[i];
      grad_logps_[i] = grad_entropy_[i] = 0;
    }
  check_coefficients();
  return ended();
}

void PolicyGradient::check_coefficients() {
  const bool by_sequence = options_.by_sequence();
  const int64_t sequences = by_sequence ? batch_.trajectories : 1;
  const auto sequence = [&](int64_t k) { return by_sequence ? trajectory(k) : Unit{0, batch_.tokens}; };
  int64_t not_empty = 0;
  for (int64_t k = 0; by_sequence && k < sequences && !cancelled(); k++) not_empty += counted_in(sequence(k)) > 0;
  const int64_t of_call = by_sequence ? not_empty : count_;
  const double denominator = options_.denominator > 0 ? options_.denominator : static_cast<double>(of_call);
  for (int64_t k = 0; k < sequences; k++) {
    const Unit tokens = sequence(k);
    const bool mean = options_.reduction == LossReduction::sequence_mean_token_mean;
    const double c = 1 / (mean ? static_cast<double>(counted_in(tokens)) * denominator : denominator);
    for (Blocks block(tokens.first, tokens.last); block.next();)
      for (int64_t i = block.begin; i < block.end; i++) coefficients_[i] = counts(i) ? c : 0.0;
  }
}

PolicyGradient::Unit PolicyGradient::turn(int64_t t) const {
  return batch_.turn_offsets ? Unit{turn_offsets_[t], turn_offsets_[t + 1]} : Unit{t, t + 1};
}

PolicyGradient::Unit PolicyGradient::trajectory(int64_t k) const {
  const int64_t first = trajectory_offsets_[k], last = trajectory_offsets_[k + 1];
  return batch_.turn_offsets ? Unit{turn_offsets_[first], turn_offsets_[last]} : Unit{first, last};
}

int64_t PolicyGradient::units() const {
  switch (options_.ratio_level) {
    case RatioLevel::turn:
      return batch_.turns;
    case RatioLevel::trajectory:
      return batch_.trajectories;
    case RatioLevel::token:
      break;
  }
  return batch_.tokens;
}

PolicyGradient::Unit PolicyGradient::unit(int64_t u) const {
  switch (options_.ratio_level) {
    case RatioLevel::turn:
      return turn(u);
    case RatioLevel::trajectory:
      return trajectory(u);
    case RatioLevel::token:
      break;
  }
  return {u, u + 1};
}

int64_t PolicyGradient::counted_in(Unit unit) const {
  int64_t count = 0;
  for (Blocks block(unit.first, unit.last); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) count += counted_[i];
  return count;
}

double PolicyGradient::log_ratio(int64_t i, const TokenLogps& logps) const {
  const double logp = logps.logps[i];
  if (batch_.old_logps.data) return logp - batch_.old_logps.at(i);
  return logp == logp ? 0.0 : logp;
}

PolicyTerm PolicyGradient::term(int64_t i, double ratio, const TokenLogps& logps) const {
  const double logp = logps.logps[i];
  return policy_term(options_,
                     {ratio, batch_.advantages.at(i), logp, batch_.old_logps.data ? batch_.old_logps.at(i) : logp});
}

double PolicyGradient::policy_weight(int64_t i) const {
  return batch_.importance_weights.data ? coefficients_[i] * batch_.importance_weights.at(i) : coefficients_[i];
}

/** Writes the gradient of the policy loss at the log-probs of a unit. */
void PolicyGradient::add_unit(Unit unit, const TokenLogps& logps, Sums* sums) {
  double sum = 0, slopes = 0;
  int64_t count = 0;
  for (Blocks block(unit.first, unit.last); block.next();)
    for (int64_t i = block.begin; i < block.end; i++)
      if (counts(i)) sum += log_ratio(i, logps), count++;
  if (count == 0) return;
  const double mean = sum / static_cast<double>(count), ratio = exp(clamp_exponent(mean));
  for (Blocks block(unit.first, unit.last); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) {
      if (!counts(i)) continue;
      const PolicyTerm own = term(i, ratio, logps);
      const double weight = policy_weight(i);
      sums->policy_loss += weight * own.loss;
      sums->clipped += own.clipped;
      if (options_.of_logp()) {
        grads_[i] = weight * own.slope;
      } else {
        slopes += weight * own.slope;
      }
    }
  if (options_.of_logp()) return;
  const double each = is_clamped(mean) ? 0.0 : slopes / static_cast<double>(count);
  for (Blocks block(unit.first, unit.last); block.next();)
    for (int64_t i = block.begin; i < block.end; i++)
      if (counts(i)) grads_[i] = each;
}

/** The gradient of the KL term at a log-prob; adds its other terms to the sums. */
double PolicyGradient::kl_grad(int64_t i, const TokenLogps& logps, Sums* sums) const {
  const double weight = coefficients_[i];
  sums->approx_kl += approx_kl(log_ratio(i, logps));
  if (call_.entropy) sums->entropy += weight * call_.entropy[i];
  if (!logps.ref_logps) return 0;
  const KlTerm kl = kl_term(options_, static_cast<double>(logps.logps[i]) - logps.ref_logps[i]);
  sums->kl += weight * kl.kl;
  return options_.kl_coef != 0 ? options_.kl_coef * weight * kl.slope : 0.0;
}

void PolicyGradient::compute_token(int64_t i, const TokenLogps& logps) {
  Sums unused;
  add_unit({i, i + 1}, logps, &unused);
  if (!counts(i)) return;
  grad_logps_[i] = static_cast<float>(grads_[i] + kl_grad(i, logps, &unused));
  grad_entropy_[i] = static_cast<float>(-options_.entropy_coef * coefficients_[i]);
}

void PolicyGradient::compute(const TokenLogps& logps) {
  Sums sums;
  for (int64_t u = 0; u < units() && !cancelled(); u++) add_unit(unit(u), logps, &sums);
  for (Blocks block(0, batch_.tokens); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) {
      if (!counts(i)) continue;
      grad_logps_[i] = static_cast<float>(grads_[i] + kl_grad(i, logps, &sums));
      grad_entropy_[i] = static_cast<float>(-options_.entropy_coef * coefficients_[i]);
    }
  const auto scaled = [](double coef, double term) { return coef == 0 ? 0.0 : coef * term; };
  const double count = count_ == 0 ? 1.0 : static_cast<double>(count_);
  double* const scalars = call_.out.scalars;
  scalars[kLoss] = sums.policy_loss + scaled(options_.kl_coef, sums.kl) - scaled(options_.entropy_coef, sums.entropy);
  scalars[kPolicyLoss] = sums.policy_loss;
  scalars[kKlLoss] = sums.kl;
  scalars[kEntropyBonus] = sums.entropy;
  scalars[kClipFraction] = static_cast<double>(sums.clipped) / count;
  scalars[kApproxKl] = sums.approx_kl / count;
}

Status policy_gradient_update(const PolicyGradientUpdate& call) {
  PolicyGradient loss(call);
  return head_update(call, loss);
}

}  // namespace sweet
