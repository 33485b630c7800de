// A linear head's update in one pass: the gradients of a chunk of tokens are computed from its stored logits, before
// the gradient of the loss at its log-probs is known, and scaled later. 6 N H V operations instead of 8, or 4 instead
// of 6 where the weight or the hidden states are frozen.
//
// Where the gradient at a token follows from its own row (TokenLoss::by_token), the loss is asked for it when the row's
// lse is known, for logits too: they are read once where a row stays in the cache.
//
// With a frozen weight the gradient at a token's hidden states is g_i times one for g_i = 1, whatever the loss. Sums
// over tokens, gradWeight and gradBias, need a loss that knows g_i up to one or two factors a step (token_loss.h): the
// tokens are then taken step by step, and the sums of a step are scaled when its factors are known, for scratch of the
// size of gradWeight times the number of factors.
#pragma once

#include "../head.h"
#include "logps.h"
#include "token_loss.h"

namespace sweet {

struct OnePassUpdate {
  const Head& head;
  const HeadGradients& gradients;
  const int32_t* labels;     // [N] checked
  const TokenLogps logps;    // of the trained model: results of `forward`
  const ForwardOut forward;  // which does not read ignored rows
};

/** What the backward pass is given of each row, after the loss has computed it. */
inline Upstream upstream_of(const OnePassUpdate& call, const TokenLoss& loss) {
  const float* const grad_entropy = loss.grad_entropy();
  return {call.forward.lse, false, loss.grad_logps(), grad_entropy, grad_entropy ? call.forward.entropy : nullptr};
}

/** Whether one pass is possible and faster: see the rule in one_pass_update.cpp. */
bool one_pass_pays(const Head& head, const HeadGradients& gradients, const TokenLoss& loss);

/** one_pass_update of logits. */
Status logits_update(const OnePassUpdate& call, TokenLoss& loss);

/** All results of the call; Code::memory, with nothing written, where an allocation failed. */
Status one_pass_update(const OnePassUpdate& call, TokenLoss& loss);

}  // namespace sweet
