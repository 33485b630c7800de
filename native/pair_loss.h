// The loss of one pair and its derivative, compiled by the kernels of the CPU and of the GPU.
//
//   delta = S_chosen - S_rejected,  u = beta * delta
//   sigmoid  l = -(1 - epsilon) log sigma(u) - epsilon log sigma(-u)     Bradley-Terry, DPO, conservative DPO
//   hinge    l = max(0, 1 - u)                                           SLiC
//   ipo      l = (delta - 1 / (2 beta))^2                                IPO
//
// A new loss type is one value of LossType (listed in binding/operations.js too), one case here, and its oracle.
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"

namespace sweet {

enum class LossType : int32_t { sigmoid, hinge, ipo };

struct PairLoss {
  LossType type;
  double beta;
  double label_smoothing;  // epsilon, of the sigmoid loss alone
};

struct PairTerm {
  double loss;  // l
  double grad;  // dl/ddelta
};

/** log sigma(u) without overflow or cancellation for any u. */
SWEET_HOST_DEVICE inline double log_sigmoid(double u) { return fmin(u, 0.0) - log1p(exp(-fabs(u))); }

SWEET_HOST_DEVICE inline double sigmoid(double u) {
  const double e = exp(-fabs(u));
  return (u >= 0 ? 1.0 : e) / (1.0 + e);
}

/** l and dl/ddelta at delta = S_chosen - S_rejected. */
SWEET_HOST_DEVICE inline PairTerm pair_term(const PairLoss& loss, double delta) {
  const double beta = loss.beta, eps = loss.label_smoothing, u = beta * delta;
  switch (loss.type) {
    case LossType::hinge:
      return {u >= 1 ? 0.0 : 1 - u, u >= 1 ? 0.0 : u < 1 ? -beta : u};  // NaN propagates to both
    case LossType::ipo: {
      const double d = delta - 1 / (2 * beta);
      return {d * d, 2 * d};
    }
    case LossType::sigmoid:
      break;
  }
  // With u = +-inf one logarithm is infinite; skip it where epsilon = 0, for 0 * inf is NaN.
  const double against = eps > 0 ? eps * log_sigmoid(-u) : 0.0;
  return {-(1 - eps) * log_sigmoid(u) - against, -beta * ((1 - eps) * sigmoid(-u) - eps * sigmoid(u))};
}

}  // namespace sweet
