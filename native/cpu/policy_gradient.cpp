#include "policy_gradient.h"

#include "../layout.h"

namespace sweet {

PolicyGradient::PolicyGradient(const PolicyGradientUpdate& call)
    : call_(call),
      options_(call.options),
      turn_offsets_(call.batch.turn_offsets ? call.batch.turns + 1 : 0),
      trajectory_offsets_(call.batch.trajectory_offsets ? call.batch.trajectories + 1 : 0),
      counted_(call.batch.tokens),
      coefficients_(call.batch.tokens),
      grads_(call.batch.tokens),
      grad_logps_(call.batch.tokens),
      grad_entropy_(call.batch.tokens),
      batch_(call.batch) {}

Status PolicyGradient::check(const int32_t* labels) {
  if (!turn_offsets_.ok() || !trajectory_offsets_.ok() || !counted_.ok() || !coefficients_.ok() || !grads_.ok() ||
      !grad_logps_.ok() || !grad_entropy_.ok()) {
    return {Code::memory};
  }
  if (batch_.turn_offsets) {
    const Status status =
        check_offsets(batch_.turn_offsets, batch_.turns, batch_.tokens, Code::turn_offsets, turn_offsets_.get());
    if (!status.ok()) return status;
    batch_.turn_offsets = turn_offsets_.get();
  }
  if (batch_.trajectory_offsets) {
    const Status status = check_offsets(batch_.trajectory_offsets, batch_.trajectories, batch_.turns,
                                        Code::trajectory_offsets, trajectory_offsets_.get());
    if (!status.ok()) return status;
    batch_.trajectory_offsets = trajectory_offsets_.get();
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
  const bool mean = options_.reduction == LossReduction::sequence_mean_token_mean;
  const int64_t sequences = by_sequence ? batch_.trajectories : 1;
  const auto sequence = [&](int64_t k) {
    return by_sequence ? batch_.unit(RatioLevel::trajectory, k) : TokenRange{0, batch_.tokens};
  };
  int64_t not_empty = 0;
  for (int64_t k = 0; by_sequence && k < sequences && !cancelled(); k++) not_empty += counted_in(sequence(k)) > 0;
  const int64_t of_call = by_sequence ? not_empty : count_;
  const double denominator = options_.denominator > 0 ? options_.denominator : static_cast<double>(of_call);
  for (int64_t k = 0; k < sequences; k++) {
    const TokenRange tokens = sequence(k);
    const double c = 1 / (mean ? static_cast<double>(counted_in(tokens)) * denominator : denominator);
    for (Blocks block(tokens.first, tokens.last); block.next();)
      for (int64_t i = block.begin; i < block.end; i++) coefficients_[i] = counts(i) ? c : 0.0;
  }
}

int64_t PolicyGradient::counted_in(TokenRange range) const {
  int64_t count = 0;
  for (Blocks block(range.first, range.last); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) count += counted_[i];
  return count;
}

/** Writes the gradient of the policy loss at the log-probs of what has one ratio. */
void PolicyGradient::add_unit(TokenRange unit, const TokenLogps& logps, PolicySums* sums) {
  double sum = 0, slopes = 0;
  int64_t count = 0;
  for (Blocks block(unit.first, unit.last); block.next();)
    for (int64_t i = block.begin; i < block.end; i++)
      if (counts(i)) sum += batch_.log_ratio(i, logps.logps[i]), count++;
  if (count == 0) return;
  const double mean = sum / static_cast<double>(count), ratio = exp(clamp_exponent(mean));
  for (Blocks block(unit.first, unit.last); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) {
      if (!counts(i)) continue;
      const PolicyTerm term = batch_.term(options_, i, ratio, logps.logps[i]);
      const double weight = coefficients_[i] * batch_.importance_weight(i);
      sums->policy_loss += weight * term.loss;
      sums->clipped += term.clipped;
      grads_[i] = weight * term.slope;
      slopes += grads_[i];
    }
  if (options_.of_logp()) return;
  const double each = is_clamped(mean) ? 0.0 : slopes / static_cast<double>(count);
  for (Blocks block(unit.first, unit.last); block.next();)
    for (int64_t i = block.begin; i < block.end; i++)
      if (counts(i)) grads_[i] = each;
}

/** After add_unit(). */
void PolicyGradient::write_gradients(int64_t i, const TokenLogps& logps, PolicySums* sums) {
  if (!counts(i)) return;
  const double logp = logps.logps[i];
  const double of_kl = add_kl_and_entropy(options_, coefficients_[i], batch_.log_ratio(i, logp), logp,
                                          logps.ref_logps ? &logps.ref_logps[i] : nullptr,
                                          call_.entropy ? &call_.entropy[i] : nullptr, sums);
  grad_logps_[i] = static_cast<float>(grads_[i] + of_kl);
  grad_entropy_[i] = static_cast<float>(-options_.entropy_coef * coefficients_[i]);
}

void PolicyGradient::compute_token(int64_t i, const TokenLogps& logps) {
  PolicySums unused{};
  add_unit({i, i + 1}, logps, &unused);
  write_gradients(i, logps, &unused);
}

void PolicyGradient::compute(const TokenLogps& logps) {
  PolicySums sums{};
  const int64_t units = batch_.units(options_.ratio_level);
  for (int64_t u = 0; u < units && !cancelled(); u++) add_unit(batch_.unit(options_.ratio_level, u), logps, &sums);
  for (Blocks block(0, batch_.tokens); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) write_gradients(i, logps, &sums);
  write_scalars(options_, sums, static_cast<double>(count_), call_.out.scalars);
}

}  // namespace sweet
