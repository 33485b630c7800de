// Softmax statistics of a vocabulary shard, and their merge, as ../vocab_parallel.h defines both. The statistics of S
// shards are [S, 8 + R N] float64 numbers: a header, then the record of each row (ShardFormat).
//
//   max = max_s max_s,  f_s = 2^((max_s - max) * scale_log2),  sum_exp = sum_s sum_exp_s * f_s
//   lse = max / temperature + log(sum_exp),  logp = (sum_s label_logit_s) / temperature - lse
//
// A shard's statistics come from the kernels of its head, which write them in place of log-probs. The merge takes a
// thread per row; it needs no logits, and the merged statistics are not stored. The scalar reference is that of
// logits_head.cu over the whole row.
#include <vector>

#include "../vocab_parallel.h"
#include "device.h"
#include "layout.h"
#include "logps.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;  // 24, 32 and 40 registers: 2048 or 1536 threads an SM, with 128 or 512 too

/** One block: N is small beside N * V. */
__global__ void __launch_bounds__(kThreads) shard_labels_kernel(const int32_t* checked,  // [N], of the whole vocabulary
                                                                int64_t rows, VocabShard shard,
                                                                int32_t* labels,  // [N], of the shard, or null
                                                                DeviceResult* result) {
  __shared__ LabelsChecksum sum;
  if (has_fault(result)) return;
  if (threadIdx.x == 0) sum = {0, 0};
  __syncthreads();
  LabelsChecksum own{0, 0};
  for (int64_t i = threadIdx.x; i < rows; i += kThreads) {
    const LabelsChecksum row = row_checksum(i, checked[i]);
    own.mask += row.mask;
    own.labels += row.labels;
    if (labels) labels[i] = shard_label(checked[i], shard);
  }
  atomicAdd(&sum.mask, own.mask);
  atomicAdd(&sum.labels, own.labels);
  __syncthreads();
  if (threadIdx.x == 0) result->labels_checksum = checksum_number(sum);
}

/** The header, and the statistics of rows that are not read. */
__global__ void __launch_bounds__(kThreads)
    init_shard_stats_kernel(ShardHeader header, int64_t rows, ShardFormat format,
                            double* stats,  // [shard_elements(rows, format)]
                            const DeviceResult* result) {
  const int64_t i = global_thread();
  if (has_fault(result)) return;
  header.checksum += result->labels_checksum;
  if (i == 0) *reinterpret_cast<ShardHeader*>(stats) = header;
  if (i < rows) format.write(empty_shard_stats(), stats + kShardHeaderSize + i * format.row_elements());
}

/** A thread per row. */
__global__ void __launch_bounds__(kThreads)
    merge_shard_stats_kernel(const double* stats,  // [shards, shard_size]
                             int64_t shards, int64_t shard_size, ShardFormat format,
                             const int64_t* order,  // [shards], by vocabulary offset
                             int64_t rows,
                             const int32_t* labels,  // [N] checked
                             double temperature,
                             LogpsOut out,  // [N] each
                             const DeviceResult* result) {
  const int64_t i = global_thread();
  if (has_fault(result) || i >= rows) return;
  const double* const row = stats + kShardHeaderSize + i * format.row_elements();
  const auto shard_stats = [=](int64_t s) { return format.read(row + order[s] * shard_size); };
  RowResult merged{0, 0, 0};
  if (is_read(labels[i], false)) merged = merge_row(shards, labels[i], temperature, shard_stats);
  out.logps[i] = merged.logp;
  out.lse[i] = static_cast<float>(merged.lse);
  if (out.entropy) out.entropy[i] = merged.entropy;
  if (out.argmax) out.argmax[i] = merged.argmax;
  if (out.sum_squared_probs) out.sum_squared_probs[i] = merged.sum_squared_probs;
}

/** The labels of a shard, [N], or those of the whole vocabulary; their checksum is in the result. */
const int32_t* check_shard_rows(LaunchContext& context, const Labels& labels, int64_t rows, const VocabShard& shard) {
  const int32_t* const checked = check_labels(context, labels, rows, {0, shard.total, shard.total});
  int32_t* const of_shard = shard.size == shard.total ? nullptr : context.scratch<int32_t>(rows);
  context.launch("shard_labels_kernel", shard_labels_kernel, 1, kThreads, checked, rows, shard, of_shard,
                 context.result());
  return of_shard ? of_shard : checked;
}

}  // namespace
}  // namespace cuda

using namespace cuda;

Status vocab_parallel_stats(const VocabParallelStats& call) {
  const Head& head = call.head;
  const VocabShard shard = vocab_shard(head);
  LaunchContext context;
  const int32_t* const labels = check_shard_rows(context, call.labels, head.rows, shard);
  const CompactedRows rows = compacted_rows_of(context, head, labels, false);
  context.launch("init_shard_stats_kernel", init_shard_stats_kernel, blocks_for(head.rows + 1, kThreads), kThreads,
                 shard_header(head, shard, call.format, 0), head.rows, call.format, call.stats, context.result());
  ForwardOut out{};
  out.shard_stats = call.stats + kShardHeaderSize;
  out.shard = call.format;
  head_forward(context, head, labels, rows, out);
  return context.finish(nullptr);
}

Status merge_vocab_parallel_stats(const MergeVocabParallelStats& call) {
  const int64_t rows = call.rows, shards = call.shards, size = shard_elements(rows, call.format);
  LaunchContext context;
  std::vector<ShardHeader> headers(static_cast<size_t>(shards));
  for (int64_t s = 0; s < shards; s++) {
    context.copy(&headers[static_cast<size_t>(s)], call.stats + s * size, sizeof(ShardHeader));
  }
  context.wait();
  std::vector<int64_t> host_order(static_cast<size_t>(shards));
  if (context.ok()) {
    context.fail(check_shards(headers.data(), shards, rows, call.format, call.out, host_order.data()));
  }
  if (!context.ok()) return context.finish(nullptr);
  int64_t* const order = context.scratch<int64_t>(shards);
  context.copy(order, host_order.data(), shards * static_cast<int64_t>(sizeof(int64_t)));
  const int64_t total = static_cast<int64_t>(headers[0].total_vocab);
  const int32_t* const labels = check_shard_rows(context, call.labels, rows, {0, total, total});
  const DeviceResult checked = context.wait();
  if (context.ok()) context.fail(check_shard_labels(headers.data(), shards, checked.labels_checksum));
  context.launch("merge_shard_stats_kernel", merge_shard_stats_kernel, blocks_for(rows, kThreads), kThreads, call.stats,
                 shards, size, call.format, order, rows, labels, headers[0].temperature, call.out, context.result());
  return context.finish(nullptr);
}

}  // namespace sweet
