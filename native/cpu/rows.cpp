#include "rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../scratch.h"

namespace sweet {

void finish_row(const RowSums* segments, int64_t count, int32_t label, float label_logit, double temperature,
                const RowsOut& out, int64_t i) {
  double pivot = -std::numeric_limits<double>::infinity();
  for (int64_t s = 0; s < count; s++) pivot = std::max(pivot, static_cast<double>(segments[s].pivot));

  const double slope = slope_of(temperature);
  double sum = 0, weighted = 0;
  for (int64_t s = 0; s < count; s++) {
    const RowSums& part = segments[s];
    if (part.sum == 0) continue;  // masked words alone: their pivot may be −∞
    const double d = (part.pivot - pivot) * slope, factor = std::exp2(d);
    sum += part.sum * factor;
    weighted += (part.weighted + part.sum * d) * factor;
  }

  // A row of −∞ alone has no distribution, nor has one with +∞: −∞ − −∞ makes the lse NaN, as the formula does.
  const double log_sum = std::isinf(pivot) ? std::numeric_limits<double>::quiet_NaN() : std::log(sum);
  out.lse[i] = pivot / temperature + log_sum;
  out.logps[i] = label >= 0 ? static_cast<float>((label_logit - pivot) / temperature - log_sum) : 0.0f;
  if (out.entropy) out.entropy[i] = static_cast<float>(log_sum - weighted / sum * 0.6931471805599453);
}

double label_gradient(float label_logit, double lse, double temperature, double g) {
  return -g * std::expm1(label_logit / temperature - lse);
}

Status logps_of(const Head& head, const Labels& labels, const LogpsOut& out) {
  Scratch<int32_t> checked(head.rows);
  Scratch<double> lse(head.rows);
  if (!checked.ok() || !lse.ok()) return {Code::memory};
  if (const Status status = check_labels(labels, head.rows, head.vocab, checked.get()); !status.ok()) return status;

  const Status status = forward_of(head, checked.get(), {out.logps, lse.get(), out.entropy, false});
  if (!status.ok()) return status;
  for (int64_t i = 0; i < head.rows; i++) out.lse[i] = static_cast<float>(lse[i]);
  return {};
}

Status logps_backward_of(const Head& head, const Labels& labels, const LogpsBackward& backward) {
  Scratch<int32_t> checked(head.rows);
  Scratch<double> lse(head.rows);
  if (!checked.ok() || !lse.ok()) return {Code::memory};
  if (const Status status = check_labels(labels, head.rows, head.vocab, checked.get()); !status.ok()) return status;

  for (int64_t i = 0; i < head.rows; i++) lse[i] = backward.lse[i];
  return backward_of(head, checked.get(), lse.get(), backward.grad_logps, backward.out);
}

}  // namespace sweet
