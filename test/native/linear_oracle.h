// The linear head in float64, and by how much ours may be off. Nothing of the library's is used but its storage types.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "device_array.h"

/** A sum, and by how much ours may be off: what its terms may be off, at the size of what they are multiplied by. */
struct BoundedSum {
  double value = 0, off = 0;

  void add(double term, double error, double factor) {
    value += term * factor;
    off += error * std::fabs(factor);
  }
};

class LinearOracle {
 public:
  struct Gradients {
    std::vector<BoundedSum> hidden, weight, bias;
  };

  /** hidden [rows, width], weight [vocab, width], bias [vocab] or empty, as they are stored. */
  LinearOracle(int64_t width, double temperature, std::vector<double> hidden, std::vector<double> weight,
               std::vector<double> bias)
      : width_(static_cast<size_t>(width)),
        temperature_(temperature),
        hidden_(std::move(hidden)),
        weight_(std::move(weight)),
        rows_(hidden_.size() / width_),
        vocab_(weight_.size() / width_) {
    logits_.resize(rows_ * vocab_);
    for (size_t i = 0; i < rows_; i++) compute_row(i, bias);
  }

  double logp(size_t row, int64_t label) const { return logit(row, static_cast<size_t>(label)) - lse[row]; }

  /**
   * Rows with a label below 0 have none. Allowed is that each gradient of a logit is rounded once to the storage type
   * (in float16 after it was brought to where that has its precision), and that ours of a log-prob is off by grad_off.
   */
  Gradients gradients(const std::vector<int64_t>& labels, const std::vector<double>& grad_logps, double grad_off,
                      sweet::DType dtype) const {
    const double relative = (dtype == sweet::DType::float32    ? 0
                             : dtype == sweet::DType::bfloat16 ? 0x1p-8
                                                               : 0x1p-11) +
                            1e-5;
    Gradients sums{std::vector<BoundedSum>(hidden_.size()), std::vector<BoundedSum>(weight_.size()),
                   std::vector<BoundedSum>(vocab_)};
    for (size_t i = 0; i < rows_; i++) {
      if (labels[i] < 0) continue;
      const double g = grad_logps[i] / temperature_;
      for (size_t v = 0; v < vocab_; v++) {
        const double p = std::exp(logit(i, v) - lse[i]), factor = (v == static_cast<size_t>(labels[i])) - p;
        const double d = g * factor;
        const double off = std::fabs(d) * relative + std::fabs(g) * p * 1e-5 +
                           std::fabs(factor) * grad_off / temperature_ + (dtype == sweet::DType::float16 ? kTiny : 0);
        sums.bias[v].add(d, off, 1);
        for (size_t h = 0; h < width_; h++) {
          sums.hidden[i * width_ + h].add(d, off, weight_[v * width_ + h]);
          sums.weight[v * width_ + h].add(d, off, hidden_[i * width_ + h]);
        }
      }
    }
    return sums;
  }

  std::vector<double> lse, entropy;  // [rows]

 private:
#ifdef SWEET_CHECKS_ON_CPU
  static constexpr double kTiny = 0x1p-25;  // half of float16's smallest number
#else
  static constexpr double kTiny = 0x1p-38;  // the same, of gradients below 1 that are scaled to 2^14
#endif

  double logit(size_t row, size_t word) const { return logits_[row * vocab_ + word]; }

  void compute_row(size_t i, const std::vector<double>& bias) {
    double largest = -INFINITY, sum = 0, own_entropy = 0;
    for (size_t v = 0; v < vocab_; v++) {
      double x = bias.empty() ? 0 : bias[v];
      for (size_t h = 0; h < width_; h++) x += hidden_[i * width_ + h] * weight_[v * width_ + h];
      logits_[i * vocab_ + v] = x / temperature_;
      largest = std::max(largest, x / temperature_);
    }
    for (size_t v = 0; v < vocab_; v++) sum += std::exp(logit(i, v) - largest);
    lse.push_back(largest + std::log(sum));
    for (size_t v = 0; v < vocab_; v++) own_entropy += std::exp(logit(i, v) - lse[i]) * (lse[i] - logit(i, v));
    entropy.push_back(own_entropy);
  }

  const size_t width_;
  const double temperature_;
  const std::vector<double> hidden_, weight_;
  const size_t rows_, vocab_;
  std::vector<double> logits_;
};
