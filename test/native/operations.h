// Every entry point of native/ over one set of inputs, for checks that call them from many threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../../native/logps.h"
#include "../../native/preference_update.h"
#include "../../native/turn_advantages.h"
#include "../../native/vocab_parallel.h"
#include "device_array.h"

/** The offsets, pairs and weights of one level's loss. */
struct PairArrays {
  std::vector<int32_t> chosen, rejected;
  std::vector<float> weights;
};

/** N rows in turns and trajectories, with both kinds of head. Pairs and outputs are indexed by PreferenceLevel. */
struct Inputs {
  int64_t rows, vocab, hidden_size;
  sweet::DType dtype;
  Stored logits, hidden, weight, bias, ref_logits;
  std::vector<int32_t> labels;
  std::vector<int64_t> wide_labels;
  std::vector<uint8_t> mask;
  std::vector<int32_t> turn_offsets, trajectory_offsets;
  PairArrays pairs[2];
  std::vector<float> token_weights, logps, ref_logps, lse, linear_lse, grad_logps, grad_advantages;
  std::vector<double> shard_stats;  // of the linear head, as one shard
  double nll_coef;

  /** With disjoint_pairs no item is in two pairs and there is no NLL term, as the one-pass update requires. */
  Inputs(uint64_t seed, int64_t rows, int64_t vocab, int64_t hidden_size, sweet::DType dtype, bool disjoint_pairs);

  std::string name() const;
};

/** The results of any operation, each in memory of exactly its size and filled with kNotWritten. */
struct Outputs {
  static constexpr float kNotWritten = 42;

  std::vector<float> logps, lse, entropy, squares, grad_logps, turn_advantages, advantages, pairs[2][4];
  std::vector<float> grad_hidden, grad_weight, grad_bias;
  std::vector<int32_t> argmax;
  std::vector<unsigned char> grad_logits;
  std::vector<double> shard_stats;
  double scalars[4] = {kNotWritten, kNotWritten, kNotWritten, kNotWritten};

  explicit Outputs(const Inputs& inputs);

  /** The same bits, of NaN as well. */
  bool operator==(const Outputs& other) const;
};

struct Operation {
  const char* name;
  sweet::Status (*run)(const Inputs& inputs, Outputs& outputs);
};

const std::vector<Operation>& operations();

/** Shapes for which the operations take different code paths: many rows, few long rows, one entry, one pass. */
std::vector<Inputs> hard_inputs(uint64_t seed, bool small);
