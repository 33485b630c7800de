// A head cut into shards of its vocabulary, for checks that the shards give what the whole gives.
#pragma once

#include <string>
#include <vector>

#include "../../native/vocab_parallel.h"
#include "checks.h"
#include "device_array.h"

/** Up to three shards, the middle one a single word. */
inline std::vector<sweet::Head> shards_of(const sweet::Head& head) {
  std::vector<sweet::Head> shards;
  const int64_t cuts[] = {0, head.vocab_size / 3, head.vocab_size / 3 + 1, head.vocab_size};
  for (int s = 0; s < 3; s++) {
    if (cuts[s] == cuts[s + 1]) continue;
    sweet::Head shard = head;
    const int64_t bytes = sweet::bytes_of(head.dtype), first = cuts[s];
    const auto from = [&](const void* data, int64_t numbers) -> const void* {
      return data ? static_cast<const char*>(data) + numbers * bytes : nullptr;
    };
    shard.logits = from(head.logits, first);
    shard.weight = from(head.weight, first * head.hidden_size);
    shard.bias = from(head.bias, first);
    shard.vocab_offset = first;
    shard.vocab_size = cuts[s + 1] - first;
    shard.total_vocab = head.vocab_size;
    shards.push_back(shard);
  }
  return shards;
}

/** Results of the whole head from its shards' partials, which lie the last one first. */
inline void merge_shards(Checks& checks, const std::vector<sweet::Head>& shards, const sweet::Labels& labels,
                         const sweet::LogpsOut& out, const std::string& name) {
  const int64_t rows = shards[0].rows, size = sweet::kShardHeaderSize + rows * sweet::kShardStatsSize;
  const int64_t count = static_cast<int64_t>(shards.size());
  const DeviceArray<double> all(static_cast<size_t>(count * size));
  for (int64_t s = 0; s < count; s++) {
    const sweet::Head& shard = shards[static_cast<size_t>(s)];
    checks.ok(sweet::vocab_parallel_stats({shard, labels, out.entropy != nullptr, all.get() + (count - 1 - s) * size}),
              name);
  }
  checks.ok(sweet::merge_vocab_parallel_stats({rows, count, all.get(), labels, out}), name);
}
