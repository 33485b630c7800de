// The loops over rows of logits in several phases, of the divergences.
#pragma once

#include <algorithm>
#include <cstring>

#include "../backend.h"
#include "../head.h"
#include "../segment.h"
#include "parallel.h"

namespace sweet {

/** The segments of all rows: item k is segment k % per_row of row k / per_row. */
struct RowSegments {
  const Head& head;
  const int64_t per_row;
  const int workers;  // read once: setThreads() may change the number meanwhile

  explicit RowSegments(const Head& of)
      : head(of), per_row((of.vocab_size + kSegment - 1) / kSegment), workers(threads()) {}

  int64_t row(int64_t item) const { return item / per_row; }
  int64_t first(int64_t item) const { return item % per_row * kSegment; }
  int64_t size(int64_t item) const { return std::min(kSegment, head.vocab_size - first(item)); }
};

// Rows per thread from which an item of work is a row, as in logits_head.cpp.
constexpr int64_t kWholeRows = 8;

/**
 * Calls of the rows: phases of segments(item, worker), each followed by finish(row), for the rows that are read, and
 * skip(row) for the others. Many rows: one thread computes a row, whose logits are in its cache in a second phase.
 */
template <class Segment, class Finish, class Skip>
void each_row(const RowSegments& segments, const int32_t* labels, int phases, Segment segment, Finish finish,
              Skip skip) {
  const int64_t rows = segments.head.rows, work = rows * segments.head.vocab_size * 2;
  if (rows >= kWholeRows * segments.workers) {
    parallel_for(segments.workers, rows, work, [&](int64_t i, int worker) {
      if (labels[i] < 0) return skip(i);
      for (int phase = 0; phase < phases; phase++) {
        for (int64_t s = 0; s < segments.per_row && !cancelled(); s++) segment(phase, i * segments.per_row + s, worker);
        finish(phase, i);
      }
    });
    return;
  }
  for (int64_t i = 0; i < rows; i++) {
    if (labels[i] < 0) skip(i);
  }
  for (int phase = 0; phase < phases && !cancelled(); phase++) {
    parallel_for(segments.workers, rows * segments.per_row, work, [&](int64_t item, int worker) {
      if (labels[segments.row(item)] >= 0) segment(phase, item, worker);
    });
    for (int64_t i = 0; i < rows && !cancelled(); i++) {
      if (labels[i] >= 0) finish(phase, i);
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
