#include <vector>

#include "../partials.h"
#include "device.h"
#include "layout.h"
#include "linear.h"
#include "rows.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;

/** What the partials are of, and rows that nobody reads. */
__global__ void __launch_bounds__(kThreads)
    init_shard_stats_kernel(ShardHeader head, int64_t rows, double* out, const Outcome* outcome) {
  const int64_t i = global_thread();
  if (refused(outcome)) return;
  if (i == 0) *reinterpret_cast<ShardHeader*>(out) = head;
  if (i < rows) reinterpret_cast<ShardStats*>(out + kShardHeaderSize)[i] = empty_shard_stats();
}

/** A thread per row. `size` numbers from a shard to the next. */
__global__ void __launch_bounds__(kThreads)
    merge_shard_stats_kernel(const double* partials, int64_t shards, int64_t size, const int64_t* order, int64_t rows,
                             const int32_t* labels, double temperature, LogpsOut out, const Outcome* outcome) {
  const int64_t i = global_thread();
  if (refused(outcome) || i >= rows) return;
  const double* const own = partials + kShardHeaderSize + i * kShardStatsSize;
  const auto partial = [=](int64_t s) -> const ShardStats& {
    return *reinterpret_cast<const ShardStats*>(own + order[s] * size);
  };
  RowResult end{0, 0, 0};
  if (is_read(labels[i], false)) end = merge_row(shards, labels[i], temperature, partial);
  out.logps[i] = end.logp;
  out.lse[i] = static_cast<float>(end.lse);
  if (out.entropy) out.entropy[i] = end.entropy;
}

}  // namespace
}  // namespace cuda

Status partials(const Head& head, const Labels& labels, bool entropy, double* out) {
  cuda::Run run;
  const Words words = words_of(head);
  const int32_t* const checked = cuda::check_labels(run, labels, head.rows, words);
  const cuda::KeptRows kept = head.logits ? cuda::KeptRows{} : cuda::keep_rows(run, checked, head.rows, false);
  run.launch("init_shard_stats_kernel", cuda::init_shard_stats_kernel, cuda::blocks_for(head.rows + 1, cuda::kThreads),
             cuda::kThreads, shard_header(head, words, entropy), head.rows, out, run.outcome());
  cuda::ForwardOut rows{};
  rows.partials = reinterpret_cast<ShardStats*>(out + kShardHeaderSize);
  rows.weighted = entropy;
  if (head.logits) {
    cuda::forward_rows(run, head, checked, rows);
  } else {
    cuda::LinearPass(run, head, checked, kept).forward(rows);
  }
  return run.finish(nullptr);
}

Status merge_partials(const double* partials, int64_t shards, int64_t rows, const Labels& labels, const LogpsOut& out) {
  cuda::Run run;
  const int64_t size = kShardHeaderSize + rows * kShardStatsSize;
  std::vector<ShardHeader> heads(static_cast<size_t>(shards));
  for (int64_t s = 0; s < shards; s++) {
    run.copy(&heads[static_cast<size_t>(s)], partials + s * size, sizeof(ShardHeader));
  }
  run.settle();
  std::vector<int64_t> host_order(static_cast<size_t>(shards));
  if (run.ok()) run.fail(check_shards(heads.data(), shards, rows, out.entropy != nullptr, host_order.data()));
  if (!run.ok()) return run.finish(nullptr);
  int64_t* const order = run.scratch<int64_t>(shards);
  run.copy(order, host_order.data(), shards * static_cast<int64_t>(sizeof(int64_t)));
  const int64_t all = static_cast<int64_t>(heads[0].total_vocab);
  const int32_t* const checked = cuda::check_labels(run, labels, rows, {0, all, all});
  run.launch("merge_shard_stats_kernel", cuda::merge_shard_stats_kernel, cuda::blocks_for(rows, cuda::kThreads),
             cuda::kThreads, partials, shards, size, order, rows, checked, heads[0].temperature, out, run.outcome());
  return run.finish(nullptr);
}

}  // namespace sweet
