// A batch of turns, trajectories and pairs, valid or with one broken rule; the options of a loss; its results.
#pragma once

#include "heads.h"

namespace fuzz {

struct BatchCase {
  sweet::PreferenceBatch batch{};
  sweet::PreferenceOptions options{};
  sweet::PreferenceOut out{};

  /** Turns of up to 5 tokens, the first of `longest`. */
  BatchCase(Reader& reader, Memory& memory, bool of_turns, int64_t longest) : of_turns_(of_turns) {
    batch.level = of_turns ? sweet::PreferenceLevel::turn : sweet::PreferenceLevel::trajectory;
    const bool empty_turns = reader.one_in(3);
    make_offsets(reader, memory, empty_turns, longest);
    make_options(reader, empty_turns && !reader.one_in(6));
    make_pairs(reader, memory);
    if (reader.one_in(10)) break_offsets(reader);
    if (reader.one_in(10)) break_pairs(reader);
    const int64_t pairs = batch.pairs.count;
    float* of_pairs[4];
    for (float*& array : of_pairs) array = memory.take<float>(pairs);
    out = {memory.take<double>(4),
           of_pairs[0],
           of_pairs[1],
           of_pairs[2],
           of_pairs[3],
           memory.take<float>(batch.turns),
           memory.take<float>(batch.tokens)};
    make_token_weights(reader, memory);
    char text[200];
    snprintf(text, sizeof(text),
             "%d tokens, %d turns, %d trajectories, %d pairs of %s, loss %d, norm %d, beta %g, nll %g; ",
             int(batch.tokens), int(batch.turns), int(batch.trajectories), int(pairs),
             of_turns ? "turns" : "trajectories", int(options.pair_loss.terms[0].type), int(options.normalization),
             options.pair_loss.parameters.beta, options.nll_coef);
    about += text;
  }

  /** The first rule that is broken. labels (may be null): a token counts where its checked label is not negative. */
  sweet::Status expected(const int32_t* labels) const {
    using sweet::Code;
    const int64_t items = batch.items();
    if (const sweet::Status status = expected_of_offsets(); !status.ok()) return status;
    bool any = false;
    for (int64_t p = 0; p < batch.pairs.count; p++) {
      const int32_t chosen = batch.pairs.chosen[p], rejected = batch.pairs.rejected[p];
      const float weight = batch.pairs.weights ? batch.pairs.weights[p] : 1;
      if (chosen < 0 || chosen >= items) return {Code::chosen, p, chosen};
      if (rejected < 0 || rejected >= items) return {Code::rejected, p, rejected};
      if (chosen == rejected) return {Code::same_pair, p, chosen};
      if (!std::isfinite(weight) || weight < 0) return {Code::pair_weight, p, chosen};
      any |= weight > 0;
    }
    if (!any) return {Code::zero_weights, 0, 0};
    return expected_of_tokens(labels, options.divides_by_length());
  }

  sweet::Status expected_of_offsets() const {
    using sweet::Code;
    const sweet::Status status = offsets_of(Code::turn_offsets, batch.turn_offsets, batch.turns, batch.tokens);
    if (!status.ok() || of_turns_) return status;
    return offsets_of(Code::trajectory_offsets, batch.trajectory_offsets, batch.items(), batch.turns);
  }

  /** After the offsets and what belongs to items. */
  sweet::Status expected_of_tokens(const int32_t* labels, bool divides_by_length) const {
    using sweet::Code;
    const sweet::Status status = weights_of(labels);
    if (!status.ok()) return status;
    if (options.normalization == sweet::Normalization::turn_mean) return empty_of(Code::empty_turn, labels);
    if (options.normalization == sweet::Normalization::token_mean) return empty_of(Code::empty_trajectory, labels);
    if (divides_by_length) return empty_of(of_turns_ ? Code::empty_turn : Code::empty_trajectory, labels);
    return {};
  }

  /** Whether the oracle has the loss: others are compared by the fuzzer of the public interface. */
  bool is_known() const { return known_; }

  /** The first rule that the turns break. */
  sweet::Status expected_of_turns(bool mean) const {
    sweet::Status status = offsets_of(sweet::Code::turn_offsets, batch.turn_offsets, batch.turns, batch.tokens);
    if (status.ok()) status = weights_of(nullptr);
    return status.ok() && mean ? empty_of(sweet::Code::empty_turn, nullptr) : status;
  }

  /** Labels of a head, which say in place of the batch's own which tokens are kept. */
  void set_labels(const sweet::Labels& labels) {
    const float* const weights = batch.labels.weights;
    batch.labels = labels;
    batch.labels.weights = weights;
  }

  /** Whether the log-prob of a token is read; its weight is hidden where it is not. labels: as in expected(). */
  bool hide_weight(Memory& memory, const int32_t* labels, int64_t i) const {
    const bool kept = labels ? labels[i] >= 0 : sweet::is_kept(batch.labels, i);
    if (!batch.labels.weights) return kept;
    if (!kept) memory.hide(batch.labels.weights + i, 4);
    return kept && batch.labels.weights[i] != 0;
  }

  /** Compares the results for these log-probs. labels: as in expected(). */
  void compare(const int32_t* labels, const float* logps, const float* ref_logps) const {
    if (!known_) return;
    FirstFailure comparison;
    compare_preference(
        comparison, oracle::preference_loss(oracle_batch(batch, labels), oracle_loss(options), logps, ref_logps), out);
  }

 private:
  static sweet::Status offsets_of(sweet::Code code, const int32_t* offsets, int64_t groups, int64_t total) {
    for (int64_t i = 0; i <= groups; i++) {
      const bool starts = i > 0 || offsets[i] == 0, ends = i < groups || offsets[i] == total;
      const bool rises = i == 0 || offsets[i] >= offsets[i - 1];
      if (!starts || !ends || !rises || offsets[i] > total) return {code, i, offsets[i]};
    }
    return {};
  }

  sweet::Status weights_of(const int32_t* labels) const {
    for (int64_t i = 0; batch.labels.weights && i < batch.tokens; i++) {
      if (labels ? labels[i] < 0 : !sweet::is_kept(batch.labels, i)) continue;
      const float weight = batch.labels.weights[i];
      if (!std::isfinite(weight) || weight < 0) return {sweet::Code::token_weight, i, sweet::weight_bits(weight)};
    }
    return {};
  }

  sweet::Status empty_of(sweet::Code code, const int32_t* labels) const {
    const bool of_turns = code == sweet::Code::empty_turn;
    const oracle::Batch known = oracle_batch(batch, labels);
    for (int64_t group = 0; !options.allow_empty_turns && group < (of_turns ? batch.turns : batch.trajectories);
         group++) {
      const int64_t first = of_turns ? group : batch.trajectory_offsets[group];
      const int64_t last = of_turns ? group + 1 : batch.trajectory_offsets[group + 1];
      bool any = false;
      for (int64_t i = batch.turn_offsets[first]; i < batch.turn_offsets[last]; i++)
        any |= known.token_weights[size_t(i)] > 0;
      if (!any) return {code, group, 0};
    }
    return {};
  }

  void make_offsets(Reader& reader, Memory& memory, bool empty_turns, int64_t longest) {
    batch.trajectories = reader.pick(2, 5);
    int32_t* const trajectories = trajectory_offsets_ = memory.take<int32_t>(batch.trajectories + 1);
    trajectories[0] = 0;
    for (int64_t k = 0; k < batch.trajectories; k++) {
      trajectories[k + 1] = trajectories[k] + static_cast<int32_t>(reader.pick(empty_turns ? 0 : 1, 3));
    }
    batch.turns = trajectories[batch.trajectories];
    turn_offsets_ = memory.take<int32_t>(batch.turns + 1);
    turn_offsets_[0] = 0;
    for (int64_t t = 0; t < batch.turns; t++) {
      const int64_t length =
          t == 0 && longest > 0 ? longest : reader.pick(empty_turns ? 0 : 1, reader.one_in(4) ? 5 : 2);
      turn_offsets_[t + 1] = turn_offsets_[t] + static_cast<int32_t>(length);
    }
    batch.tokens = turn_offsets_[batch.turns];
    batch.turn_offsets = turn_offsets_;
    batch.trajectory_offsets = trajectories;
    if (reader.one_in(2)) {
      uint8_t* const mask = memory.take<uint8_t>(batch.tokens);
      batch.labels.mask = mask;
      for (int64_t i = 0; i < batch.tokens; i++) mask[i] = reader.random() % 4 == 0 ? 0 : uint8_t(reader.random() | 1);
      for (int64_t t = 0; t < batch.turns && !empty_turns; t++) mask[turn_offsets_[t]] = 7;
    }
    if (reader.one_in(2)) {
      int32_t* const labels = memory.take<int32_t>(batch.tokens);
      batch.labels.data = labels;
      batch.labels.ignore_index = -100;
      for (int64_t i = 0; i < batch.tokens; i++) labels[i] = reader.random() % 4 == 0 ? -100 : int32_t(reader.random());
      for (int64_t t = 0; t < batch.turns && !empty_turns; t++) labels[turn_offsets_[t]] = 0;
    }
  }

  void make_token_weights(Reader& reader, Memory& memory) {
    if (!reader.one_in(2)) return;
    const float some[] = {1, 0.25f, 0, 3, 1e-3f, 0x1p-140f, 1e30f, 0.7f};
    const float wrong[] = {-1, kNaN, kInfinity, -kInfinity, -0x1p-149f, -0.0f};
    const int64_t most = reader.pick(1, 8);  // often moderate weights alone
    float* const weights = memory.take<float>(batch.tokens);
    batch.labels.weights = weights;
    for (int64_t i = 0; i < batch.tokens; i++) {
      weights[i] = some[reader.random() % static_cast<uint64_t>(most)];
    }
    if (batch.tokens > 0 && reader.one_in(10)) weights[reader.pick(0, batch.tokens - 1)] = reader.any_of(wrong);
  }

  void make_options(Reader& reader, bool allow_empty_turns) {
    using sweet::LossType;
    using sweet::Normalization;
    const Normalization rules[] = {Normalization::turn_mean, Normalization::sum, Normalization::token_mean};
    const LossType types[] = {LossType::sigmoid, LossType::hinge, LossType::ipo};
    const double betas[] = {0.1, 1, 0.7, 10, 1e-3, 1e3, 1e-30, 1e30}, epsilons[] = {0, 0.1, 0.4999};
    const double denominators[] = {0, 1, 37.5, 1e-3, 1e9}, coefficients[] = {0, 0.01, 1, 0.3, 1e6};
    options.normalization = rules[reader.pick(0, of_turns_ ? 1 : 2)];
    options.allow_empty_turns = allow_empty_turns;
    const LossType type = reader.any_of(types);
    const double beta = reader.any_of(betas);
    const bool smooth = type == LossType::sigmoid && reader.one_in(2);
    options.pair_loss = sweet::pair_loss_of(type, beta, smooth ? reader.any_of(epsilons) : 0);
    known_ = !reader.one_in(3);
    if (!known_) make_other_types(reader);
    options.pair_denominator = reader.any_of(denominators);
    options.nll_coef = reader.any_of(coefficients);
    options.nll_denominator = reader.any_of(denominators);
  }

  /** One to three types of all, each once, and their options. */
  void make_other_types(Reader& reader) {
    const sweet::ScoreMap maps[] = {sweet::ScoreMap::reverse_kl, sweet::ScoreMap::forward_kl,
                                    sweet::ScoreMap::js_divergence, sweet::ScoreMap::alpha_divergence};
    const double fractions[] = {1, 0, 0.3}, weights[] = {1, 0.5, 0, 2};
    sweet::PairLoss& loss = options.pair_loss;
    const int64_t first = reader.pick(0, sweet::kLossTypes - 1), step = reader.pick(1, 5);
    loss.count = reader.pick(1, 3);
    for (int64_t j = 0; j < loss.count; j++) {
      const int64_t type = (first + j * step) % sweet::kLossTypes;
      loss.terms[j] = {static_cast<sweet::LossType>(type), j == 0 ? 1 : reader.any_of(weights)};
    }
    loss.parameters.label_smoothing = 0.1;  // which one of them may need
    if (reader.one_in(2)) loss.parameters.f_divergence = reader.any_of(maps);
    if (reader.one_in(4)) loss.parameters.dpop_lambda = 5;
    options.ld_alpha = reader.any_of(fractions);
  }

  /** In some cases no item is in two pairs, which permits an update in one pass. */
  void make_pairs(Reader& reader, Memory& memory) {
    const int64_t items = batch.items();
    const bool disjoint = reader.one_in(2);
    const int64_t pairs = disjoint ? std::max<int64_t>(1, items / 2) : reader.pick(1, 6);
    batch.pairs.count = pairs;
    batch.pairs.chosen = chosen_ = memory.take<int32_t>(pairs);
    batch.pairs.rejected = rejected_ = memory.take<int32_t>(pairs);
    for (int64_t p = 0; p < pairs; p++) {
      chosen_[p] = static_cast<int32_t>(disjoint ? 2 * p : reader.pick(0, std::max<int64_t>(items, 1) - 1));
      rejected_[p] =
          chosen_[p] + (disjoint ? 1 : static_cast<int32_t>(reader.pick(1, std::max<int64_t>(items - 1, 1))));
      if (rejected_[p] >= items) rejected_[p] -= static_cast<int32_t>(items);
    }
    if (!reader.one_in(2)) return;
    const float some[] = {1, 0.25f, 0, 3, 1e-3f, 0x1p-140f, 1e30f};
    batch.pairs.weights = weights_ = memory.take<float>(pairs);
    for (int64_t p = 0; p < pairs; p++) weights_[p] = reader.any_of(some);
  }

  void break_offsets(Reader& reader) {
    const bool of_turns = reader.one_in(2);
    int32_t* const offsets = of_turns ? turn_offsets_ : trajectory_offsets_;
    const int64_t i = reader.pick(0, of_turns ? batch.turns : batch.trajectories);
    const int32_t wrong[] = {-1, offsets[i] + 1, offsets[i] - 1, INT32_MAX, INT32_MIN, 0};
    offsets[i] = reader.any_of(wrong);
  }

  void break_pairs(Reader& reader) {
    const int64_t p = reader.pick(0, batch.pairs.count - 1), items = batch.items();
    const int32_t wrong[] = {-1, static_cast<int32_t>(items), INT32_MAX, INT32_MIN, chosen_[p], rejected_[p]};
    const float weights[] = {-1, kNaN, kInfinity, -kInfinity, -0x1p-149f, -0.0f};
    switch (reader.pick(0, 2)) {
      case 0:
        chosen_[p] = reader.any_of(wrong);
        return;
      case 1:
        rejected_[p] = reader.any_of(wrong);
        return;
      default:
        if (weights_) weights_[p] = reader.any_of(weights);
    }
  }

  const bool of_turns_;
  bool known_ = true;
  int32_t *turn_offsets_, *trajectory_offsets_, *chosen_, *rejected_;
  float* weights_ = nullptr;
};

}  // namespace fuzz
