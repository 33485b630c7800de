// The unpaired loss on ragged batches: every type, normalization and reference point, and its faults.
#include <algorithm>

#include "../../native/unpaired_loss.h"
#include "batches.h"
#include "oracle_unpaired.h"

using namespace sweet;

namespace {

std::vector<float> random_floats(Checks& checks, size_t n) {
  const std::vector<double> values = checks.normals(static_cast<int64_t>(n), 2);
  return {values.begin(), values.end()};
}

/** Items of a batch, and the results for them, in device memory. */
struct UnpairedCase {
  Batch host;
  size_t items;
  std::vector<uint8_t> desirable;
  std::vector<float> unit_weights, logps, ref_logps;

  UnpairedCase(Checks& checks, PreferenceLevel level, int64_t trajectories, int64_t turns, int64_t tokens)
      : host(checks, level, trajectories, turns, tokens, 1),
        items(oracle::size(level == PreferenceLevel::turn ? host.turns() : trajectories)),
        logps(random_floats(checks, host.mask.size())),
        ref_logps(random_floats(checks, host.mask.size())) {
    for (size_t k = 0; k < items; k++) {
      desirable.push_back(static_cast<uint8_t>(checks.integer(0, 3)));
      unit_weights.push_back(k % 5 == 3 ? 0.0f : 0.5f + static_cast<float>(k % 3));
    }
  }
};

struct Results {
  double scalars[4] = {};
  DeviceArray<float> unit_losses, rewards, rewards_by_kind, turn_advantages, grad_logps;

  explicit Results(const UnpairedCase& of)
      : unit_losses(of.items),
        rewards(of.items),
        rewards_by_kind(of.items),
        turn_advantages(oracle::size(of.host.turns())),
        grad_logps(of.host.mask.size()) {}

  UnpairedOut out() {
    return {scalars, unit_losses.get(), rewards.get(), rewards_by_kind.get(), turn_advantages.get(), grad_logps.get()};
  }
};

void compare_floats(Checks& checks, const char* what, const oracle::Array<double>& expected,
                    const std::vector<float>& ours) {
  for (size_t i = 0; i < expected.size(); i++) {
    const double bound = 1e-12 + 1.01 * oracle::kU * std::fabs(expected[i]);
    checks.close(what, static_cast<int64_t>(i), static_cast<double>(ours[i]), expected[i], bound);
  }
}

Status run(const UnpairedCase& of, const UnpairedOptions& options, Results& results) {
  const DeviceBatch device(of.host);
  const DeviceArray<float> logps(of.logps), ref_logps(of.ref_logps), unit_weights(of.unit_weights);
  const DeviceArray<uint8_t> desirable(of.desirable);
  UnpairedBatch batch{};
  static_cast<ItemBatch&>(batch) = device.batch;
  batch.desirable = desirable.get();
  batch.unit_weights = of.unit_weights.empty() ? nullptr : unit_weights.get();
  return unpaired_loss({batch, options, logps.get(), ref_logps.get(), results.out()});
}

void check_batch(Checks& checks, const UnpairedCase& of, UnpairedType type, Normalization normalization, bool running) {
  checks.begin("unpaired type " + std::to_string(static_cast<int>(type)) + " normalization " +
               std::to_string(static_cast<int>(normalization)) + (running ? ", running" : ""));
  const std::vector<float> kl = random_floats(checks, 301), kl_ref = random_floats(checks, 301);
  const DeviceArray<float> device_kl(kl), device_kl_ref(kl_ref);
  UnpairedOptions options{normalization, false, type, 0.7, 1.5, 0.8, running ? 37.5 : 0, {}};
  oracle::UnpairedOptions known{type == UnpairedType::bco,
                                static_cast<decltype(oracle::UnpairedOptions::normalization)>(normalization),
                                0.7,
                                {0.8, 1.5},
                                options.unit_denominator,
                                -0.4,
                                running,
                                running ? 6.0 : 0.0};
  if (type == UnpairedType::kto) {
    options.reference_point = {0, false, 0, 301, device_kl.get(), device_kl_ref.get()};
    double sum = 0;
    for (size_t j = 0; j < kl.size(); j++) sum += static_cast<double>(kl[j]) - static_cast<double>(kl_ref[j]);
    known.point = std::max(0.0, sum / 301);
  } else {
    options.reference_point = {known.point, running, known.count, 0, nullptr, nullptr};
  }
  Results results(of);
  checks.ok(run(of, options, results));
  const oracle::Unpaired expected = oracle::unpaired_loss(oracle_batch(of.host.on_host(), nullptr), of.desirable.data(),
                                                          of.unit_weights.empty() ? nullptr : of.unit_weights.data(),
                                                          known, of.logps.data(), of.ref_logps.data());
  checks.close("loss", 0, results.scalars[0], expected.loss, 1e-12 * (1 + std::fabs(expected.loss)));
  checks.close("accuracy", 0, results.scalars[1], expected.wins / static_cast<double>(of.items), 1e-12);
  checks.close("referencePoint", 0, results.scalars[2], expected.point, 1e-12);
  checks.expect(results.scalars[3] == static_cast<double>(expected.desirable), "the number of desirable items");
  compare_floats(checks, "unitLosses", expected.unit_losses, results.unit_losses.values());
  compare_floats(checks, "rewards", expected.rewards, results.rewards.values());
  compare_floats(checks, "rewardsByKind", expected.rewards_by_kind, results.rewards_by_kind.values());
  compare_floats(checks, "turnAdvantages", expected.turn_advantages, results.turn_advantages.values());
  compare_floats(checks, "gradLogps", expected.grad_logps, results.grad_logps.values());
}

void check_refused(Checks& checks) {
  checks.begin("refused items");
  UnpairedCase valid(checks, PreferenceLevel::turn, 90, 4, 5);
  valid.host.weigh_tokens(checks);
  const UnpairedOptions options{
      Normalization::turn_mean, false, UnpairedType::bco, 1, 1, 1, 0, {0.5, false, 0, 0, nullptr, nullptr}};
  const auto refused = [&](const char* what, Code code, int64_t index, int64_t value, auto change) {
    UnpairedCase of = valid;
    change(of);
    Results results(of);
    const std::vector<float> before(of.host.mask.size(), 42.0f);
    results.grad_logps.set(before);
    checks.fault(run(of, options, results), code, index, value, what);
    checks.expect(results.grad_logps.values() == before, std::string(what) + ": a refused call writes");
  };
  for (const float wrong : {-1.0f, INFINITY, -1e-45f, NAN}) {
    refused("weight of an item", Code::unit_weight, 7, weight_bits(wrong), [&](UnpairedCase& of) {
      of.unit_weights[7] = of.unit_weights[20] = wrong;
      of.host.token_weights[0] = -1;
    });
  }
  refused("offsets before weights", Code::turn_offsets, 3, -4, [](UnpairedCase& of) {
    of.host.turn_offsets[3] = -4;
    of.unit_weights[0] = -1;
  });
  refused("weight of a token", Code::token_weight, 0, weight_bits(-1),
          [](UnpairedCase& of) { of.host.token_weights[0] = -1; });
  refused("empty turn", Code::empty_turn, 2, 0, [](UnpairedCase& of) { of.host.mask_turn(2); });
}

}  // namespace

void check_unpaired(Checks& checks, bool) {
  for (const PreferenceLevel level : {PreferenceLevel::turn, PreferenceLevel::trajectory}) {
    for (const auto& [trajectories, turns, tokens] : {std::tuple{6, 4, 9}, {4, 2, 150}, {300, 3, 3}}) {
      for (const bool weighted : {false, true}) {
        UnpairedCase of(checks, level, trajectories, turns, tokens);
        if (weighted) of.host.weigh_tokens(checks);
        if (!weighted) of.unit_weights.clear();
        of.host.hide_uncounted(of.logps), of.host.hide_uncounted(of.ref_logps);
        for (const Normalization normalization :
             {Normalization::turn_mean, Normalization::token_mean, Normalization::sum}) {
          if (level == PreferenceLevel::turn && normalization == Normalization::token_mean) continue;
          check_batch(checks, of, UnpairedType::kto, normalization, false);
          check_batch(checks, of, UnpairedType::bco, normalization, false);
          check_batch(checks, of, UnpairedType::bco, normalization, true);
        }
      }
    }
  }
  check_refused(checks);
}
