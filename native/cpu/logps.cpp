#include "../logps.h"

#include "../scratch.h"
#include "head_backward.h"

namespace sweet {
namespace {

void write_row(const ForwardOut& out, int64_t i, const RowResult& result) {
  out.lse[i] = result.lse;
  out.logps[i] = result.logp;
  if (out.entropy) out.entropy[i] = result.entropy;
  if (out.argmax) out.argmax[i] = result.argmax;
  if (out.sum_squared_probs) out.sum_squared_probs[i] = result.sum_squared_probs;
}

}  // namespace

void finish_row(const Head& head, const SegmentStats* segments, int64_t count, int32_t label, float label_logit,
                const ForwardOut& out, int64_t i) {
  const double temperature = kernel_temperature(head);
  const auto segment = [&](int64_t s) -> const SegmentStats& { return segments[s]; };
  SoftmaxStats stats = merge_stats(count, temperature, segment);
  if (out.shard_stats) {
    const double cap = Softcap(head.softcap).value();
    stats.max *= cap;
    out.shard.write({stats, is_local(label) ? label_logit * cap : 0.0}, out.shard_stats + i * out.shard.row_elements());
    return;
  }
  write_row(out, i, row_result(stats, label, label_logit, temperature));
}

void skip_row(const ForwardOut& out, int64_t i) {
  if (out.shard_stats) {
    out.shard.write(empty_shard_stats(), out.shard_stats + i * out.shard.row_elements());
    return;
  }
  write_row(out, i, {0, 0, 0});
}

Status logps(const Logps& call) {
  const Head& head = call.head;
  Scratch<int32_t> labels(head.rows);
  Scratch<double> lse(head.rows);
  if (!labels.ok() || !lse.ok()) return {Code::memory};
  Status status = check_labels(call.labels, head.rows, vocab_shard(head), labels.get());
  if (!status.ok()) return status;

  const LogpsOut& out = call.out;
  status =
      head_forward(head, labels.get(), {out.logps, lse.get(), out.entropy, false, out.argmax, out.sum_squared_probs});
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
