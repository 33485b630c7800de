// Every entry point of native/ over one set of inputs, for checks that call them from many threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../../bench/cuda/device_array.h"
#include "../../native/critic_update.h"
#include "../../native/linear_logps.h"
#include "../../native/partials.h"
#include "../../native/policy_update.h"
#include "../../native/token_logps.h"
#include "../../native/trajectory_preference.h"
#include "../../native/turn_advantages.h"
#include "../../native/turn_preference.h"

/** N rows in turns and trajectories, with both heads. */
struct Inputs {
  int64_t rows, vocab, width;
  sweet::DType dtype;
  Stored logits, hidden, weight, bias, ref_logits;
  std::vector<int32_t> labels;
  std::vector<int64_t> wide_labels;
  std::vector<uint8_t> mask;
  std::vector<int32_t> turn_offsets, trajectory_offsets;
  std::vector<int32_t> chosen, rejected, chosen_turns, rejected_turns;
  std::vector<float> weights, turn_weights, logps, ref_logps, lse, linear_lse, grad_logps, grad_advantages;
  std::vector<double> partials;  // of the whole linear head
  double nll_coef;

  /** With few_pairs no unit is in two pairs and there is no NLL, as the one-pass update asks for. */
  Inputs(uint64_t seed, int64_t rows, int64_t vocab, int64_t width, sweet::DType dtype, bool few_pairs);

  std::string name() const;
};

/** The results of any operation, each in memory of exactly its size, all of them kNotWritten before it. */
struct Outputs {
  static constexpr float kNotWritten = 42;

  std::vector<float> logps, lse, entropy, grad_logps, turn_advantages, of_turns, pairs[4], turn_pairs[4];
  std::vector<float> grad_hidden, grad_weight, grad_bias;
  std::vector<unsigned char> grad_logits;
  std::vector<double> partials;
  double scalars[4] = {kNotWritten, kNotWritten, kNotWritten, kNotWritten};

  explicit Outputs(const Inputs& inputs);

  bool operator==(const Outputs& other) const;
};

struct Operation {
  const char* name;
  sweet::Status (*run)(const Inputs& inputs, Outputs& outputs);
};

const std::vector<Operation>& operations();

/** Shapes at which the operations take different ways: many rows, few long ones, one word, one pass. */
std::vector<Inputs> hard_inputs(uint64_t seed, bool small);
