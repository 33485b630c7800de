#include "one_pass_update.h"

#include <algorithm>

#include "../backend.h"
#include "gemm/passes.h"
#include "parallel.h"

namespace sweet {
namespace {

// Computing a logit again costs 2*H operations, storing it 8 bytes of memory traffic; scaling a pair's gradients costs
// 12 bytes for each element of the weight. Both are small from these sizes on. Zen 5, float32, one thread, CPU time of
// two passes relative to one in memory that was used before: with H 512, V 4096 and 4 pairs of 32 tokens 0.79, of 64
// 1.04, of 128 1.22, of 256 1.31, of 512 1.32; with 2 pairs of 512 tokens, V 8192 and H 32 0.90, 64 1.04, 128 1.06, 256
// 1.25. Memory fresh from the system costs more than the second pass: with V 8192, H 128 0.31, H 256 0.51.
constexpr int64_t kMinPairTokens = 256;  // mean tokens of a pair
constexpr int64_t kMinHiddenSize = 128;

constexpr int64_t kStoredLogits = int64_t{1} << 24;  // 64 MiB; not varied

/** to (+)= scale * from */
void scale_into(const float* from, int64_t n, float scale, float* to, bool add) {
  constexpr int64_t kRange = 1 << 14;
  parallel_for(threads(), (n + kRange - 1) / kRange, n, [&](int64_t item, int) {
    const int64_t end = std::min(n, (item + 1) * kRange);
    for (int64_t i = item * kRange; i < end; i++) to[i] = (add ? to[i] : 0.0f) + scale * from[i];
  });
}

/** The gradients of one pair, before they are multiplied by its dloss/d(S_chosen - S_rejected). */
struct Unscaled {
  Scratch<float> hidden, weight, bias;  // hidden: [N, H], of which the pair's rows are used

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
  return !head.logits && head.hidden_size >= kMinHiddenSize && preference.separable() &&
         head.rows >= kMinPairTokens * preference.pairs();
}

Status one_pass_update(const PreferenceUpdate& call, const PreferenceComputation& preference, const int32_t* labels,
                       const float* ref_logps) {
  const Head& head = call.head;
  const HeadGradients& gradients = call.gradients;
  const int64_t hidden_size = head.hidden_size;
  const int64_t vocab_tiles = (head.vocab_size + kTileEntries - 1) / kTileEntries;
  const int64_t storable = std::max<int64_t>(64, kStoredLogits / head.vocab_size / 64 * 64);
  const int64_t chunk = std::min({storable, BackwardPass::chunk(head), head.rows});
  const int workers = threads();
  Tiles tiles(head, chunk, workers, true);
  ForwardPass forward(head, chunk, workers);
  BackwardPass backward(head, chunk, workers);
  LogitGradients logit_gradients(head, chunk);
  Unscaled unscaled(head);
  Scratch<float> logits(vocab_tiles * tiles.tile_size()), coefficients(head.rows);
  Scratch<double> lse(head.rows);
  Scratch<int64_t> rows(head.rows);
  if (!tiles.ok() || !forward.ok() || !backward.ok() || !logit_gradients.ok() || !unscaled.ok() || !logits.ok() ||
      !coefficients.ok() || !lse.ok() || !rows.ok()) {
    return {Code::memory};
  }

  const StoredLogits stored = {logits.get(), tiles.tile_size()};
  const ForwardOut results = {call.logps, lse.get(), nullptr, true};
  clear(workers, call.logps, head.rows);
  if (!gradients.accumulate) clear(threads(), gradients.hidden, head.rows * hidden_size);

  bool add = gradients.accumulate;
  for (int64_t p = -1; p < preference.pairs() && !cancelled(); p++) {
    const int64_t n = preference.tokens_of_pair(p, rows.get(), coefficients.get());
    for (int64_t first = 0; first < n && !cancelled(); first += chunk) {
      const int64_t count = std::min(chunk, n - first);
      const int64_t* const chunk_rows = rows.get() + first;
      tiles.gather(chunk_rows, count);
      forward.run(tiles, chunk_rows, count, labels, results, p < 0 ? kNotStored : stored);
      if (p < 0) continue;
      for (int64_t r = 0; r < count; r++)
        std::fill_n(unscaled.hidden.get() + chunk_rows[r] * hidden_size, hidden_size, 0.0f);
      logit_gradients.gather(chunk_rows, count, labels,
                             {lse.get(), false, coefficients.get(), nullptr, nullptr, nullptr});
      backward.run(tiles, logit_gradients, chunk_rows, count, stored,
                   {unscaled.weight.get(), head.bias ? unscaled.bias.get() : nullptr, first > 0},
                   unscaled.hidden.get());
    }
    const double grad = n > 0 && p >= 0 ? preference.pair_grad(p, call.logps, ref_logps) : 0;
    if (grad == 0) continue;
    unscaled.add_to(gradients, head, rows.get(), n, grad, add);
    add = true;
  }
  if (!add) {
    clear(threads(), gradients.weight, head.vocab_size * hidden_size);
    if (gradients.bias) clear(threads(), gradients.bias, head.vocab_size);
  }
  return ended();
}

}  // namespace sweet
