#include "unpaired_loss.h"

namespace sweet {

UnpairedComputation::UnpairedComputation(const UnpairedBatch& batch, const UnpairedOptions& options,
                                         const UnpairedOut& out)
    : options_(options),
      batch_(batch),
      out_(out),
      items_(batch, options.normalization, options.allow_empty_turns, false),
      desirable_(batch.items()),
      shares_(batch.items()),
      scores_(batch.items()) {}

Status UnpairedComputation::check(const int32_t* labels) {
  if (!items_.ok() || !desirable_.ok() || !shares_.ok() || !scores_.ok()) return {Code::memory};
  const Status status = items_.check_offsets();
  if (!status.ok()) return status;
  for (int64_t k = 0; k < items_.count() && !cancelled(); k++) {
    const float weight = batch_.unit_weights ? read_once(batch_.unit_weights[k]) : 1.0f;
    if (!is_weight(weight)) return {Code::unit_weight, k, weight_bits(weight)};
    desirable_[k] = read_once(batch_.desirable[k]) != 0;
    shares_[k] = unit_share(options_, items_.count(), desirable_[k], weight);
  }
  const ReferencePoint& point = options_.reference_point;
  reference_point_ = point.kl_logps ? point_of_sequences() : point.value;
  const Status of_tokens = items_.check_tokens(labels);
  if (!of_tokens.ok()) return of_tokens;
  by_steps_ = !point.is_running;
  for (int64_t k = 0; by_steps_ && k < items_.count() && !cancelled(); k++) {
    by_steps_ = items_.least_coefficient(k) >= kLeastCoefficient;
  }
  return ended();
}

double UnpairedComputation::point_of_sequences() const {
  const ReferencePoint& point = options_.reference_point;
  double sum = 0;
  for (int64_t j = 0; j < point.sequences && !cancelled(); j++) {
    sum += read_once(point.kl_logps[j]);
    if (point.kl_ref_logps) sum -= read_once(point.kl_ref_logps[j]);
  }
  return sweet::point_of_sequences(sum, point.sequences);
}

UnitTerm UnpairedComputation::term(int64_t k, double score) const {
  return unit_term(options_.type, options_.beta, score, reference_point_, desirable_[k]);
}

void UnpairedComputation::compute(const TokenLogps& logps) {
  const int64_t items = items_.count();
  double sum = 0;
  for (int64_t k = 0; k < items && !cancelled(); k++) {
    scores_[k] = items_.ratio(k, {}, logps.logps, logps.ref_logps, out_.turn_advantages);
    sum += scores_[k];
  }
  const ReferencePoint& point = options_.reference_point;
  if (point.is_running) {
    reference_point_ = (point.value * point.count + sum) / (point.count + static_cast<double>(items));
  }

  int64_t kinds[2] = {0, 0};  // the number of items that are not desirable, and of those that are
  for (int64_t k = 0; k < items && !cancelled(); k++) kinds[desirable_[k]]++;
  int64_t next[2] = {kinds[1], 0};
  double loss = 0, wins = 0;
  for (int64_t k = 0; k < items && !cancelled(); k++) {
    const UnitTerm of_item = term(k, scores_[k]);
    const double distance = scores_[k] - reference_point_;
    out_.unit_losses[k] = static_cast<float>(of_item.loss);
    out_.rewards[k] = out_.rewards_by_kind[next[desirable_[k]]++] = static_cast<float>(options_.beta * scores_[k]);
    wins += desirable_[k] ? distance > 0 : distance < 0;
    if (shares_[k] != 0)
      loss += shares_[k] * of_item.loss;  // an item of weight 0 is in no loss, even if its own is infinite
    items_.scatter(k, grad(k, of_item.slope), 0, out_.grad_logps);
  }
  out_.scalars[0] = loss;
  out_.scalars[1] = wins / static_cast<double>(items);
  out_.scalars[2] = reference_point_;
  out_.scalars[3] = static_cast<double>(kinds[1]);
}

int64_t UnpairedComputation::tokens_of(int64_t step, int, int64_t* rows, float* coefficients) const {
  return step < 0 ? 0 : items_.gather(step, 1, {}, 0, rows, coefficients);
}

void UnpairedComputation::factors(int64_t step, const TokenLogps& logps, double* factors) const {
  const double score = items_.ratio(step, {}, logps.logps, logps.ref_logps, nullptr);
  factors[0] = grad(step, term(step, score).slope);
}

Status unpaired_loss(const UnpairedLoss& call) {
  UnpairedComputation loss(call.batch, call.options, call.out);
  if (const Status status = loss.check(nullptr); !status.ok()) return status;
  loss.compute({call.logps, call.ref_logps, nullptr});
  return ended();
}

}  // namespace sweet
