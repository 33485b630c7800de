#include "rows.h"

#include "../scratch.h"

namespace sweet {

void finish_row(const RowSums* segments, int64_t count, int32_t label, float label_logit, double temperature,
                const RowsOut& out, int64_t i) {
  const auto segment = [&](int64_t s) -> const RowSums& { return segments[s]; };
  const Sums64 all = join(count, temperature, segment);
  if (out.partials) {
    out.partials[i] = {all, is_here(label) ? label_logit : 0.0};
    return;
  }
  const RowEnd end = end_of_row(all, label, label_logit, temperature);
  out.lse[i] = end.lse;
  out.logps[i] = end.logp;
  if (out.entropy) out.entropy[i] = end.entropy;
}

void drop_row(const RowsOut& out, int64_t i) {
  if (out.partials) {
    out.partials[i] = no_partial();
    return;
  }
  out.logps[i] = 0;
  out.lse[i] = 0;
  if (out.entropy) out.entropy[i] = 0;
}

Status logps_of(const Head& head, const Labels& labels, const LogpsOut& out) {
  Scratch<int32_t> checked(head.rows);
  Scratch<double> lse(head.rows);
  if (!checked.ok() || !lse.ok()) return {Code::memory};
  if (const Status status = check_labels(labels, head.rows, words_of(head), checked.get()); !status.ok()) return status;

  const Status status = forward_of(head, checked.get(), {out.logps, lse.get(), out.entropy, false});
  if (!status.ok()) return status;
  for (Blocks block(0, head.rows); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) out.lse[i] = static_cast<float>(lse[i]);
  return ended();
}

Status logps_backward_of(const Head& head, const Labels& labels, const LogpsBackward& backward) {
  Scratch<int32_t> checked(head.rows);
  Scratch<double> lse(head.rows);
  if (!checked.ok() || !lse.ok()) return {Code::memory};
  if (const Status status = check_labels(labels, head.rows, words_of(head), checked.get()); !status.ok()) return status;

  for (Blocks block(0, head.rows); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) lse[i] = backward.lse[i];
  return backward_of(head, checked.get(), lse.get(), backward.grad_logps, backward.out);
}

}  // namespace sweet
