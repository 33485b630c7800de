// The forward and backward pass of a head of either kind on the device, as logps, vocab_parallel_stats and the
// updates use them. All pointers are to device memory.
#pragma once

#include "../vocab_parallel.h"
#include "launch.h"

namespace sweet {
namespace cuda {

/**
 * Results of the forward pass, [N] each. lse is kept in float64 for a backward pass of the same call. With shard_stats,
 * these replace all other results.
 */
struct ForwardOut {
  float* logps;
  double* lse;             // or null
  float *lse32, *entropy;  // or null
  bool skip_ignored;       // do not read the rows of ignored labels; their lse is 0 then
  int32_t* argmax = nullptr;
  float* sum_squared_probs = nullptr;
  double* shard_stats = nullptr;  // records of ShardFormat `shard`
  ShardFormat shard = {};

  bool with_entropy() const { return entropy != nullptr || shard.entropy; }
  /** argmax or the squares, which are computed together. */
  bool with_more() const { return argmax || sum_squared_probs || shard.argmax || shard.sum_squares; }

  /** Where nothing but the results of a row are written. */
  SWEET_HOST_DEVICE void write(int64_t i, const RowResult& row) const {
    logps[i] = row.logp;
    if (lse) lse[i] = row.lse;
    if (lse32) lse32[i] = static_cast<float>(row.lse);
    if (entropy) entropy[i] = row.entropy;
    if (argmax) argmax[i] = row.argmax;
    if (sum_squared_probs) sum_squared_probs[i] = row.sum_squared_probs;
  }
};

void logits_forward(LaunchContext& context, const Head& head, const int32_t* labels, const ForwardOut& out);

/** What a backward pass is given of each row, [N]: lse or, if that is null, lse32; gradients or null. */
struct Upstream {
  const double* lse;
  const float* lse32;
  const float* grad_logps;
  const float *grad_entropy = nullptr, *entropy = nullptr, *grad_lse = nullptr;
  bool unit_grad_logps = false;  // 1 each

  SWEET_HOST_DEVICE bool rounded_lse() const { return !lse; }
  SWEET_HOST_DEVICE double lse_of(int64_t i) const { return lse ? lse[i] : lse32[i]; }
  SWEET_HOST_DEVICE UpstreamRow row(int64_t i, double temperature) const {
    return {(unit_grad_logps ? 1.0 : value(grad_logps, i)) / temperature, value(grad_entropy, i) / temperature,
            value(entropy, i), value(grad_lse, i) / temperature};
  }

 private:
  SWEET_HOST_DEVICE static double value(const float* of_rows, int64_t i) { return of_rows ? of_rows[i] : 0.0; }
};

/** grad_logits may be head.logits. */
void logits_backward(LaunchContext& context, const Head& head, const int32_t* labels, const Upstream& upstream,
                     void* grad_logits);

/** The rows that a linear head computes, in their order. */
struct CompactedRows {
  const int64_t* rows;  // [count]
  int64_t count;
};

/** Waits for the checks, so that later kernels find no fault; fails before anything is written. */
CompactedRows compact_rows(LaunchContext& context, const int32_t* labels, int64_t rows, bool skip_ignored);

/** None of a head of logits, whose kernels skip rows themselves. */
inline CompactedRows compacted_rows_of(LaunchContext& context, const Head& head, const int32_t* labels,
                                       bool skip_ignored) {
  return head.logits ? CompactedRows{} : compact_rows(context, labels, head.rows, skip_ignored);
}

void head_forward(LaunchContext& context, const Head& head, const int32_t* labels, const CompactedRows& rows,
                  const ForwardOut& out);

}  // namespace cuda
}  // namespace sweet
