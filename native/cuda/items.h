// The items of a loss, turns or trajectories, on the device: sums over their tokens, and gradients spread to them.
#pragma once

#include "../item_batch.h"
#include "../loss_types.h"
#include "layout.h"

namespace sweet {
namespace cuda {

/** What the kernels work on: the batch, and the weights of each turn and item. */
struct ItemInputs {
  Turns turns;
  const int32_t* item_offsets;  // [K+1] into turns, or null: item k is turn k
  int64_t items;                // K
  Normalization normalization;
  bool allow_empty, divides_by_length;
  const double* turn_weights;  // [T] sum over the tokens
  int32_t* turn_items;         // [T] the item of each turn
  double* item_weights;        // [K] sum over the tokens
};

/** Sums over each item, [K]. */
struct ItemSums {
  ItemScore* scores;
  double* logps;        // weighted
  double* log_weights;  // of use_weighting, else null
};

/** Checks the offsets. labels: checked, [N], or null; where given, they say which tokens count. */
ItemInputs check_items(LaunchContext& context, const ItemBatch& batch, Normalization normalization, bool allow_empty,
                       bool divides_by_length, const int32_t* labels);

/** The weights of turns and items, and their checks. */
void weigh_items(LaunchContext& context, const ItemBatch& batch, ItemInputs& in);

/** with_ref: ItemScore::ref too. turn_advantages: [T]. */
ItemSums sum_items(LaunchContext& context, const ItemInputs& in, const TokenLogps& tokens, bool with_ref,
                   float* turn_advantages);

/** grad_logps[i] = m_i (c_tk grads[k] - constants[k] * *scale); null constants: 0 each. */
void spread_grads(LaunchContext& context, const ItemInputs& in, const double* grads, const double* constants,
                  const double* scale, float* grad_logps);

SWEET_HOST_DEVICE inline int64_t first_turn(const ItemInputs& in, int64_t k) {
  return in.item_offsets ? in.item_offsets[k] : k;
}

SWEET_HOST_DEVICE inline double coefficient(const ItemInputs& in, int64_t t, int64_t k) {
  return score_coefficient(in.normalization, in.turn_weights[t], in.item_weights[k]);
}

}  // namespace cuda
}  // namespace sweet
