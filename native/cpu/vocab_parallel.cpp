#include "../vocab_parallel.h"

#include <cstring>

#include "../backend.h"
#include "../scratch.h"
#include "logps.h"
#include "parallel.h"

namespace sweet {

Status vocab_parallel_stats(const VocabParallelStats& call) {
  const Head& head = call.head;
  const VocabShard shard = vocab_shard(head);
  Scratch<int32_t> labels(head.rows);
  if (!labels.ok()) return {Code::memory};
  Status status = check_labels(call.labels, head.rows, shard, labels.get());
  if (!status.ok()) return status;

  ForwardOut out{};
  out.shard_stats = reinterpret_cast<ShardStats*>(call.stats + kShardHeaderSize);
  out.shard_entropy = call.entropy;
  status = head_forward(head, labels.get(), out);
  if (!status.ok()) return status;
  const ShardHeader header = shard_header(head, shard, call.entropy);
  memcpy(call.stats, &header, sizeof(header));
  return status;
}

Status merge_vocab_parallel_stats(const MergeVocabParallelStats& call) {
  const int64_t rows = call.rows, shards = call.shards, size = shard_elements(rows);
  Scratch<ShardHeader> headers(shards);
  Scratch<int64_t> order(shards);
  Scratch<int32_t> labels(rows);
  if (!headers.ok() || !order.ok() || !labels.ok()) return {Code::memory};
  for (int64_t s = 0; s < shards; s++) memcpy(&headers[s], call.stats + s * size, sizeof(ShardHeader));
  Status status = check_shards(headers.get(), shards, rows, call.out.entropy != nullptr, order.get());
  if (!status.ok()) return status;
  const int64_t total = static_cast<int64_t>(headers[0].total_vocab);
  status = check_labels(call.labels, rows, {0, total, total}, labels.get());
  if (!status.ok()) return status;

  parallel_for(threads(), rows, rows * shards * 16, [&](int64_t i, int) {
    const auto stats = [&](int64_t s) -> const ShardStats& {
      return *reinterpret_cast<const ShardStats*>(call.stats + order[s] * size + kShardHeaderSize +
                                                  i * kShardStatsSize);
    };
    RowResult result{0, 0, 0};
    if (is_read(labels[i], false)) result = merge_row(shards, labels[i], headers[0].temperature, stats);
    call.out.logps[i] = result.logp;
    call.out.lse[i] = static_cast<float>(result.lse);
    if (call.out.entropy) call.out.entropy[i] = result.entropy;
  });
  return ended();
}

}  // namespace sweet
