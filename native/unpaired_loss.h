// Losses of single items (turns or trajectories), each of which is desirable or not: KTO (arXiv 2402.01306), APO-zero
// on unpaired data (arXiv 2408.06266) and BCO (arXiv 2404.04656).
//
//   x_k = S_k of preference_loss.h,  y_k = 1 for a desirable item, -1 for another,  u_k = y_k beta (x_k - z)
//   kto, apo_zero_unpaired   l = sigma(-u),      dl/dx = -y beta sigma(u) sigma(-u)
//   bco                      l = -log sigma(u),  dl/dx = -y beta sigma(-u)
//   loss = sum_k v_k l_k / D,  v_k the weight of the item's kind times its own;  D the number of items unless given
//   z, the reference point, has no gradient: a given number, 0 for apo_zero_unpaired; max(0, mean of kl_logps -
//   kl_ref_logps) over mismatched sequences; or the mean of the scores of all calls so far, this one included:
//   (mean * count + sum_k x_k) / (count + K)
//
//   N tokens, T turns, K items, M mismatched sequences
#pragma once

#include "item_batch.h"
#include "loss_types.h"

namespace sweet {

enum class UnpairedType : int32_t { kto, apo_zero_unpaired, bco };

struct UnpairedBatch : ItemBatch {
  const uint8_t* desirable;   // [K], 0: undesirable
  const float* unit_weights;  // [K] or null: 1 each
};

/** Where z comes from. */
struct ReferencePoint {
  double value;     // z; with is_running, the mean over the `count` items of the calls before
  bool is_running;  // of the scores
  double count;
  int64_t sequences;          // M
  const float* kl_logps;      // [M] or null: z is not of sequences
  const float* kl_ref_logps;  // [M] or null: 0 each
};

struct UnpairedOptions {
  Normalization normalization;
  bool allow_empty_turns;
  UnpairedType type;
  double beta, desirable_weight, undesirable_weight;
  double unit_denominator;  // D; 0: the number of items
  ReferencePoint reference_point;
};

struct UnpairedOut {
  double* scalars;               // [4] loss, accuracy, z, the number of desirable items
  float *unit_losses, *rewards;  // [K]
  float* rewards_by_kind;        // [K] of the desirable items in their order, then of the others
  float* turn_advantages;        // [T]
  float* grad_logps;             // [N]
};

struct UnpairedLoss {
  UnpairedBatch batch;
  UnpairedOptions options;
  const float* logps;      // [N]
  const float* ref_logps;  // [N] or null: without a reference S is a sum of logp
  UnpairedOut out;
};

Status unpaired_loss(const UnpairedLoss& call);

/** max(0, sum / M); NaN where the sum is. */
SWEET_HOST_DEVICE inline double point_of_sequences(double sum, int64_t sequences) {
  const double mean = sum / static_cast<double>(sequences);
  return mean < 0 ? 0.0 : mean;
}

struct UnitTerm {
  double loss, slope;  // dloss/dx
};

SWEET_HOST_DEVICE inline UnitTerm unit_term(UnpairedType type, double beta, double x, double z, bool desirable) {
  const double y = desirable ? 1 : -1, u = y * beta * (x - z);
  if (type == UnpairedType::bco) return {-log_sigmoid(u), -y * beta * sigmoid(-u)};
  return {sigmoid(-u), -y * beta * sigmoid_slope(u)};
}

/** v_k / D */
SWEET_HOST_DEVICE inline double unit_share(const UnpairedOptions& options, int64_t items, bool desirable,
                                           float weight) {
  const double of_kind = desirable ? options.desirable_weight : options.undesirable_weight;
  return of_kind * weight / (options.unit_denominator > 0 ? options.unit_denominator : static_cast<double>(items));
}

}  // namespace sweet
