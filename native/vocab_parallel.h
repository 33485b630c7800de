// Vocabulary-parallel heads: every holder of a vocabulary shard computes the softmax statistics of its entries
// (vocab_parallel_stats), and the statistics of all shards give the results of logps.h (merge_vocab_parallel_stats).
//
// The statistics of a shard are kShardHeaderSize + N * kShardStatsSize float64 numbers: a header, then four numbers a
// row. Shards are merged in the order of their vocabulary offsets, whatever their order in memory.
#pragma once

#include <algorithm>

#include "head.h"
#include "softmax.h"

namespace sweet {

struct ShardHeader {
  double rows, vocab_offset, vocab_size, total_vocab, temperature, entropy, unused[2];
};

/** Of one row. */
struct ShardStats {
  SoftmaxStats softmax;  // sum_t_exp only with entropy
  double label_logit;    // 0 where the label is no entry of the shard
};

/** Of a row that is not read. */
SWEET_HOST_DEVICE inline ShardStats empty_shard_stats() { return {{-INFINITY, 0, 0}, 0}; }

constexpr int64_t kShardHeaderSize = sizeof(ShardHeader) / sizeof(double);
constexpr int64_t kShardStatsSize = sizeof(ShardStats) / sizeof(double);

/** Elements of the statistics of one shard. */
SWEET_HOST_DEVICE inline int64_t shard_elements(int64_t rows) { return kShardHeaderSize + rows * kShardStatsSize; }

SWEET_HOST_DEVICE inline ShardHeader shard_header(const Head& head, const VocabShard& shard, bool entropy) {
  return {static_cast<double>(head.rows),
          static_cast<double>(shard.offset),
          static_cast<double>(shard.size),
          static_cast<double>(shard.total),
          head.temperature,
          entropy ? 1.0 : 0.0,
          {0, 0}};
}

/** The results of a row; stats(s) gives the row's statistics of the s-th shard in the order of the vocabulary. */
template <class Get>
SWEET_HOST_DEVICE inline RowResult merge_row(int64_t shards, int32_t label, double temperature, Get stats) {
  const auto softmax = [&](int64_t s) -> const SoftmaxStats& { return stats(s).softmax; };
  double label_logit = 0;
  for (int64_t s = 0; s < shards; s++) label_logit += stats(s).label_logit;
  return row_result(merge_stats(shards, temperature, softmax), label, static_cast<float>(label_logit), temperature);
}

/** Checks that these are all shards of one vocabulary over `rows` rows; order[k]: the k-th shard of the vocabulary. */
inline Status check_shards(const ShardHeader* headers, int64_t shards, int64_t rows, bool entropy, int64_t* order) {
  for (int64_t s = 0; s < shards; s++) {
    const ShardHeader& header = headers[s];
    if (!(header.rows == static_cast<double>(rows))) return {Code::shard_rows, s};
    const bool valid = header.vocab_offset >= 0 && header.vocab_size >= 0 && header.total_vocab <= INT32_MAX &&
                       header.vocab_offset + header.vocab_size <= header.total_vocab &&
                       floor(header.vocab_size) == header.vocab_size;
    const bool same = header.total_vocab == headers[0].total_vocab && header.temperature == headers[0].temperature;
    if (!valid || !same || !(header.temperature > 0)) return {Code::shard_mismatch, s};
    if (entropy && header.entropy != 1) return {Code::shard_no_entropy, s};
    order[s] = s;
  }
  if (rows == 0) return {};
  std::sort(order, order + shards, [&](int64_t a, int64_t b) {
    return headers[a].vocab_offset != headers[b].vocab_offset ? headers[a].vocab_offset < headers[b].vocab_offset
                                                              : a < b;
  });
  double next = 0;
  for (int64_t k = 0; k < shards; k++) {
    const ShardHeader& header = headers[order[k]];
    if (header.vocab_offset != next) {
      return {Code::shard_coverage, order[k], static_cast<int64_t>(std::min(next, header.vocab_offset))};
    }
    next += header.vocab_size;
  }
  if (next != headers[0].total_vocab) return {Code::shard_coverage, shards - 1, static_cast<int64_t>(next)};
  return {};
}

struct VocabParallelStats {
  Head head;  // a shard, or the whole vocabulary
  Labels labels;
  bool entropy;   // compute sum_t_exp
  double* stats;  // [shard_elements(N)]
};

struct MergeVocabParallelStats {
  int64_t rows, shards;
  const double* stats;  // [shards, shard_elements(rows)]
  Labels labels;
  LogpsOut out;
};

Status vocab_parallel_stats(const VocabParallelStats& call);
Status merge_vocab_parallel_stats(const MergeVocabParallelStats& call);

}  // namespace sweet
