#include "one_pass_update.h"

#include <algorithm>

#include "../backend.h"
#include "gemm/passes.h"
#include "parallel.h"

namespace sweet {
namespace {

// Measured: forming a logit again costs 2*H operations, keeping it 8 bytes of traffic; scaling a pair's gradients costs
// 12 bytes for each number of the weight. Both are small from here on.
constexpr int64_t kFewestTokens = 256;  // of a pair, on the average
constexpr int64_t kNarrowest = 128;     // H

constexpr int64_t kLogits = int64_t{1} << 24;  // 64 MB of logits are kept

/** to += scale * from, or = . */
void scale_into(const float* from, int64_t n, float scale, float* to, bool add) {
  constexpr int64_t kRange = 1 << 14;
  parallel_for(threads(), (n + kRange - 1) / kRange, n, [&](int64_t item, int) {
    const int64_t end = std::min(n, (item + 1) * kRange);
    for (int64_t i = item * kRange; i < end; i++) to[i] = (add ? to[i] : 0.0f) + scale * from[i];
  });
}

/** The gradients of one pair, before dloss/d(S_chosen - S_rejected) of the pair is known. */
struct Unscaled {
  Scratch<float> hidden, weight, bias;  // hidden: [N, H], of which the pair's rows count

  explicit Unscaled(const Head& head)
      : hidden(head.rows * head.hidden_size),
        weight(head.vocab_size * head.hidden_size),
        bias(head.bias ? head.vocab_size : 0) {}

  bool ok() const { return hidden.ok() && weight.ok() && bias.ok(); }

  void add_to(const HeadGradients& out, const Head& head, const int64_t* rows, int64_t count, double grad, bool add) {
    const float scale = static_cast<float>(grad);
    scale_into(weight.get(), head.vocab_size * head.hidden_size, scale, out.weight, add);
    if (out.bias) scale_into(bias.get(), head.vocab_size, scale, out.bias, add);
    for (int64_t r = 0; r < count && !cancelled(); r++) {
      const int64_t at = rows[r] * head.hidden_size;
      for (int64_t k = 0; k < head.hidden_size; k++) out.hidden[at + k] += scale * hidden[at + k];
    }
  }
};

}  // namespace

bool one_pass_pays(const PreferenceUpdate& call, const PreferenceComputation& preference) {
  const Head& head = call.head;
  return !head.logits && head.hidden_size >= kNarrowest && preference.separable() &&
         head.rows >= kFewestTokens * preference.pairs();
}

Status one_pass_update(const PreferenceUpdate& call, const PreferenceComputation& preference, const int32_t* labels,
                       const float* ref_logps) {
  const Head& head = call.head;
  const HeadGradients& gradients = call.gradients;
  const int64_t width = head.hidden_size, tiles_of_vocab = (head.vocab_size + kTileEntries - 1) / kTileEntries;
  const int64_t most = std::max<int64_t>(64, kLogits / head.vocab_size / 64 * 64);
  const int64_t chunk = std::min({most, BackwardPass::chunk(head), head.rows});
  const int workers = threads();
  Tiles tiles(head, chunk, workers, true);
  ForwardPass forward(head, chunk, workers);
  BackwardPass backward(head, chunk, workers);
  TokenGradients token_gradients(chunk);
  Unscaled unscaled(head);
  Scratch<float> logits(tiles_of_vocab * tiles.tile_size()), coefficients(head.rows);
  Scratch<double> lse(head.rows);
  Scratch<int64_t> rows(head.rows);
  if (!tiles.ok() || !forward.ok() || !backward.ok() || !token_gradients.ok() || !unscaled.ok() || !logits.ok() ||
      !coefficients.ok() || !lse.ok() || !rows.ok()) {
    return {Code::memory};
  }

  const StoredLogits stored = {logits.get(), tiles.tile_size()};
  const ForwardOut results = {call.logps, lse.get(), nullptr, true};
  clear(workers, call.logps, head.rows);
  if (!gradients.accumulate) clear(threads(), gradients.hidden, head.rows * width);

  bool add = gradients.accumulate;
  for (int64_t p = -1; p < preference.pairs() && !cancelled(); p++) {
    const int64_t n = preference.tokens_of_pair(p, rows.get(), coefficients.get());
    for (int64_t first = 0; first < n && !cancelled(); first += chunk) {
      const int64_t count = std::min(chunk, n - first);
      const int64_t* const chunk_rows = rows.get() + first;
      tiles.take(chunk_rows, count);
      forward.run(tiles, chunk_rows, count, labels, results, p < 0 ? kNotStored : stored);
      if (p < 0) continue;
      for (int64_t r = 0; r < count; r++) std::fill_n(unscaled.hidden.get() + chunk_rows[r] * width, width, 0.0f);
      token_gradients.take(chunk_rows, count, labels, lse.get(), coefficients.get(), head.temperature);
      backward.run(tiles, token_gradients, chunk_rows, count, stored,
                   {unscaled.weight.get(), head.bias ? unscaled.bias.get() : nullptr, first > 0},
                   unscaled.hidden.get());
    }
    const double grad = n > 0 && p >= 0 ? preference.pair_grad(p, call.logps, ref_logps) : 0;
    if (grad == 0) continue;
    unscaled.add_to(gradients, head, rows.get(), n, grad, add);
    add = true;
  }
  if (!add) {
    clear(threads(), gradients.weight, head.vocab_size * width);
    if (gradients.bias) clear(threads(), gradients.bias, head.vocab_size);
  }
  return ended();
}

}  // namespace sweet
