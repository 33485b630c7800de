// The preference losses in float64, as the specification writes them. Nothing of the library's is used.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

struct Batch {
  std::vector<int32_t> turn_offsets, trajectory_offsets, chosen, rejected;
  std::vector<uint8_t> keeps;  // [N]
  std::vector<float> weights;
};

struct LossOptions {
  std::string normalization = "turn-mean", loss_type = "sigmoid";
  double beta = 0.1, smoothing = 0, nll_coef = 0, pair_denominator = 0, nll_denominator = 0;
  bool of_turns = false;
};

struct Loss {
  double loss = 0, preference_loss = 0, nll_loss = 0, accuracy = 0;
  std::vector<double> pair_losses, margins, turn_advantages, grad_logps;
};

inline double log_sigma(double u) { return u < 0 ? u - std::log1p(std::exp(u)) : -std::log1p(std::exp(-u)); }

inline Loss preference_oracle(const Batch& batch, const LossOptions& options, const std::vector<double>& logps,
                              const std::vector<double>& ref_logps) {
  const size_t tokens = logps.size(), turns = batch.turn_offsets.size() - 1;
  const size_t units = options.of_turns ? turns : batch.trajectory_offsets.size() - 1;
  std::vector<size_t> turn_of(tokens), unit_of(turns);
  for (size_t t = 0; t < turns; t++) {
    for (int32_t i = batch.turn_offsets[t]; i < batch.turn_offsets[t + 1]; i++) turn_of[static_cast<size_t>(i)] = t;
  }
  for (size_t k = 0; k < units; k++) {
    const int32_t first = options.of_turns ? static_cast<int32_t>(k) : batch.trajectory_offsets[k];
    const int32_t last = options.of_turns ? first + 1 : batch.trajectory_offsets[k + 1];
    for (int32_t t = first; t < last; t++) unit_of[static_cast<size_t>(t)] = k;
  }
  std::vector<double> turn_lengths(turns), unit_lengths(units), scores(units), unit_logps(units), slopes(units);
  std::vector<double> times_chosen(units);
  for (size_t i = 0; i < tokens; i++) {
    turn_lengths[turn_of[i]] += batch.keeps[i];
    unit_lengths[unit_of[turn_of[i]]] += batch.keeps[i];
  }
  const auto share = [&](size_t i) {
    if (!batch.keeps[i]) return 0.0;
    if (options.normalization == "turn-mean") return 1 / turn_lengths[turn_of[i]];
    if (options.normalization == "token-mean") return 1 / unit_lengths[unit_of[turn_of[i]]];
    return 1.0;
  };

  Loss loss;
  loss.turn_advantages.resize(turns);
  for (size_t i = 0; i < tokens; i++) {
    if (!batch.keeps[i]) continue;
    const double ratio = logps[i] - ref_logps[i];
    scores[unit_of[turn_of[i]]] += ratio * share(i);
    unit_logps[unit_of[turn_of[i]]] += logps[i];
    loss.turn_advantages[turn_of[i]] += options.normalization == "turn-mean" ? ratio * share(i) : ratio;
  }

  double weights = 0, chosen_tokens = 0, nll = 0;
  for (size_t p = 0; p < batch.chosen.size(); p++) {
    weights += batch.weights[p];
    chosen_tokens += unit_lengths[static_cast<size_t>(batch.chosen[p])];
  }
  const double denominator = options.pair_denominator > 0 ? options.pair_denominator : weights;
  const double nll_tokens = options.nll_denominator > 0 ? options.nll_denominator : chosen_tokens;
  const double beta = options.beta, eps = options.smoothing;
  for (size_t p = 0; p < batch.chosen.size(); p++) {
    const size_t c = static_cast<size_t>(batch.chosen[p]), r = static_cast<size_t>(batch.rejected[p]);
    const double delta = scores[c] - scores[r], u = beta * delta;
    double value, slope;
    if (options.loss_type == "hinge") {
      value = std::fmax(0, 1 - u);
      slope = u < 1 ? -beta : 0;
    } else if (options.loss_type == "ipo") {
      value = std::pow(delta - 1 / (2 * beta), 2);
      slope = 2 * (delta - 1 / (2 * beta));
    } else {
      value = -(1 - eps) * log_sigma(u) - eps * log_sigma(-u);
      slope = -beta * ((1 - eps) * std::exp(log_sigma(-u)) - eps * std::exp(log_sigma(u)));
    }
    loss.pair_losses.push_back(value);
    loss.margins.push_back(u);
    loss.preference_loss += batch.weights[p] * value / denominator;
    loss.accuracy += (delta > 0) / static_cast<double>(batch.chosen.size());
    slopes[c] += batch.weights[p] * slope / denominator;
    slopes[r] -= batch.weights[p] * slope / denominator;
    nll -= unit_logps[c];
    times_chosen[c] += 1;
  }
  loss.nll_loss = nll_tokens > 0 ? nll / nll_tokens : 0;
  loss.loss = loss.preference_loss + options.nll_coef * loss.nll_loss;
  for (size_t i = 0; i < tokens; i++) {
    const size_t k = unit_of[turn_of[i]];
    const double of_nll = nll_tokens > 0 ? options.nll_coef * times_chosen[k] / nll_tokens : 0;
    loss.grad_logps.push_back(batch.keeps[i] ? slopes[k] * share(i) - of_nll : 0);
  }
  return loss;
}
