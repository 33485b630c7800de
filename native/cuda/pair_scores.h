// What a preference loss needs beside the scores of items: scores that depend on the pair (ld_alpha), and ranks over
// all pairs (batch types).
#pragma once

#include "preference_loss.h"

namespace sweet {
namespace cuda {

/** A token in its item. */
struct TokenPlace {
  double coefficient;  // m_i c_tk; 0 of a token without a weight
  int32_t item, rank;  // rank: tokens of the item with a weight before it
};

struct TokenPlaces {
  TokenPlace* of_tokens;  // [N]
  int32_t* kept;          // [K] tokens with a weight
};

TokenPlaces place_tokens(LaunchContext& context, const ItemInputs& in, int64_t tokens);

/** [2, P]: of the chosen items, then of the rejected ones. */
const ItemScore* score_pairs(LaunchContext& context, const PreferenceInputs& in, const TokenPlaces& places,
                             const TokenLogps& tokens);

/** grad_logps[i] = sum over the pairs of token i's item, of grads [2, P] times d pi/dlogp_i, minus the NLL's. */
void grad_tokens_by_pair(LaunchContext& context, const PreferenceInputs& in, const TokenPlaces& places, int64_t tokens,
                         const double* grads, const double* times_chosen, const double* nll_grad, float* grad_logps);

/** [terms, P]; those of batch types are written. scores: of items, or by_pair [2, P]. */
const RankMatch* match_ranks(LaunchContext& context, const PreferenceInputs& in, const ItemScore* scores);

/** Scores of the items of pair p. */
SWEET_HOST_DEVICE inline const ItemScore& chosen_score(const PreferenceInputs& in, const ItemScore* scores, int64_t p) {
  return scores[in.options.by_pair() ? p : in.pairs.chosen[p]];
}
SWEET_HOST_DEVICE inline const ItemScore& rejected_score(const PreferenceInputs& in, const ItemScore* scores,
                                                         int64_t p) {
  return scores[in.options.by_pair() ? in.pairs.count + p : in.pairs.rejected[p]];
}

}  // namespace cuda
}  // namespace sweet
