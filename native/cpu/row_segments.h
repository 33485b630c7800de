// The loops over rows of logits: the items of work are segments of rows, so that a few long rows occupy every thread
// too.
#pragma once

#include <algorithm>
#include <cstring>

#include "../backend.h"
#include "../head.h"
#include "../segment.h"
#include "parallel.h"

namespace sweet {

// Rows per thread from which an item of work is a row, not a segment. Zen 5, 2 threads, 2 to 64 rows of 131072
// elements: 1, 2 and 32 take 0.89 to 1.05 of the time, which is within the noise of that shared machine.
constexpr int64_t kWholeRows = 8;

/** The segments of all rows: item k is segment k % per_row of row k / per_row. */
struct RowSegments {
  const Head& head;
  const int64_t per_row, work;
  const int workers;  // read once: setThreads() may change the number meanwhile

  /** reads: rows of logits that are read for a row of results. */
  RowSegments(const Head& of, int64_t reads)
      : head(of),
        per_row((of.vocab_size + kSegment - 1) / kSegment),
        work(of.rows * of.vocab_size * reads),
        workers(threads()) {}

  /** Many rows: one thread computes a row, whose logits are in its cache. */
  bool whole_rows() const { return head.rows >= kWholeRows * workers; }

  int64_t row(int64_t item) const { return per_row == 1 ? item : item / per_row; }  // short rows: no division
  int64_t first(int64_t item) const { return (item - row(item) * per_row) * kSegment; }
  int64_t size(int64_t item) const { return std::min(kSegment, head.vocab_size - first(item)); }
};

// A gradient of at least this size that is not in place is written by non-temporal stores: the caches cannot hold it
// until it is read, and the stores need not read its memory first. Zen 5, time with non-temporal stores relative to
// plain ones, AVX-512 (AVX2), of the gradient and of one that is read again: 4 MiB 1.21 (1.01) and 1.26 (1.00), 8 MiB
// 0.96 (0.83) and 1.12 (0.92), 16 MiB 0.82 (0.90) and 0.96 (0.95), 32 MiB 0.92 (0.93) and 0.92 (0.97).
constexpr int64_t kStreamBytes = int64_t{1} << 25;

inline bool is_streamed(const Head& head) { return head.rows * head.vocab_size * bytes_of(head.dtype) >= kStreamBytes; }

/**
 * Calls of the rows: phases of segments(item, worker), each followed by finish(row), for the rows of which
 * is_read(row), and skip(row) for the others. Many rows: one thread computes a row, whose logits are in its cache in a
 * second phase.
 */
template <class IsRead, class Segment, class Finish, class Skip>
void each_row(const RowSegments& segments, IsRead is_read, int phases, Segment segment, Finish finish, Skip skip) {
  const int64_t rows = segments.head.rows, work = segments.work;
  if (segments.whole_rows()) {
    parallel_for(segments.workers, rows, work, [&](int64_t i, int worker) {
      if (!is_read(i)) return skip(i);
      for (int phase = 0; phase < phases; phase++) {
        for (int64_t s = 0; s < segments.per_row && !cancelled(); s++) segment(phase, i * segments.per_row + s, worker);
        finish(phase, i);
      }
    });
    return;
  }
  for (int64_t i = 0; i < rows; i++) {
    if (!is_read(i)) skip(i);
  }
  for (int phase = 0; phase < phases && !cancelled(); phase++) {
    parallel_for(segments.workers, rows * segments.per_row, work, [&](int64_t item, int worker) {
      if (is_read(segments.row(item))) segment(phase, item, worker);
    });
    for (int64_t i = 0; i < rows && !cancelled(); i++) {
      if (is_read(i)) finish(phase, i);
    }
  }
}

/** The elements of row i from entry `from` on become 0, its padding too, after the last row as far as the array goes.
 */
inline void clear_from(const Head& head, int64_t i, int64_t from, void* gradient) {
  const int64_t first = i * head.row_stride + from, bytes = bytes_of(head.dtype);
  const int64_t end = std::max(first, std::min((i + 1) * head.row_stride, head.logits_length));
  memset(static_cast<char*>(gradient) + first * bytes, 0, static_cast<size_t>((end - first) * bytes));
}

}  // namespace sweet
