#include "one_pass_update.h"

#include <algorithm>
#include <optional>

#include "../backend.h"
#include "gemm/passes.h"
#include "parallel.h"
#include "row_segments.h"

namespace sweet {
namespace {

// Computing a logit again costs 2*H operations, storing it 8 bytes of memory traffic; scaling a group's gradients costs
// 12 bytes for each element of the weight. Both are small from these sizes on. Zen 5, float32, one thread, CPU time of
// two passes relative to one in memory that was used before: with H 512, V 4096 and 4 pairs of 32 tokens 0.79, of 64
// 1.04, of 128 1.22, of 256 1.31, of 512 1.32; with 2 pairs of 512 tokens, V 8192 and H 32 0.90, 64 1.04, 128 1.06, 256
// 1.25. Memory fresh from the system costs more than the second pass: with V 8192, H 128 0.31, H 256 0.51.
//
// With two factors a step there are two such buffers. Zen 5, avx512bf16, float32, one thread, medians of 11 calls, CPU
// time of one pass relative to two, both with scratch in huge pages: a pair of 1024 tokens, H 512, V 4096 0.71; two of
// 512 0.70; one of 1024, H 128, V 4096 0.81; one of 512, H 512, V 8192 0.94; two of 1024, H 256, V 8192 0.95. In small
// pages, fresh at each call, one pass took up to 4 times as long.
constexpr int64_t kMinGroupTokens = 256;  // mean tokens of what has one factor, there a pair
constexpr int64_t kMinHiddenSize = 128;

constexpr int64_t kStoredLogits = int64_t{1} << 24;  // 64 MiB; not varied

// Of a chunk with a frozen weight, which need not hold a pair: malloc keeps 16 MiB for the next call, where more is
// fresh memory each time. Zen 5, one thread, float32, CPU time relative to two passes: with 256 tokens, H 1024, V 32768
// 0.78, with 2^23 1.25, with 2^21 0.88; with 512 tokens, H 512, V 8192 0.68, with 2^24 0.70, with 2^20 0.74. A chunk of
// a large vocabulary has at least kMinFrozenTokens, for which the weight is read and packed: with bfloat16, 1024
// tokens, H 512, V 131072 0.95, with 64 tokens 1.08 to 1.12.
constexpr int64_t kFrozenStoredLogits = int64_t{1} << 22;
constexpr int64_t kMinFrozenTokens = 128;

// Chunks that share larger memory at least; not varied.
constexpr int64_t kMinFrozenChunks = 4;

int64_t round_down_64(int64_t tokens) { return tokens / 64 * 64; }

/** Tokens whose logits are stored at once. */
int64_t storable_tokens(const Head& head, const HeadGradients& gradients) {
  return gradients.weight ? std::max<int64_t>(64, round_down_64(kStoredLogits / head.vocab_size))
                          : std::max(kMinFrozenTokens, round_down_64(kFrozenStoredLogits / head.vocab_size));
}

/** to (+)= scale * from */
void scale_into(const float* from, int64_t n, float scale, float* to, bool add) {
  constexpr int64_t kRange = 1 << 14;
  parallel_for(threads(), (n + kRange - 1) / kRange, n, [&](int64_t item, int) {
    const int64_t end = std::min(n, (item + 1) * kRange);
    for (int64_t i = item * kRange; i < end; i++) to[i] = (add ? to[i] : 0.0f) + scale * from[i];
  });
}

/** A chunk of tokens with its stored logits. */
class OnePass {
 public:
  OnePass(const OnePassUpdate& call, int64_t tokens)
      : head_(call.head),
        chunk_(std::min({storable_tokens(head_, call.gradients), BackwardPass::chunk(head_), tokens})),
        workers_(threads()),
        tiles_(head_, chunk_, workers_, &call.gradients),
        forward_(head_, chunk_, workers_),
        backward_(head_, chunk_, workers_, call.gradients),
        logit_gradients_(head_, chunk_, workers_),
        logits_((head_.vocab_size + kTileEntries - 1) / kTileEntries * tiles_.tile_size()),
        forward_out_(call.forward) {}

  bool ok() const { return tiles_.ok() && forward_.ok() && backward_.ok() && logit_gradients_.ok() && logits_.ok(); }

  /** The results of the forward pass of all rows as those of rows that are not read. */
  void skip_rows() const {
    for (Blocks block(0, head_.rows); block.next();)
      for (int64_t i = block.begin; i < block.end; i++) skip_row(forward_out_, i);
  }

  /**
   * The results of the forward pass of `count` rows, and their gradients where those at the log-probs are `grad_logps`:
   * hidden[row] is overwritten, weight and bias are the sums over all of the rows. Null `grad_logps`: the results
   * alone.
   */
  void run(const int64_t* rows, int64_t count, const int32_t* labels, const float* grad_logps,
           const HeadGradients& out) {
    const StoredLogits stored = {logits_.get(), tiles_.tile_size()};
    for (int64_t first = 0; first < count && !cancelled(); first += chunk_) {
      const int64_t n = std::min(chunk_, count - first);
      const int64_t* const chunk_rows = rows + first;
      tiles_.gather(chunk_rows, n);
      forward_.run(tiles_, chunk_rows, n, labels, forward_out_, grad_logps ? stored : kNotStored);
      if (!grad_logps) continue;
      for (int64_t r = 0; out.hidden && r < n; r++)
        std::fill_n(out.hidden + chunk_rows[r] * head_.hidden_size, head_.hidden_size, 0.0f);
      logit_gradients_.gather(chunk_rows, n, labels, {forward_out_.lse, false, grad_logps});
      backward_.run(tiles_, logit_gradients_, chunk_rows, n, stored, {out.weight, out.bias, first > 0}, out.hidden);
    }
  }

  /** The whole update of `count` rows, where the loss is by_token(). */
  void run(const int64_t* rows, int64_t count, const OnePassUpdate& call, TokenLoss& loss) {
    const StoredLogits stored = {logits_.get(), tiles_.tile_size()};
    const HeadGradients& out = call.gradients;
    for (int64_t first = 0; first < count && !cancelled(); first += chunk_) {
      const int64_t n = std::min(chunk_, count - first);
      const int64_t* const chunk_rows = rows + first;
      tiles_.gather(chunk_rows, n);
      forward_.run(tiles_, chunk_rows, n, call.labels, forward_out_, stored);
      for (int64_t r = 0; r < n; r++) loss.compute_token(chunk_rows[r], call.logps);
      logit_gradients_.gather(chunk_rows, n, call.labels, upstream_of(call, loss));
      backward_.run(tiles_, logit_gradients_, chunk_rows, n, stored,
                    {out.weight, out.bias, first > 0 || out.accumulate}, out.hidden);
    }
  }

 private:
  const Head& head_;
  const int64_t chunk_;
  const int workers_;
  Tiles tiles_;
  ForwardPass forward_;
  BackwardPass backward_;
  LogitGradients logit_gradients_;
  Scratch<float> logits_;
  const ForwardOut& forward_out_;
};

/** The gradients of one group of a step, before they are multiplied by its factor. */
struct Unscaled {
  Scratch<float> hidden, weight, bias;  // hidden: [N, H], of which the group's rows are used
  const HeadGradients gradients;

  Unscaled(const Head& head, const HeadGradients& out)
      : hidden(out.hidden ? head.rows * head.hidden_size : 0),
        weight(head.vocab_size * head.hidden_size),
        bias(out.bias ? head.vocab_size : 0),
        gradients{nullptr, out.hidden ? hidden.get() : nullptr, weight.get(), out.bias ? bias.get() : nullptr, false} {}

  bool ok() const { return hidden.ok() && weight.ok() && bias.ok(); }

  /** The gradient of a token with a coefficient of 0 is 0 where that of its group is infinite, too. */
  void add_to(const HeadGradients& out, const Head& head, const int64_t* rows, int64_t count, const float* coefficients,
              double grad, bool add) {
    const float scale = static_cast<float>(grad);
    scale_into(weight.get(), head.vocab_size * head.hidden_size, scale, out.weight, add);
    if (out.bias) scale_into(bias.get(), head.vocab_size, scale, out.bias, add);
    for (int64_t r = 0; out.hidden && r < count && !cancelled(); r++) {
      if (coefficients[rows[r]] == 0) continue;
      const int64_t at = rows[r] * head.hidden_size;
      for (int64_t k = 0; k < head.hidden_size; k++) out.hidden[at + k] += scale * hidden[at + k];
    }
  }
};

/** A group of tokens: its rows, and the coefficients of their gradients. */
struct Group {
  Scratch<int64_t> rows;
  Unscaled unscaled;
  int64_t count = 0;

  Group(const Head& head, const HeadGradients& gradients) : rows(head.rows), unscaled(head, gradients) {}

  bool ok() const { return rows.ok() && unscaled.ok(); }
};

Status step_by_step(const OnePassUpdate& call, TokenLoss& loss) {
  const Head& head = call.head;
  const HeadGradients& gradients = call.gradients;
  OnePass pass(call, head.rows);
  Scratch<float> coefficients(head.rows);
  Group first(head, gradients);
  std::optional<Group> second;
  if (loss.groups() > 1) second.emplace(head, gradients);
  Group* const groups[] = {&first, second ? &*second : nullptr};
  if (!pass.ok() || !coefficients.ok() || !first.ok() || (second && !second->ok())) return {Code::memory};

  pass.skip_rows();
  if (!gradients.accumulate && gradients.hidden) clear(threads(), gradients.hidden, head.rows * head.hidden_size);
  bool add = gradients.accumulate;
  for (int64_t step = -1; step < loss.steps() && !cancelled(); step++) {
    const int count = step < 0 ? 1 : loss.groups();
    for (int g = 0; g < count; g++) {
      Group& group = *groups[g];
      group.count = loss.tokens_of(step, g, group.rows.get(), coefficients.get());
      pass.run(group.rows.get(), group.count, call.labels, step < 0 ? nullptr : coefficients.get(),
               group.unscaled.gradients);
    }
    if (step < 0) continue;
    double factors[2] = {};
    loss.factors(step, call.logps, factors);
    for (int g = 0; g < count; g++) {
      Group& group = *groups[g];
      if (group.count == 0 || factors[g] == 0) continue;
      group.unscaled.add_to(gradients, head, group.rows.get(), group.count, coefficients.get(), factors[g], add);
      add = true;
    }
  }
  if (!add) clear_weight_gradients(threads(), head, gradients);
  loss.compute(call.logps);
  return ended();
}

/** Where the gradient at a token follows from its row. */
Status row_by_row(const OnePassUpdate& call, TokenLoss& loss) {
  const Head& head = call.head;
  const HeadGradients& gradients = call.gradients;
  const CompactRows compact(head, call.labels, true);
  OnePass pass(call, compact.count());
  if (!compact.ok() || !pass.ok()) return {Code::memory};

  pass.skip_rows();
  if (!gradients.accumulate) {
    if (gradients.hidden) clear(threads(), gradients.hidden, head.rows * head.hidden_size);
    if (compact.count() == 0) clear_weight_gradients(threads(), head, gradients);
  }
  pass.run(compact.rows(), compact.count(), call, loss);
  loss.compute(call.logps);
  return ended();
}

/** Where the weight is frozen. */
Status token_by_token(const OnePassUpdate& call, TokenLoss& loss) {
  const Head& head = call.head;
  const HeadGradients& gradients = call.gradients;
  const int64_t hidden_size = head.hidden_size;
  const CompactRows compact(head, call.labels, true);
  OnePass pass(call, compact.count());
  Scratch<float> ones(head.rows), added(gradients.accumulate ? head.rows * hidden_size : 0);
  if (!compact.ok() || !pass.ok() || !ones.ok() || !added.ok()) return {Code::memory};

  pass.skip_rows();
  std::fill_n(ones.get(), head.rows, 1.0f);
  float* const unscaled = gradients.accumulate ? added.get() : gradients.hidden;
  clear(threads(), unscaled, head.rows * hidden_size);
  pass.run(compact.rows(), compact.count(), call.labels, ones.get(), {nullptr, unscaled, nullptr, nullptr, false});
  loss.compute(call.logps);
  const float* const grad_logps = loss.grad_logps();
  parallel_for(threads(), compact.count(), compact.count() * hidden_size, [&](int64_t r, int) {
    const int64_t i = compact.rows()[r], end = (i + 1) * hidden_size;
    const float grad = grad_logps[i];
    for (int64_t at = i * hidden_size; at < end; at++)
      gradients.hidden[at] = (gradients.accumulate ? gradients.hidden[at] : 0.0f) + grad * unscaled[at];
  });
  return ended();
}

}  // namespace

bool one_pass_pays(const Head& head, const HeadGradients& gradients, const TokenLoss& loss) {
  if (head.logits) return loss.by_token() && RowSegments(head, 2).whole_rows();
  if (loss.by_token()) return true;
  // Gradients at entropies are no multiple of those at log-probs.
  if (loss.grad_entropy() || head.hidden_size < kMinHiddenSize) return false;
  if (!gradients.weight) {
    const int64_t tokens = storable_tokens(head, gradients);
    return tokens * head.vocab_size <= kFrozenStoredLogits || head.rows >= kMinFrozenChunks * tokens;
  }
  const int64_t groups = loss.steps() * loss.groups();
  return groups > 0 && head.rows >= kMinGroupTokens * groups;
}

Status one_pass_update(const OnePassUpdate& call, TokenLoss& loss) {
  if (call.head.logits) return logits_update(call, loss);
  if (loss.by_token()) return row_by_row(call, loss);
  return call.gradients.weight ? step_by_step(call, loss) : token_by_token(call, loss);
}

}  // namespace sweet
