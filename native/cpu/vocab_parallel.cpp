#include "../vocab_parallel.h"

#include <cstring>

#include "../backend.h"
#include "../scratch.h"
#include "logps.h"
#include "parallel.h"

namespace sweet {
namespace {

/** The checked labels, [N], and their checksum, which is of the whole vocabulary. */
Status check_shard_rows(const Labels& labels, int64_t rows, const VocabShard& shard, int32_t* checked,
                        double* checksum) {
  const Status status = check_labels(labels, rows, {0, shard.total, shard.total}, checked);
  if (!status.ok()) return status;
  LabelsChecksum sum{0, 0};
  for (Blocks block(0, rows); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) {
      const LabelsChecksum row = row_checksum(i, checked[i]);
      sum.mask += row.mask;
      sum.labels += row.labels;
      checked[i] = shard_label(checked[i], shard);
    }
  *checksum = checksum_number(sum);
  return ended();
}

}  // namespace

Status vocab_parallel_stats(const VocabParallelStats& call) {
  const Head& head = call.head;
  const VocabShard shard = vocab_shard(head);
  Scratch<int32_t> labels(head.rows);
  if (!labels.ok()) return {Code::memory};
  double checksum = 0;
  Status status = check_shard_rows(call.labels, head.rows, shard, labels.get(), &checksum);
  if (!status.ok()) return status;

  ForwardOut out{};
  out.shard_stats = call.stats + kShardHeaderSize;
  out.shard = call.format;
  status = head_forward(head, labels.get(), out);
  if (!status.ok()) return status;
  const ShardHeader header = shard_header(head, shard, call.format, checksum);
  memcpy(call.stats, &header, sizeof(header));
  return status;
}

Status merge_vocab_parallel_stats(const MergeVocabParallelStats& call) {
  const int64_t rows = call.rows, shards = call.shards, size = shard_elements(rows, call.format);
  Scratch<ShardHeader> headers(shards);
  Scratch<int64_t> order(shards);
  Scratch<int32_t> labels(rows);
  if (!headers.ok() || !order.ok() || !labels.ok()) return {Code::memory};
  for (int64_t s = 0; s < shards; s++) memcpy(&headers[s], call.stats + s * size, sizeof(ShardHeader));
  Status status = check_shards(headers.get(), shards, rows, call.format, call.out, order.get());
  if (!status.ok()) return status;
  const int64_t total = static_cast<int64_t>(headers[0].total_vocab);
  double checksum = 0;
  status = check_shard_rows(call.labels, rows, {0, total, total}, labels.get(), &checksum);
  if (status.ok()) status = check_shard_labels(headers.get(), shards, checksum);
  if (!status.ok()) return status;

  parallel_for(threads(), rows, rows * shards * 16, [&](int64_t i, int) {
    const auto stats = [&](int64_t s) {
      return call.format.read(call.stats + order[s] * size + kShardHeaderSize + i * call.format.row_elements());
    };
    RowResult result{0, 0, 0};
    if (is_read(labels[i], false)) result = merge_row(shards, labels[i], headers[0].temperature, stats);
    call.out.logps[i] = result.logp;
    call.out.lse[i] = static_cast<float>(result.lse);
    if (call.out.entropy) call.out.entropy[i] = result.entropy;
    if (call.out.argmax) call.out.argmax[i] = result.argmax;
    if (call.out.sum_squared_probs) call.out.sum_squared_probs[i] = result.sum_squared_probs;
  });
  return ended();
}

}  // namespace sweet
