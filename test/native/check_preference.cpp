// Turn advantages and the preference loss on ragged batches, with every option.
#include <algorithm>

#include "../../native/turn_advantages.h"
#include "batches.h"

using namespace sweet;

namespace {

std::vector<float> random_logps(Checks& checks, int64_t n) {
  const std::vector<double> values = checks.normals(n, 2);
  return {values.begin(), values.end()};
}

std::vector<std::pair<PreferenceLevel, PreferenceOptions>> option_sets() {
  std::vector<std::pair<PreferenceLevel, PreferenceOptions>> sets;
  for (const PreferenceLevel level : {PreferenceLevel::trajectory, PreferenceLevel::turn}) {
    for (const Normalization normalization :
         {Normalization::turn_mean, Normalization::token_mean, Normalization::sum}) {
      if (level == PreferenceLevel::turn && normalization == Normalization::token_mean) continue;
      for (const LossType type : {LossType::sigmoid, LossType::hinge, LossType::ipo}) {
        sets.push_back({level, {normalization, false, pair_loss_of(type, 0.7), 0, 0, 0}});
      }
    }
    sets.push_back({level, {Normalization::turn_mean, true, pair_loss_of(LossType::sigmoid, 1.5, 0.2), 0, 0.3, 0}});
    sets.push_back({level, {Normalization::turn_mean, true, pair_loss_of(LossType::sigmoid, 1.5, 0.2), 11, 0.3, 77}});
  }
  return sets;
}

void check_batches(Checks& checks, int64_t trajectories, int64_t turns, int64_t tokens, int64_t pairs,
                   bool hard = false, bool weighted = false) {
  for (const auto& [level, options] : option_sets()) {
    checks.begin("loss of " + std::string(level == PreferenceLevel::turn ? "turns" : "trajectories") +
                 " normalization " + std::to_string(static_cast<int>(options.normalization)) + " type " +
                 std::to_string(static_cast<int>(options.pair_loss.terms[0].type)) + (hard ? ", hard" : "") +
                 (weighted ? ", weighted" : ""));
    Batch batch(checks, level, trajectories, turns, tokens, pairs);
    for (size_t t = 1; options.allow_empty_turns && t < size_t(batch.turns()); t += 3) batch.mask_turn(t);
    if (weighted) batch.weigh_tokens(checks);
    std::vector<float> logps = random_logps(checks, batch.tokens()), ref_logps = random_logps(checks, batch.tokens());
    const float infinities[] = {-INFINITY, NAN, INFINITY};
    for (size_t i = 0; hard && i < 3; i++) logps[(i * 7 + 2) % logps.size()] = infinities[i];
    batch.hide_uncounted(logps), batch.hide_uncounted(ref_logps);
    const DeviceBatch device(batch);
    const DeviceArray<float> device_logps(logps), device_ref_logps(ref_logps);
    DeviceResults results(batch);
    checks.ok(
        preference_loss({device.batch, options, device_logps.get(), device_ref_logps.get(), nullptr, results.out()}));
    results.compare(checks, oracle::preference_loss(oracle_batch(batch.on_host(), nullptr), oracle_loss(options),
                                                    logps.data(), ref_logps.data()));
  }
}

/**
 * Losses of scores by pair, of ranks and of weights, in batches where each is the sigmoid loss of the oracle: items of
 * one token each, a reference whose log-ratios have the ranks of the model's, and items of likelihood 1.
 */
void check_other_losses(Checks& checks) {
  for (const LossType type : {LossType::sigmoid, LossType::aot}) {
    for (const bool by_pair : {false, true}) {
      checks.begin(std::string("loss of ") + (type == LossType::aot ? "ranks" : "pairs") +
                   (by_pair ? ", scores by pair" : ", weighting"));
      Batch batch(checks, PreferenceLevel::turn, 70, 4, by_pair ? 1 : 40, 300);
      if (type == LossType::aot) std::fill(batch.weights.begin(), batch.weights.end(), 1.0f);
      PreferenceOptions options{Normalization::sum, false, pair_loss_of(type, 0.7, 0.1), 0, 0.3, 0};
      if (by_pair) options.ld_alpha = 0.25;
      options.use_weighting = !by_pair && type == LossType::sigmoid;
      std::vector<float> logps(batch.mask.size()), ref_logps(batch.mask.size()), squares(batch.mask.size());
      for (size_t i = 0; i < logps.size(); i++) {
        logps[i] = options.use_weighting ? 0 : -static_cast<float>(checks.integer(0, 64)) / 64;
        ref_logps[i] = options.use_weighting ? -static_cast<float>(checks.integer(0, 64)) / 64 : logps[i] / 2;
        squares[i] = 1;
      }
      const DeviceBatch device(batch);
      const DeviceArray<float> device_logps(logps), device_ref_logps(ref_logps), device_squares(squares);
      DeviceResults results(batch);
      checks.ok(preference_loss({device.batch, options, device_logps.get(), device_ref_logps.get(),
                                 options.use_weighting ? device_squares.get() : nullptr, results.out()}));
      options.pair_loss = pair_loss_of(LossType::sigmoid, 0.7, 0.1);
      results.compare(checks, oracle::preference_loss(oracle_batch(batch.on_host(), nullptr), oracle_loss(options),
                                                      logps.data(), ref_logps.data()));
    }
  }
}

/** Every fault of a batch is found by its code and place, and nothing is written. */
void check_refused_batches(Checks& checks) {
  checks.begin("refused batches");
  Batch valid(checks, PreferenceLevel::trajectory, 5, 3, 6, 300);
  valid.weigh_tokens(checks);
  const size_t kept = size_t(valid.turn_offsets[3]);  // the first token of turn 3
  const DeviceArray<float> logps(random_logps(checks, valid.tokens()));
  const auto run = [&](const char* what, auto change) {
    Batch batch = valid;
    change(batch);
    const DeviceBatch device(batch);
    DeviceResults results(batch);
    const std::vector<float> before(batch.mask.size(), 42.0f);
    results.grad_logps.set(before);
    const PreferenceOptions options{Normalization::turn_mean, false, pair_loss_of(LossType::sigmoid, 0.1), 0, 0, 0};
    const Status status = preference_loss({device.batch, options, logps.get(), logps.get(), nullptr, results.out()});
    checks.expect(results.grad_logps.values() == before, std::string(what) + ": a refused call writes");
    return status;
  };
  const auto refused = [&](const char* what, Code code, int64_t index, int64_t value, auto change) {
    checks.fault(run(what, change), code, index, value, what);
  };
  const int32_t turns = static_cast<int32_t>(valid.turns());
  refused("first offset", Code::turn_offsets, 0, 1, [](Batch& b) { b.turn_offsets[0] = 1; });
  refused("falling offset", Code::turn_offsets, 3, -4, [](Batch& b) { b.turn_offsets[3] = -4; });
  refused("last offset", Code::trajectory_offsets, 5, turns - 1,
          [&](Batch& b) { b.trajectory_offsets[5] = turns - 1; });
  refused("chosen", Code::chosen, 270, 5, [](Batch& b) { b.chosen[270] = b.rejected[280] = 5; });
  refused("rejected", Code::rejected, 7, -1, [](Batch& b) { b.rejected[7] = -1; });
  refused("same pair", Code::same_pair, 299, 2, [](Batch& b) { b.chosen[299] = b.rejected[299] = 2; });
  refused("all weights 0", Code::zero_weights, 0, 0,
          [](Batch& b) { std::fill(b.weights.begin(), b.weights.end(), 0.0f); });
  refused("empty turn", Code::empty_turn, 2, 0, [](Batch& b) { b.mask_turn(2); });
  refused("turn without a weight", Code::empty_turn, 3, 0, [](Batch& b) {
    for (int32_t i = b.turn_offsets[3]; i < b.turn_offsets[4]; i++) b.token_weights[size_t(i)] = 0;
  });
  for (const float wrong : {-1.0f, INFINITY, -INFINITY, -1e-45f, NAN}) {
    refused("token weight", Code::token_weight, int64_t(kept), weight_bits(wrong),
            [&](Batch& b) { b.token_weights[kept] = b.token_weights[b.mask.size() - 1] = wrong; });
  }
  refused("pairs before token weights", Code::chosen, 270, 5, [&](Batch& b) {
    b.token_weights[kept] = -1;
    b.chosen[270] = 5;
  });
  refused("token weights before empty turns", Code::token_weight, int64_t(kept), weight_bits(-1), [&](Batch& b) {
    b.token_weights[kept] = -1;
    b.mask_turn(1);
  });
  refused("offsets before pairs", Code::turn_offsets, 4, 1 << 30, [](Batch& b) {
    b.turn_offsets[4] = 1 << 30;
    b.chosen[0] = 99;
  });
  const Status status = run("NaN weight", [](Batch& b) { b.weights[4] = NAN; });
  checks.expect(status.code == Code::pair_weight && status.index == 4, "NaN weight");
}

}  // namespace

/** An empty turn, found before anything is written. */
void check_refused_turns(Checks& checks) {
  checks.begin("refused turns");
  const std::vector<float> before(9, 42.0f);
  const DeviceArray<float> numbers(std::vector<float>(9, 1.0f)), out(before);
  const DeviceArray<int32_t> offsets(std::vector<int32_t>{0, 4, 4, 9});
  const TurnBatch turns{9, 3, {}, offsets.get(), true, false};
  checks.fault(turn_advantages({turns, numbers.get(), numbers.get(), out.get()}), Code::empty_turn, 1, 0, "forward");
  checks.fault(turn_advantages_backward({turns, numbers.get(), out.get()}), Code::empty_turn, 1, 0, "backward");
  checks.expect(out.values() == before, "a refused call writes");
}

void check_turns(Checks& checks, bool) {
  check_refused_turns(checks);
  for (const bool mean : {true, false}) {
    for (const auto& [most_tokens, weighted] :
         {std::pair{1, false}, {5, false}, {33, false}, {200, false}, {1, true}, {5, true}, {200, true}}) {
      checks.begin("turns of up to " + std::to_string(most_tokens) + (mean ? ", means" : ", sums") +
                   (weighted ? ", weighted" : ""));
      Batch batch(checks, PreferenceLevel::trajectory, 6, 5, most_tokens, 0);
      const bool empty_turns = most_tokens == 5;
      if (empty_turns) batch.mask_turn(1);
      if (weighted) batch.weigh_tokens(checks);
      std::vector<float> logps = random_logps(checks, batch.tokens()), ref_logps = random_logps(checks, batch.tokens());
      const std::vector<float> grads = random_logps(checks, batch.turns());
      batch.hide_uncounted(logps), batch.hide_uncounted(ref_logps);
      const DeviceBatch device(batch);
      const DeviceArray<float> device_logps(logps), device_ref_logps(ref_logps), device_grads(grads),
          advantages(grads.size()), grad_logps(logps.size());
      const TurnBatch turns{batch.tokens(), batch.turns(), device.batch.labels, device.turn_offsets.get(),
                            mean,           empty_turns};
      checks.ok(turn_advantages({turns, device_logps.get(), device_ref_logps.get(), advantages.get()}));
      checks.ok(turn_advantages_backward({turns, device_grads.get(), grad_logps.get()}));
      const oracle::TurnAdvantages expected = oracle::turn_advantages(oracle_batch(batch.on_host(), nullptr), mean,
                                                                      logps.data(), ref_logps.data(), grads.data());
      compare_values(checks, "advantages", expected.advantages, advantages.values().data());
      compare_values(checks, "gradLogps", expected.grad_logps, grad_logps.values().data());
    }
  }
}

void check_losses(Checks& checks, bool) {
  check_batches(checks, 6, 4, 9, 9);
  check_batches(checks, 6, 4, 9, 9, true);
  check_batches(checks, 5, 3, 1, 7);    // turns of one token
  check_batches(checks, 4, 2, 150, 5);  // turns longer than a warp
  check_batches(checks, 40, 3, 4, 600);
  check_batches(checks, 300, 2, 2, 300);
  check_batches(checks, 6, 4, 9, 9, false, true);
  check_batches(checks, 5, 3, 1, 7, false, true);
  check_batches(checks, 4, 2, 150, 5, true, true);
  check_other_losses(checks);
  check_refused_batches(checks);
}
