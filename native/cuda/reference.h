// Scalar references of the kernels, in float64, which test/native runs against them. Each is defined at the start of
// its kernels' file.
#pragma once

#include <cstdint>

namespace sweet {
namespace reference {

struct LogpsRow {
  double lse, logp, entropy;
};

/** A row of logits [V] and its gradient [V]; g: the gradient at its log-prob. See logits_head.cu. */
LogpsRow logits_row(const double* logits, int64_t vocab_size, int64_t label, double temperature, double g,
                    double* grad_logits);

struct LinearGradients {
  double *hidden, *weight, *bias;  // [H], [V, H], [V]
};

/** A row of hidden states [H]; weight [V, H], bias [V]. Adds to the gradients. See linear_head.cu. */
LogpsRow linear_row(const double* hidden, const double* weight, const double* bias, int64_t vocab_size,
                    int64_t hidden_size, int64_t label, double temperature, double g, const LinearGradients& grad);

/** out [rows, columns] = alpha * a [rows, depth] * b [depth, columns] + bias [columns]. See product.cu. */
void product(const double* a, const double* b, const double* bias, int64_t rows, int64_t columns, int64_t depth,
             double alpha, double* out);

/** Of the tokens of one turn, 0 at those that do not count; grad_logps [tokens] is the gradient of the advantage. See
 * turn_advantages.cu. */
double turn_advantage(const float* logps, const float* ref_logps, const float* weights, int64_t tokens, bool mean,
                      double* grad_logps);

}  // namespace reference
}  // namespace sweet
