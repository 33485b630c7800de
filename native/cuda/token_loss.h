// A loss of token log-probs on the device as an update sees it.
#pragma once

#include "../item_batch.h"
#include "launch.h"

namespace sweet {
namespace cuda {

class TokenLoss {
 public:
  virtual ~TokenLoss() = default;

  /** Enqueues the checks of the batch. labels: checked, [N]; they say which tokens count. */
  virtual void check(LaunchContext& context, const int32_t* labels) = 0;

  /** Whether compute() reads sum_v p_iv^2. */
  virtual bool needs_sum_squared_probs() const { return false; }

  /** Enqueues all results; scalars go to the context's result. */
  virtual void compute(LaunchContext& context, const TokenLogps& logps) = 0;

  /** The gradients of the loss at the log-probs and entropies (null: none), [N], in device memory, after check(). */
  virtual const float* grad_logps() const = 0;
  virtual const float* grad_entropy() const { return nullptr; }

  /** Whether the gradients at a token follow from the forward pass of its row alone. */
  virtual bool by_token() const { return false; }

  /** by_token(): both gradients of these tokens, [count] in device memory, as compute() writes them. */
  virtual void compute_tokens(LaunchContext&, const TokenLogps&, const int64_t* /*tokens*/, int64_t /*count*/) {}

  /** On the host, and how many. */
  virtual double* scalars() const = 0;
  virtual int scalar_count() const { return 4; }
};

}  // namespace cuda
}  // namespace sweet
