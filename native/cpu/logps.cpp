#include "../logps.h"

#include "../scratch.h"
#include "head_backward.h"

namespace sweet {

void finish_row(const Head& head, const SegmentStats* segments, int64_t count, int32_t label, float label_logit,
                const ForwardOut& out, int64_t i) {
  const double temperature = kernel_temperature(head);
  const auto segment = [&](int64_t s) -> const SegmentStats& { return segments[s]; };
  SoftmaxStats stats = merge_stats(count, temperature, segment);
  if (out.shard_stats) {
    const double cap = Softcap(head.softcap).value();
    stats.max *= cap;
    out.shard_stats[i] = {stats, is_local(label) ? label_logit * cap : 0.0};
    return;
  }
  const RowResult result = row_result(stats, label, label_logit, temperature);
  out.lse[i] = result.lse;
  out.logps[i] = result.logp;
  if (out.entropy) out.entropy[i] = result.entropy;
}

void skip_row(const ForwardOut& out, int64_t i) {
  if (out.shard_stats) {
    out.shard_stats[i] = empty_shard_stats();
    return;
  }
  out.logps[i] = 0;
  out.lse[i] = 0;
  if (out.entropy) out.entropy[i] = 0;
}

Status logps(const Logps& call) {
  const Head& head = call.head;
  Scratch<int32_t> labels(head.rows);
  Scratch<double> lse(head.rows);
  if (!labels.ok() || !lse.ok()) return {Code::memory};
  Status status = check_labels(call.labels, head.rows, vocab_shard(head), labels.get());
  if (!status.ok()) return status;

  status = head_forward(head, labels.get(), {call.out.logps, lse.get(), call.out.entropy, false});
  if (!status.ok()) return status;
  for (Blocks block(0, head.rows); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) call.out.lse[i] = static_cast<float>(lse[i]);
  return ended();
}

Status logps_backward(const LogpsBackward& call) {
  const Head& head = call.head;
  Scratch<int32_t> labels(head.rows);
  Scratch<double> lse(head.rows);
  if (!labels.ok() || !lse.ok()) return {Code::memory};
  const Status status = check_labels(call.labels, head.rows, vocab_shard(head), labels.get());
  if (!status.ok()) return status;

  HeadBackward backward(head, labels.get(), call.gradients);
  if (!backward.ok()) return {Code::memory};
  for (Blocks block(0, head.rows); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) lse[i] = call.lse[i];
  return backward.run({lse.get(), true, call.grad_logps, call.grad_entropy, call.entropy, call.grad_lse});
}

}  // namespace sweet
