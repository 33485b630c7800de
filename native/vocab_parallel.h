// Vocabulary-parallel heads: every holder of a vocabulary shard computes the softmax statistics of its entries
// (vocab_parallel_stats), and the statistics of all shards give the results of logps.h (merge_vocab_parallel_stats).
//
// The statistics of a shard are float64 numbers: a header, then a record of each row (ShardFormat), of four to seven
// numbers. Shards are merged in the order of their vocabulary offsets, whatever their order in memory.
//
// The header has a checksum of labels and mask, since statistics of other rows merge to wrong results that look right:
//
//   (sum of h(i) over masked rows, sum of h(h(i) ^ label_i) over the others)  mod 2^64, the top 24 and 26 bits
#pragma once

#include <algorithm>

#include "head.h"
#include "softmax.h"

namespace sweet {

struct ShardHeader {
  double rows, vocab_offset, vocab_size, total_vocab, temperature, entropy;
  double checksum;  // checksum_number() + ShardFormat::flags(); a checksum of 0 is not compared
  double softcap;   // 0: none
};

/** Of one row. */
struct ShardStats {
  SoftmaxStats softmax;
  double label_logit;  // 0 where the label is no entry of the shard
};

/**
 * What the statistics of a shard have. The record of a row:
 *
 *   max, sum_exp, sum_t_exp (0 without entropy), label_logit, [largest, argmax,] [sum_squares]
 */
struct ShardFormat {
  bool entropy, argmax, sum_squares;

  SWEET_HOST_DEVICE int64_t row_elements() const { return 4 + 2 * argmax + sum_squares; }
  SWEET_HOST_DEVICE int flags() const { return argmax + 2 * sum_squares; }

  SWEET_HOST_DEVICE void write(const ShardStats& stats, double* to) const {
    *to++ = stats.softmax.max, *to++ = stats.softmax.sum_exp, *to++ = stats.softmax.sum_t_exp;
    *to++ = stats.label_logit;
    if (argmax) *to++ = stats.softmax.largest, *to++ = static_cast<double>(stats.softmax.argmax);
    if (sum_squares) *to = stats.softmax.sum_squares;
  }

  SWEET_HOST_DEVICE ShardStats read(const double* from) const {
    ShardStats stats{{from[0], from[1], from[2]}, from[3]};
    from += 4;
    // An id that is none, in numbers of other programs, must not be undefined behavior.
    if (argmax) {
      const double id = from[1];
      stats.softmax.largest = from[0],
      stats.softmax.argmax = id >= 0 && id <= INT32_MAX ? static_cast<int64_t>(id) : -1;
      from += 2;
    }
    if (sum_squares) stats.softmax.sum_squares = *from;
    return stats;
  }
};

/** Of a row that is not read. */
SWEET_HOST_DEVICE inline ShardStats empty_shard_stats() { return {{-INFINITY, 0, 0}, 0}; }

constexpr int64_t kShardHeaderSize = sizeof(ShardHeader) / sizeof(double);

/** Of the labels and the mask of all rows: integer sums, so that the order of the rows' additions does not matter. */
struct LabelsChecksum {
  unsigned long long mask, labels;
};

/** SplitMix64: every bit of x changes half of the result's bits. */
SWEET_HOST_DEVICE inline unsigned long long mix_bits(unsigned long long x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/** What row i adds, whose checked label is one of the whole vocabulary. */
SWEET_HOST_DEVICE inline LabelsChecksum row_checksum(int64_t i, int32_t label) {
  const unsigned long long row = mix_bits(static_cast<unsigned long long>(i));
  return label == kMasked ? LabelsChecksum{row, 0} : LabelsChecksum{0, mix_bits(row ^ static_cast<uint32_t>(label))};
}

constexpr int kMaskBits = 24, kLabelBits = 26;

/** A multiple of 4, exact in float64: the two lowest bits are left for flags of further statistics. */
SWEET_HOST_DEVICE inline double checksum_number(const LabelsChecksum& sum) {
  return 4.0 * static_cast<double>(sum.mask >> (64 - kMaskBits) << kLabelBits | sum.labels >> (64 - kLabelBits));
}

/** ShardFormat::flags() of a shard. */
inline double shard_flags(const ShardHeader& header) { return header.checksum - 4 * floor(header.checksum / 4); }

/** Checks that the shards were computed with the labels and the mask that have this checksum. */
inline Status check_shard_labels(const ShardHeader* headers, int64_t shards, double checksum) {
  const double labels = 4.0 * (1 << kLabelBits);
  for (int64_t s = 0; s < shards; s++) {
    const double of_shard = headers[s].checksum - shard_flags(headers[s]);
    if (of_shard == 0 || of_shard == checksum) continue;
    const bool same_mask = floor(of_shard / labels) == floor(checksum / labels);
    return {same_mask ? Code::shard_labels : Code::shard_mask, s};
  }
  return {};
}

/** A checked label of the whole vocabulary as that of a shard. */
SWEET_HOST_DEVICE inline int32_t shard_label(int32_t checked, const VocabShard& shard) {
  return checked >= 0 ? label_in_shard(checked, shard) : checked;
}

/** Elements of the statistics of one shard. */
SWEET_HOST_DEVICE inline int64_t shard_elements(int64_t rows, const ShardFormat& format) {
  return kShardHeaderSize + rows * format.row_elements();
}

SWEET_HOST_DEVICE inline ShardHeader shard_header(const Head& head, const VocabShard& shard, const ShardFormat& format,
                                                  double checksum) {
  return {static_cast<double>(head.rows),
          static_cast<double>(shard.offset),
          static_cast<double>(shard.size),
          static_cast<double>(shard.total),
          head.temperature,
          format.entropy ? 1.0 : 0.0,
          checksum + format.flags(),
          head.softcap};
}

/** The results of a row; stats(s) gives the row's statistics of the s-th shard in the order of the vocabulary. */
template <class Get>
SWEET_HOST_DEVICE inline RowResult merge_row(int64_t shards, int32_t label, double temperature, Get stats) {
  const auto softmax = [&](int64_t s) { return stats(s).softmax; };
  double label_logit = 0;
  for (int64_t s = 0; s < shards; s++) label_logit += stats(s).label_logit;
  return row_result(merge_stats(shards, temperature, softmax), label, label_logit, temperature);
}

/**
 * Checks that these are all shards of one vocabulary over `rows` rows, of one format, with the statistics of `out`;
 * order[k]: the k-th shard of the vocabulary.
 */
inline Status check_shards(const ShardHeader* headers, int64_t shards, int64_t rows, const ShardFormat& format,
                           const LogpsOut& out, int64_t* order) {
  for (int64_t s = 0; s < shards; s++) {
    const ShardHeader& header = headers[s];
    if (!(header.rows == static_cast<double>(rows))) return {Code::shard_rows, s};
    const bool valid = header.vocab_offset >= 0 && header.vocab_size >= 0 && header.total_vocab <= INT32_MAX &&
                       header.vocab_offset + header.vocab_size <= header.total_vocab &&
                       floor(header.vocab_size) == header.vocab_size;
    const bool same = header.total_vocab == headers[0].total_vocab && header.temperature == headers[0].temperature &&
                      header.softcap == headers[0].softcap;
    if (!valid || !same || !(header.temperature > 0)) return {Code::shard_mismatch, s};
    if (out.entropy && header.entropy != 1) return {Code::shard_no_entropy, s};
    if (shard_flags(header) != format.flags()) return {Code::shard_statistics, s};
    if ((out.argmax && !format.argmax) || (out.sum_squared_probs && !format.sum_squares)) {
      return {Code::shard_statistics, s};
    }
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
  ShardFormat format;
  double* stats;  // [shard_elements(N, format)]
};

struct MergeVocabParallelStats {
  int64_t rows, shards;
  ShardFormat format;   // of all shards
  const double* stats;  // [shards, shard_elements(rows, format)]
  Labels labels;
  LogpsOut out;
};

Status vocab_parallel_stats(const VocabParallelStats& call);
Status merge_vocab_parallel_stats(const MergeVocabParallelStats& call);

}  // namespace sweet
