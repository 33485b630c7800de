// Divergences of linear heads. A tile of the student's logits and one of the teacher's are computed side by side, each
// once in a call: the forward pass of jsd keeps the logits of both heads of a chunk of rows from the first pass over
// them to the second. [N, V] is never stored.
#include "active.h"
#include "divergence.h"
#include "linear_chunks.h"

namespace sweet {
namespace {

constexpr int64_t kStoredBytes = int64_t{60} << 20;  // of the logits that jsd keeps

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/** Tokens of a chunk whose logits can be kept. */
int64_t stored_tokens(const Head& head) {
  const int64_t tokens = kStoredBytes / (8 * round_up(head.vocab_size, kTileEntries));
  return std::clamp(tokens / kRowColumns * kRowColumns, kRowColumns, kForwardTokens);
}

/** Both heads' tiles of a chunk. */
class PairTiles {
 public:
  PairTiles(const Head& student, const Head& teacher, int64_t tokens, int workers, const HeadGradients* gradients)
      : student_(student, tokens, workers, gradients), teacher_(teacher, tokens, workers, nullptr) {}

  bool ok() const { return student_.ok() && teacher_.ok(); }
  Tiles& student() { return student_; }

  void gather(const int64_t* rows, int64_t count) {
    student_.gather(rows, count);
    teacher_.gather(rows, count);
  }

  Tile student_tile(int64_t first, int worker) {
    return student_.logits(student_.weight_rows(first, worker), worker, nullptr);
  }
  Tile teacher_tile(int64_t first, int worker) {
    return teacher_.logits(teacher_.weight_rows(first, worker), worker, nullptr);
  }

 private:
  Tiles student_, teacher_;
};

PairTile pair_of(const Tile& x, const Tile& y) { return {x.x, y.x, x.row_stride, x.entries, x.tokens}; }

/** The logits of a chunk, [V, padded tokens] of each head. */
class StoredPairs {
 public:
  StoredPairs(int64_t vocab_size, int64_t tokens)
      : stride_(round_up(tokens, kRowColumns)), size_(vocab_size * stride_), x_(2 * size_) {}

  bool ok() const { return x_.ok(); }

  void put(const PairTile& tile, int64_t first) {
    const int64_t columns = round_up(tile.tokens, kRowColumns);
    for (int64_t v = 0; v < tile.entries; v++) {
      std::copy_n(tile.x + v * tile.row_stride, columns, x_.get() + (first + v) * stride_);
      std::copy_n(tile.y + v * tile.row_stride, columns, x_.get() + size_ + (first + v) * stride_);
    }
  }
  PairTile at(int64_t first, int64_t entries, int64_t tokens) const {
    const float* const x = x_.get() + first * stride_;
    return {x, x + size_, stride_, entries, tokens};
  }

 private:
  const int64_t stride_, size_;
  Scratch<float> x_;
};

}  // namespace

Status linear_divergence(const HeadDivergence& call, const int32_t* labels) {
  const Head& head = call.head;
  const Head& teacher = call.teacher.head;
  const DivergenceKernels& kernels = *active_kernels().divergence;
  const bool swapped = teacher_first(call.type), jsd = call.type == Divergence::jsd;
  const double of_student = kernel_temperature(head), of_teacher = kernel_temperature(teacher);
  const double temperature_a = swapped ? of_teacher : of_student;
  const double temperature_b = swapped ? of_student : of_teacher;
  const float scale_a = log2_scale(temperature_a), scale_b = log2_scale(temperature_b);
  const float beta = static_cast<float>(call.jsd_beta), other_beta = static_cast<float>(1 - call.jsd_beta);
  const CompactRows compact(head, labels, true);
  if (!compact.ok()) return {Code::memory};
  const int64_t tokens = std::min(jsd ? stored_tokens(head) : kForwardTokens, compact.count());
  const int64_t stride = round_up(tokens, kRowColumns), items = (head.vocab_size + kItemEntries - 1) / kItemEntries;
  const int workers = threads();
  PairTiles tiles(head, teacher, tokens, workers, nullptr);
  StoredPairs stored(jsd ? head.vocab_size : 0, tokens);
  Scratch<PairStats> stats(items * tokens);  // [items, tokens]
  Scratch<JsdSums> sums(jsd ? items * tokens : 0);
  Scratch<SavedRow> saved(tokens);
  Scratch<float> memory(PairTerms::kSize * stride);
  if (!tiles.ok() || !stored.ok() || !stats.ok() || !sums.ok() || !saved.ok() || !memory.ok()) return {Code::memory};
  PairTerms terms(memory.get(), stride, head, teacher, call.type);

  const auto each_tile = [&](int64_t item, auto use) {
    const int64_t end = std::min((item + 1) * kItemEntries, head.vocab_size);
    for (int64_t v = item * kItemEntries; v < end && !cancelled(); v += kTileEntries) {
      use(v, std::min(kTileEntries, end - v));
    }
  };
  for (Blocks block(0, head.rows); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) write_row(call, i, 0, {});
  each_chunk(compact, tokens, [&](const int64_t* rows, int64_t count) {
    const int64_t work = count * head.vocab_size * (head.hidden_size + teacher.hidden_size);
    tiles.gather(rows, count);
    parallel_for(workers, items, work, [&](int64_t item, int worker) {
      PairStats* const of_item = stats.get() + item * tokens;
      std::fill_n(of_item, count, kEmptyPair);
      each_tile(item, [&](int64_t v, int64_t) {
        const Tile x = tiles.student_tile(v, worker), y = tiles.teacher_tile(v, worker);
        if (jsd) stored.put(pair_of(x, y), v);
        kernels.tile_stats(swapped ? pair_of(y, x) : pair_of(x, y), of_item, scale_a, scale_b);
      });
    });
    parallel_for(workers, count, count * items * 64, [&](int64_t r, int) {
      PairStats all = kEmptyPair;
      for (int64_t item = 0; item < items; item++) merge_pair(&all, stats[item * tokens + r], scale_a, scale_b);
      const RowDivergence row = row_of_stats(call.type, all, of_student, of_teacher);
      saved[r] = row.saved;
      write_row(call, rows[r], row.divergence, row.saved);
    });
    if (!jsd || cancelled()) return;
    for (int64_t r = 0; r < count; r++) terms.set(r, saved[r], 0);
    terms.set_padding(count);
    parallel_for(workers, items, count * head.vocab_size * 64, [&](int64_t item, int) {
      JsdSums* const of_item = sums.get() + item * tokens;
      std::fill_n(of_item, count, JsdSums{0, 0});
      each_tile(item, [&](int64_t v, int64_t entries) {
        kernels.tile_jsd(stored.at(v, entries, count), terms.rows(), beta, other_beta, of_item);
      });
    });
    parallel_for(workers, count, count * items * 16, [&](int64_t r, int) {
      JsdSums all{0, 0};
      for (int64_t item = 0; item < items; item++) add_sums(&all, sums[item * tokens + r]);
      saved[r].kappa = all.kappa;
      write_row(call, rows[r], cut_at_0(all.divergence), saved[r]);
    });
  });
  return ended();
}

Status linear_divergence(const HeadDivergenceBackward& call, const int32_t* labels) {
  const Head& head = call.head;
  const Head& teacher = call.teacher.head;
  const HeadGradients& out = call.gradients;
  const DivergenceKernels& kernels = *active_kernels().divergence;
  const float beta = static_cast<float>(call.jsd_beta), other_beta = static_cast<float>(1 - call.jsd_beta);
  const CompactRows compact(head, labels, true);
  if (!compact.ok()) return {Code::memory};
  const int64_t tokens = std::min(BackwardPass::chunk(head), compact.count()), stride = round_up(tokens, kRowColumns);
  const int workers = threads();
  PairTiles tiles(head, teacher, tokens, workers, &out);
  BackwardPass backward(head, tokens, workers, out);
  Scratch<float> memory(PairTerms::kSize * stride);
  CappedTiles capped(head, tokens, workers);
  if (!tiles.ok() || !backward.ok() || !memory.ok() || !capped.ok()) return {Code::memory};
  PairTerms terms(memory.get(), stride, head, teacher, call.type);

  clear_gradients(workers, head, compact, out);
  bool add = out.accumulate;
  each_chunk(compact, tokens, [&](const int64_t* rows, int64_t count) {
    tiles.gather(rows, count);
    for (int64_t r = 0; r < count; r++) {
      const SavedRow saved = saved_row(call.saved, rows[r]);
      const bool computed = has_gradient(saved, call.grad_divergence[rows[r]]);
      terms.set(r, saved,
                computed ? gradient_factor(call.type, call.jsd_beta, call.grad_divergence[rows[r]], head.temperature)
                         : static_cast<double>(NAN));
    }
    terms.set_padding(count);
    const auto replace = [&](const Tile& x, int64_t first, int64_t, int worker) {
      const Tile y = tiles.teacher_tile(first, worker);
      capped.keep(x, worker);
      kernels.tile_gradient(pair_of(x, y), terms.rows(), call.type, beta, other_beta, x.x);
      capped.times_slope(x, worker, active_kernels());
    };
    backward.run(tiles.student(), rows, count, kNotStored, {out.weight, out.bias, add}, out.hidden, replace);
    add = true;
  });
  return ended();
}

}  // namespace sweet
