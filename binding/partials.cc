#include "../native/partials.h"

#include "addon.h"
#include "args.h"

namespace sweet {

Napi::Value bind_partials(const Napi::CallbackInfo& info) {
  Args args(info);
  Head head = args.head();
  args.shard(&head);
  const Labels labels = args.labels(head.rows);
  const bool entropy = args.boolean();
  double* const out = args.array<double>(kShardHeaderSize + head.rows * kShardStatsSize);
  return args.perform([=] { return partials(head, labels, entropy, out); });
}

Napi::Value bind_merge_partials(const Napi::CallbackInfo& info) {
  Args args(info);
  const int64_t rows = static_cast<int64_t>(args.number()), shards = static_cast<int64_t>(args.number());
  const double* const given = args.array<const double>(shards * (kShardHeaderSize + rows * kShardStatsSize));
  const Labels labels = args.labels(rows);
  LogpsOut out{};
  out.logps = args.array<float>(rows);
  out.lse = args.array<float>(rows);
  out.entropy = args.array<float>(rows);
  return args.perform([=] { return merge_partials(given, shards, rows, labels, out); });
}

}  // namespace sweet
