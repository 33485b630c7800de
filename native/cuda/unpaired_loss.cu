// The unpaired loss of ../unpaired_loss.h and its gradient at the log-probs: K items (turns or trajectories).
//
//   loss = sum_k v_k l_k / D,  dx_k = v_k dl_k/dx / D,  dlogp_i = m_i c_tk dx_k
//
// After the sums over items (items.cu): one block over the items (z, loss, dx_k), a warp per turn (dlogp). All sums are
// float64.
#include "device.h"
#include "unpaired_loss.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;  // units_kernel is one block, of 78 registers
constexpr int kWarps = kThreads / kWarp;

__device__ inline double reference_point(const UnpairedInputs& in, const ItemScore* scores, double* shared) {
  const ReferencePoint& point = in.options.reference_point;
  double sum = 0;
  if (point.kl_logps) {
    for (int64_t j = threadIdx.x; j < point.sequences; j += kThreads) {
      sum += point.kl_logps[j];
      if (point.kl_ref_logps) sum -= point.kl_ref_logps[j];
    }
    return point_of_sequences(block_sum(sum, shared), point.sequences);
  }
  if (!point.is_running) return point.value;
  const int64_t items = in.items.items;
  for (int64_t k = threadIdx.x; k < items; k += kThreads) sum += scores[k].ratio;
  return (point.value * point.count + block_sum(sum, shared)) / (point.count + static_cast<double>(items));
}

/** One block: z is of all items, and the rewards of a kind follow each other. */
__global__ void __launch_bounds__(kThreads) units_kernel(UnpairedInputs in,
                                                         const ItemScore* scores,  // [K]
                                                         double* grads,            // [K] dloss/dx
                                                         UnpairedOut out,          // writes those of items, [K] each
                                                         DeviceResult* result) {
  __shared__ double shared[kWarps];
  __shared__ int counts[kWarps];
  if (has_fault(result)) return;
  const UnpairedOptions& options = in.options;
  const int64_t items = in.items.items;
  const unsigned warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const double z = reference_point(in, scores, shared);
  double count = 0;
  for (int64_t k = threadIdx.x; k < items; k += kThreads) count += in.desirable[k] != 0;
  const int64_t all_desirable = static_cast<int64_t>(block_sum(count, shared));

  double loss = 0, wins = 0;
  int64_t desirable_before = 0;
  for (int64_t first = 0; first < items; first += kThreads) {
    const int64_t k = first + threadIdx.x;
    const bool is_item = k < items, desirable = is_item && in.desirable[k] != 0;
    const unsigned in_warp = __ballot_sync(kAllLanes, desirable);
    if (lane == 0) counts[warp] = __popc(in_warp);
    __syncthreads();
    int64_t rank = desirable_before + __popc(in_warp & ((1u << lane) - 1));  // desirable items before this one
    for (unsigned w = 0; w < kWarps; w++) {
      if (w < warp) rank += counts[w];
      desirable_before += counts[w];
    }
    __syncthreads();
    if (!is_item) continue;
    const double x = scores[k].ratio;
    const UnitTerm term = unit_term(options.type, options.beta, x, z, desirable);
    const double share = unit_share(options, items, desirable, in.unit_weights ? in.unit_weights[k] : 1.0f);
    const float reward = static_cast<float>(options.beta * x);
    out.unit_losses[k] = static_cast<float>(term.loss);
    out.rewards[k] = reward;
    out.rewards_by_kind[desirable ? rank : all_desirable + k - rank] = reward;
    wins += desirable ? x - z > 0 : x - z < 0;
    // An item of weight 0 is in no loss, even if its own is infinite.
    if (share != 0) loss += share * term.loss;
    grads[k] = share != 0 ? share * term.slope : 0.0;
  }
  loss = block_sum(loss, shared);
  wins = block_sum(wins, shared);
  if (threadIdx.x != 0) return;
  result->scalars[0] = loss;
  result->scalars[1] = wins / static_cast<double>(items);
  result->scalars[2] = z;
  result->scalars[3] = static_cast<double>(all_desirable);
}

}  // namespace

UnpairedInputs check_unpaired(LaunchContext& context, const UnpairedBatch& batch, const UnpairedOptions& options,
                              const int32_t* labels) {
  UnpairedInputs in{};
  in.items = check_items(context, batch, options.normalization, options.allow_empty_turns, false, labels);
  in.desirable = batch.desirable;
  in.unit_weights = batch.unit_weights;
  in.options = options;
  check_unit_weights(context, batch.unit_weights, in.items.items);
  weigh_items(context, batch, in.items);
  return in;
}

void compute_unpaired(LaunchContext& context, const UnpairedInputs& in, const TokenLogps& logps,
                      const UnpairedOut& out) {
  const ItemSums sums =
      sum_items(context, in.items, {logps.logps, logps.ref_logps, nullptr}, false, out.turn_advantages);
  double* const grads = context.scratch<double>(in.items.items);
  context.launch("units_kernel", units_kernel, 1, kThreads, in, sums.scores, grads, out, context.result());
  spread_grads(context, in.items, grads, nullptr, nullptr, out.grad_logps);
}

}  // namespace cuda

Status unpaired_loss(const UnpairedLoss& call) {
  cuda::LaunchContext context;
  const cuda::UnpairedInputs in = cuda::check_unpaired(context, call.batch, call.options, nullptr);
  cuda::compute_unpaired(context, in, {call.logps, call.ref_logps, nullptr}, call.out);
  return context.finish(call.out.scalars);
}

}  // namespace sweet
