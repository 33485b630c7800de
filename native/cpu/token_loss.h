// A loss of token log-probs as an update sees it. Its gradient may be known up to a few factors before the log-probs
// are: then an update in one pass takes the tokens step by step, and scales the gradients of each step afterwards. Or
// the gradient at a token follows from its own row: then each row, or chunk of rows, is finished when it is read.
#pragma once

#include "../item_batch.h"

namespace sweet {

// The coefficients of an update in one pass are at least this: in float32 the entries of a gradient down to 2^-66 of
// its largest then keep all digits. Derived.
constexpr double kLeastCoefficient = 0x1p-60;

class TokenLoss {
 public:
  virtual ~TokenLoss() = default;

  /** Copies and checks the batch. Checked labels (may be null) say which tokens count, in place of the batch's labels.
   */
  virtual Status check(const int32_t* labels) = 0;

  /** Whether compute() reads sum_v p_iv^2. */
  virtual bool needs_sum_squared_probs() const = 0;

  /** All results, after check() returned ok. The gradient is 0 at masked tokens. */
  virtual void compute(const TokenLogps& logps) = 0;

  /** The gradient of the loss at the log-probs, [N], after compute(). */
  virtual const float* grad_logps() const = 0;

  /** The same at the entropies, or null where there is none. */
  virtual const float* grad_entropy() const { return nullptr; }

  /** Whether the gradient at a token follows from the forward pass of its row alone. */
  virtual bool by_token() const { return false; }

  /** by_token(): both gradients of token i as compute() writes them. Threads compute different tokens at once. */
  virtual void compute_token(int64_t, const TokenLogps&) {}

  /**
   * The number of steps of which each has gradients that are coefficients known in advance times one factor a group, a
   * function of the log-probs of this step's tokens; 0 where there is no such order. A token is in one step.
   */
  virtual int64_t steps() const = 0;

  /** Groups of a step: 1 or 2. */
  virtual int groups() const = 0;

  /**
   * The kept tokens of a group into rows, and into coefficients[i] the coefficient of token i; both have space for all
   * N. Returns the number of tokens. Step -1: the tokens that are in no step.
   */
  virtual int64_t tokens_of(int64_t step, int group, int64_t* rows, float* coefficients) const = 0;

  /** The factor of each group. */
  virtual void factors(int64_t step, const TokenLogps& logps, double* factors) const = 0;
};

}  // namespace sweet
