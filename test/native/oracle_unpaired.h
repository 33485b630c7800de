// The unpaired loss in float64, written apart from native/unpaired_loss.h.
#pragma once

#include "oracle.h"

namespace oracle {

struct UnpairedOptions {
  bool is_bco;
  enum { kTurnMean, kTokenMean, kSum } normalization;
  double beta, of_kind[2], denominator;  // of_kind: weights of undesirable and of desirable items
  double point;                          // z, or with is_running the mean before
  bool is_running;
  double count;
};

struct Unpaired {
  double loss = 0, wins = 0, point = 0;
  int64_t desirable = 0;
  Array<double> unit_losses, rewards, rewards_by_kind, turn_advantages, grad_logps;
};

/** batch: pairs are not used. unit_weights may be null. */
inline Unpaired unpaired_loss(const Batch& batch, const uint8_t* desirable, const float* unit_weights,
                              const UnpairedOptions& options, const float* logps, const float* ref_logps) {
  const size_t items = batch.item_offsets.size() - 1;
  Unpaired out;
  out.turn_advantages.resize(batch.turn_offsets.size() - 1);
  out.grad_logps.resize(batch.token_weights.size());
  Array<double> shares(batch.token_weights.size()), scores(items);
  double sum = 0;
  for (size_t k = 0; k < items; k++) {
    double item_weight = 0;
    const auto each_token = [&](auto use) {
      each_of(batch.item_offsets, k, [&](size_t t) {
        double turn_weight = 0;
        each_of(batch.turn_offsets, t, [&](size_t i) { turn_weight += batch.token_weights[i]; });
        each_of(batch.turn_offsets, t, [&](size_t i) {
          if (batch.token_weights[i] > 0) use(t, i, turn_weight);
        });
      });
    };
    each_token([&](size_t, size_t i, double) { item_weight += batch.token_weights[i]; });
    each_token([&](size_t t, size_t i, double turn_weight) {
      const double weight = batch.token_weights[i];
      const double divisor = options.normalization == UnpairedOptions::kTurnMean    ? turn_weight
                             : options.normalization == UnpairedOptions::kTokenMean ? item_weight
                                                                                    : 1;
      const double ratio = static_cast<double>(logps[i]) - (ref_logps ? static_cast<double>(ref_logps[i]) : 0.0);
      shares[i] = weight / divisor;
      scores[k] += shares[i] * ratio;
      out.turn_advantages[t] +=
          options.normalization == UnpairedOptions::kTurnMean ? shares[i] * ratio : weight * ratio;
    });
    sum += scores[k];
    out.desirable += desirable[k] != 0;
  }
  const double count = options.count + static_cast<double>(items);
  out.point = options.is_running ? (options.point * options.count + sum) / count : options.point;
  for (const bool kind : {true, false}) {
    for (size_t k = 0; k < items; k++) {
      if ((desirable[k] != 0) == kind) out.rewards_by_kind.push_back(options.beta * scores[k]);
    }
  }
  for (size_t k = 0; k < items; k++) {
    const bool good = desirable[k] != 0;
    const double distance = good ? scores[k] - out.point : out.point - scores[k], u = options.beta * distance;
    const double low = std::exp(log_sigmoid(-u)), high = std::exp(log_sigmoid(u));
    const double l = options.is_bco ? -log_sigmoid(u) : low, pull = options.is_bco ? low : low * high;
    const double weight = options.of_kind[good] * (unit_weights ? static_cast<double>(unit_weights[k]) : 1.0);
    const double share = weight / (options.denominator > 0 ? options.denominator : static_cast<double>(items));
    out.unit_losses.push_back(l);
    out.rewards.push_back(options.beta * scores[k]);
    out.wins += distance > 0;
    if (share != 0) out.loss += share * l;
    each_of(batch.item_offsets, k, [&](size_t t) {
      each_of(batch.turn_offsets, t, [&](size_t i) {
        if (share != 0) out.grad_logps[i] = -share * (good ? 1 : -1) * options.beta * pull * shares[i];
      });
    });
  }
  return out;
}

}  // namespace oracle
