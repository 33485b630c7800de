// The head of hidden states, in chunks of unmasked rows.
#include <algorithm>

#include "../backend.h"
#include "head_backward.h"
#include "linear_chunks.h"
#include "parallel.h"

namespace sweet {

Status linear_forward(const Head& head, const int32_t* labels, const ForwardOut& out) {
  const CompactRows compact(head, labels, out.skip_ignored);
  if (!compact.ok()) return {Code::memory};
  const int64_t chunk = std::min(kForwardTokens, compact.count());
  const int workers = threads();
  Tiles tiles(head, chunk, workers, nullptr);
  ForwardPass forward(head, chunk, workers);
  if (!tiles.ok() || !forward.ok()) return {Code::memory};

  for (Blocks block(0, head.rows); block.next();)
    for (int64_t i = block.begin; i < block.end; i++) skip_row(out, i);
  each_chunk(compact, chunk, [&](const int64_t* rows, int64_t count) {
    tiles.gather(rows, count);
    forward.run(tiles, rows, count, labels, out, kNotStored);
  });
  return ended();
}

LinearBackward::LinearBackward(const Head& head, const int32_t* labels, const HeadGradients& gradients)
    : head_(head),
      gradients_(gradients),
      compact_(head, labels, true),
      chunk_(std::min(BackwardPass::chunk(head), compact_.count())),
      workers_(threads()),
      tiles_(head, chunk_, workers_, &gradients),
      logit_gradients_(head, chunk_, workers_),
      backward_(head, chunk_, workers_, gradients) {}

Status LinearBackward::run(const int32_t* labels, const Upstream& upstream) {
  const HeadGradients& out = gradients_;
  clear_gradients(workers_, head_, compact_, out);
  bool add = out.accumulate;
  each_chunk(compact_, chunk_, [&](const int64_t* rows, int64_t count) {
    tiles_.gather(rows, count);
    logit_gradients_.gather(rows, count, labels, upstream);
    backward_.run(tiles_, logit_gradients_, rows, count, kNotStored, {out.weight, out.bias, add}, out.hidden);
    add = true;
  });
  return ended();
}

}  // namespace sweet
