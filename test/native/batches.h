// Random batches of turns, trajectories and pairs, and the results of a loss, on the host and in device memory.
#pragma once

#include <algorithm>

#include "checks.h"
#include "device_array.h"

/** A batch on the host. */
struct Batch {
  sweet::PreferenceLevel level;
  std::vector<int32_t> turn_offsets = {0}, trajectory_offsets = {0}, chosen, rejected;
  std::vector<uint8_t> mask;         // [N]
  std::vector<float> weights;        // [P]
  std::vector<float> token_weights;  // [N] or empty

  /** Turns of up to most_tokens; the first token of each is unmasked. */
  Batch(Checks& checks, sweet::PreferenceLevel of, int64_t trajectories, int64_t most_turns, int64_t most_tokens,
        int64_t pairs)
      : level(of) {
    const auto add = [&](std::vector<int32_t>& offsets, int64_t most) {
      offsets.push_back(offsets.back() + static_cast<int32_t>(checks.integer(1, most + 1)));
    };
    for (int64_t k = 0; k < trajectories; k++) add(trajectory_offsets, most_turns);
    for (int32_t t = 0; t < trajectory_offsets.back(); t++) {
      add(turn_offsets, most_tokens);
      for (int32_t i = static_cast<int32_t>(mask.size()); i < turn_offsets.back(); i++) {
        const bool unmasked = i == turn_offsets[oracle::size(t)] || checks.integer(0, 4) > 0;
        mask.push_back(unmasked ? static_cast<uint8_t>(checks.integer(1, 256)) : 0);
      }
    }
    const int64_t items = of == sweet::PreferenceLevel::turn ? trajectory_offsets.back() : trajectories;
    for (int64_t p = 0; p < pairs; p++) {
      const int64_t better = checks.integer(0, items);
      chosen.push_back(static_cast<int32_t>(better));
      rejected.push_back(static_cast<int32_t>((better + checks.integer(1, items)) % items));
      weights.push_back(p % 4 == 2 ? 0.0f : 0.5f + static_cast<float>(p % 3));
    }
  }

  int64_t tokens() const { return static_cast<int64_t>(mask.size()); }
  int64_t turns() const { return static_cast<int64_t>(turn_offsets.size()) - 1; }

  void mask_turn(size_t t) {
    for (int32_t i = turn_offsets[t]; i < turn_offsets[t + 1]; i++) mask[oracle::size(i)] = 0;
  }

  /** Some are 0, but not of the first token of a turn; NaN where a token is masked. */
  void weigh_tokens(Checks& checks) {
    const float some[] = {0, 0.25f, 1, 3, 1e-3f, 2.7f};
    for (size_t i = 0; i < mask.size(); i++) {
      const bool first = std::count(turn_offsets.begin(), turn_offsets.end(), i) > 0;
      token_weights.push_back(mask[i] == 0 ? NAN : some[checks.integer(first, 6)]);
    }
  }

  /** Log-probs that are never read: those of masked tokens and of tokens of weight 0. */
  void hide_uncounted(std::vector<float>& logps) const {
    for (size_t i = 0; i < mask.size(); i++) {
      if (mask[i] == 0 || (!token_weights.empty() && token_weights[i] == 0)) logps[i] = NAN;
    }
  }

  /** Over arrays of the host or of a device. */
  sweet::PreferenceBatch over(const uint8_t* masks, const float* of_tokens, const int32_t* turn_ends,
                              const int32_t* trajectory_ends, const sweet::Pairs& pairs) const {
    const bool of_turns = level == sweet::PreferenceLevel::turn;
    return {level,
            tokens(),
            turns(),
            of_turns ? 0 : static_cast<int64_t>(trajectory_offsets.size()) - 1,
            {nullptr, false, masks, 0, token_weights.empty() ? nullptr : of_tokens},
            turn_ends,
            of_turns ? nullptr : trajectory_ends,
            pairs};
  }

  sweet::PreferenceBatch on_host() const {
    return over(mask.data(), token_weights.data(), turn_offsets.data(), trajectory_offsets.data(),
                {chosen.data(), rejected.data(), weights.data(), static_cast<int64_t>(chosen.size())});
  }
};

struct DeviceBatch {
  const DeviceArray<uint8_t> mask;
  const DeviceArray<int32_t> turn_offsets, trajectory_offsets, chosen, rejected;
  const DeviceArray<float> weights, token_weights;
  const sweet::PreferenceBatch batch;

  explicit DeviceBatch(const Batch& host)
      : mask(host.mask),
        turn_offsets(host.turn_offsets),
        trajectory_offsets(host.trajectory_offsets),
        chosen(host.chosen),
        rejected(host.rejected),
        weights(host.weights),
        token_weights(host.token_weights),
        batch(host.over(mask.get(), token_weights.get(), turn_offsets.get(), trajectory_offsets.get(),
                        {chosen.get(), rejected.get(), weights.get(), static_cast<int64_t>(host.chosen.size())})) {}
};

/** Results of a loss in device memory, its scalars on the host. */
struct DeviceResults {
  double scalars[4] = {};
  DeviceArray<float> pairs[4], turn_advantages, grad_logps;

  explicit DeviceResults(const Batch& batch)
      : pairs{DeviceArray<float>(batch.chosen.size()), DeviceArray<float>(batch.chosen.size()),
              DeviceArray<float>(batch.chosen.size()), DeviceArray<float>(batch.chosen.size())},
        turn_advantages(oracle::size(batch.turns())),
        grad_logps(batch.mask.size()) {}

  sweet::PreferenceOut out() {
    return {scalars,        pairs[0].get(),        pairs[1].get(),  pairs[2].get(),
            pairs[3].get(), turn_advantages.get(), grad_logps.get()};
  }

  void compare(Checks& checks, const oracle::Preference& expected) {
    std::vector<float> of_pairs[4], advantages = turn_advantages.values(), gradients = grad_logps.values();
    for (int i = 0; i < 4; i++) of_pairs[i] = pairs[i].values();
    compare_preference(checks, expected,
                       {scalars, of_pairs[0].data(), of_pairs[1].data(), of_pairs[2].data(), of_pairs[3].data(),
                        advantages.data(), gradients.data()});
  }
};
