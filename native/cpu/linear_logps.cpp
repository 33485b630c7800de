// The linear head, chunk by chunk of the tokens that count.
#include "../linear_logps.h"

#include <algorithm>

#include "../backend.h"
#include "linear_passes.h"
#include "parallel.h"

namespace sweet {
namespace {

constexpr int64_t kForwardTokens = 1024;

/** Calls use(rows, count) for each chunk. */
template <class Use>
void each_chunk(const Tokens& tokens, int64_t chunk, Use use) {
  for (int64_t first = 0; first < tokens.count() && !cancelled(); first += chunk) {
    use(tokens.rows() + first, std::min(chunk, tokens.count() - first));
  }
}

}  // namespace

Status linear_forward(const Head& head, const int32_t* labels, const RowsOut& out) {
  const Tokens tokens(head, labels, out.skip_ignored);
  if (!tokens.ok()) return {Code::memory};
  const int64_t chunk = std::min(kForwardTokens, tokens.count());
  const int slots = threads();
  Tiles tiles(head, chunk, slots, false);
  ForwardPass forward(head, chunk, slots);
  if (!tiles.ok() || !forward.ok()) return {Code::memory};

  for (Blocks block(0, head.rows); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) drop_row(out, i);
  each_chunk(tokens, chunk, [&](const int64_t* rows, int64_t count) {
    tiles.take(rows, count);
    forward.run(tiles, rows, count, labels, out, kNotStored);
  });
  return ended();
}

Status linear_backward(const Head& head, const int32_t* labels, const double* lse, const float* grad_logps,
                       const HeadGradients& out) {
  const Tokens tokens(head, labels, true);
  if (!tokens.ok()) return {Code::memory};
  const int64_t chunk = std::min(BackwardPass::chunk(head), tokens.count());
  const int slots = threads();
  Tiles tiles(head, chunk, slots, true);
  TokenGradients gradients(chunk);
  BackwardPass backward(head, chunk, slots);
  if (!tiles.ok() || !gradients.ok() || !backward.ok()) return {Code::memory};

  if (!out.accumulate) clear(threads(), out.hidden, head.rows * head.width);
  if (!out.accumulate && tokens.count() == 0) {
    clear(threads(), out.weight, head.vocab * head.width);
    if (out.bias) clear(threads(), out.bias, head.vocab);
  }
  bool add = out.accumulate;
  each_chunk(tokens, chunk, [&](const int64_t* rows, int64_t count) {
    tiles.take(rows, count);
    gradients.take(rows, count, labels, lse, grad_logps, head.temperature);
    backward.run(tiles, gradients, rows, count, kNotStored, {out.weight, out.bias, add}, out.hidden);
    add = true;
  });
  return ended();
}

Status linear_logps(const Head& head, const Labels& labels, const LogpsOut& out) { return logps_of(head, labels, out); }

Status linear_logps_backward(const Head& head, const Labels& labels, const LogpsBackward& backward) {
  return logps_backward_of(head, labels, backward);
}

}  // namespace sweet
