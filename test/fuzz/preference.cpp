// turn_advantages, turn_advantages_backward, preference_loss and unpaired_loss.
#include "../../native/preference_loss.h"
#include "../../native/turn_advantages.h"
#include "../../native/unpaired_loss.h"
#include "batch.h"

namespace fuzz {
namespace {

void run_advantages(Reader& reader, Memory& memory, const BatchCase& batch, const float* logps, const float* ref_logps,
                    bool twice, bool wild) {
  const bool mean = reader.one_in(2);
  const sweet::PreferenceBatch& in = batch.batch;
  const sweet::TurnBatch turns = {in.tokens,       in.turns, in.labels,
                                  in.turn_offsets, mean,     batch.options.allow_empty_turns};
  const float* const upstream = memory.numbers(pick_pattern(reader, wild), 1, in.turns);
  float *const advantages = memory.take<float>(in.turns), *const grad_logps = memory.take<float>(in.tokens);

  const sweet::Status expected = batch.expected_of_turns(mean);
  expect_status(memory.run({advantages}, twice,
                           [&] {
                             return sweet::turn_advantages({turns, logps, ref_logps, advantages});
                           }),
                expected);
  expect_status(memory.run({grad_logps}, twice,
                           [&] {
                             return sweet::turn_advantages_backward({turns, upstream, grad_logps});
                           }),
                expected);
  if (!expected.ok()) return;
  FirstFailure comparison;
  const oracle::TurnAdvantages known =
      oracle::turn_advantages(oracle_batch(in, nullptr), mean, logps, ref_logps, upstream);
  compare_values(comparison, "advantages", known.advantages, advantages);
  compare_values(comparison, "gradLogps", known.grad_logps, grad_logps);
}

/** Which calls are refused, and that no other memory is read or written; the numbers are those of test/native. */
void run_unpaired(Reader& reader, Memory& memory, const BatchCase& batch, const float* logps, const float* ref_logps,
                  bool twice) {
  const sweet::UnpairedType types[] = {sweet::UnpairedType::kto, sweet::UnpairedType::apo_zero_unpaired,
                                       sweet::UnpairedType::bco};
  const float some[] = {1, 0.25f, 0, 3, 1e30f}, wrong[] = {-1, kNaN, kInfinity, -0x1p-149f};
  sweet::UnpairedBatch items{};
  static_cast<sweet::ItemBatch&>(items) = batch.batch;
  const int64_t count = items.items();
  uint8_t* const desirable = memory.take<uint8_t>(count);
  for (int64_t k = 0; k < count; k++) desirable[k] = static_cast<uint8_t>(reader.pick(0, 2));
  items.desirable = desirable;
  float* const weights = reader.one_in(2) ? memory.take<float>(count) : nullptr;
  for (int64_t k = 0; weights && k < count; k++) weights[k] = reader.any_of(some);
  if (weights && count > 0 && reader.one_in(8)) weights[reader.pick(0, count - 1)] = reader.any_of(wrong);
  items.unit_weights = weights;

  const int64_t sequences = reader.pick(1, 5);
  const float* const kl = reader.one_in(2) ? memory.numbers(pick_pattern(reader, false), 1, sequences) : nullptr;
  const sweet::ReferencePoint point{0.5, !kl && reader.one_in(2), 3, kl ? sequences : 0, kl, nullptr};
  const sweet::UnpairedOptions options{batch.options.normalization,
                                       batch.options.allow_empty_turns,
                                       reader.any_of(types),
                                       batch.options.pair_loss.parameters.beta,
                                       1,
                                       0.5,
                                       0,
                                       point};
  const sweet::UnpairedOut out{memory.take<double>(4),          memory.take<float>(count),
                               memory.take<float>(count),       memory.take<float>(count),
                               memory.take<float>(items.turns), memory.take<float>(items.tokens)};
  sweet::Status expected = batch.expected_of_offsets();
  for (int64_t k = 0; expected.ok() && weights && k < count; k++) {
    if (std::isfinite(weights[k]) && weights[k] >= 0) continue;
    expected = {sweet::Code::unit_weight, k, sweet::weight_bits(weights[k])};
  }
  if (expected.ok()) expected = batch.expected_of_tokens(nullptr, false);
  expect_status(
      memory.run({out.scalars, out.unit_losses, out.rewards, out.rewards_by_kind, out.turn_advantages, out.grad_logps},
                 twice,
                 [&] {
                   return sweet::unpaired_loss({items, options, logps, ref_logps, out});
                 }),
      expected);
}

void run(const uint8_t* data, size_t size) {
  Reader reader(data, size);
  Memory memory(reader);
  pick_backend(reader);
  const bool of_turns = reader.one_in(2), wild = reader.one_in(3), twice = reader.one_in(4);
  const BatchCase batch(reader, memory, of_turns, reader.random() % 512 == 0 ? reader.pick(100, 3000) : 0);
  const int64_t n = batch.batch.tokens;
  const double scales[] = {1, 10, 0.01, 1e3};
  const double scale = reader.any_of(scales);
  float* const logps = memory.numbers(pick_pattern(reader, wild), scale, n);
  float* const ref_logps = memory.numbers(pick_pattern(reader, wild), scale, n);
  if (reader.one_in(8)) std::copy_n(logps, n, ref_logps);  // ties
  for (int64_t i = 0; i < n; i++) {
    // The log-probs of masked and ignored tokens, and of those of weight 0, are not read.
    if (!batch.hide_weight(memory, nullptr, i)) memory.hide(logps + i, 4), memory.hide(ref_logps + i, 4);
  }
  const auto call = [&] {
    return sweet::preference_loss({batch.batch, batch.options, logps, ref_logps, nullptr, batch.out});
  };
  const sweet::PreferenceOut& out = batch.out;
  const sweet::Status expected = batch.expected(nullptr);
  expect_status(memory.run({out.scalars, out.pair_losses, out.margins, out.chosen_rewards, out.rejected_rewards,
                            out.turn_advantages, out.grad_logps},
                           twice, call),
                expected);
  if (expected.ok()) batch.compare(nullptr, logps, ref_logps);
  run_advantages(reader, memory, batch, logps, ref_logps, twice, wild);
  run_unpaired(reader, memory, batch, logps, ref_logps, twice);
}

}  // namespace
}  // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::run(data, size);
  return 0;
}
