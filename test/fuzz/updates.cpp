// preference_update: head, loss and gradient in one call. Each step is compared with the oracle on the results of the
// step before.
#include "../../native/logps.h"
#include "../../native/preference_update.h"
#include "batch.h"

namespace fuzz {
namespace {

/** Log-probs of a reference head, by the operation that rows.cpp checks. */
oracle::Array<float> logps_of(const sweet::Head& head, const sweet::Labels& labels) {
  oracle::Array<float> logps(size_t(head.rows)), lse(logps);
  const sweet::LogpsOut out = {logps.data(), lse.data(), nullptr};
  if (!sweet::logps({head, labels, out}).ok()) fail("the reference alone is refused");
  return logps;
}

void run(const uint8_t* data, size_t size) {
  Reader reader(data, size);
  Memory memory(reader);
  pick_backend(reader);
  const bool of_turns = reader.one_in(2), wild = reader.one_in(4), linear = reader.one_in(2), twice = reader.one_in(3);
  // Long pairs and a wide head: one pass. shared: enough work for several threads.
  const uint64_t dice = reader.random() % 4096;
  const bool long_pairs = linear && dice < 2, shared = dice == 4095;
  BatchCase batch(reader, memory, of_turns, long_pairs ? reader.pick(700, 1400) : shared ? 40 : 0);
  const int64_t n = batch.batch.tokens, vocab = long_pairs ? reader.pick(2, 7)
                                                : shared   ? 3300
                                                           : reader.pick(1, reader.one_in(8) ? 40 : 12);
  LabelCase labels(reader, memory, n, vocab, reader.one_in(16));
  batch.set_labels(labels.labels);
  // Ignored labels mask tokens as well: else most calls would be refused.
  batch.options.allow_empty_turns |= !reader.one_in(6);

  sweet::PreferenceUpdate update{};
  update.labels = labels.labels;
  // The weights of pairs need no empty item then.
  batch.options.use_weighting = !batch.is_known() && batch.options.allow_empty_turns && reader.one_in(2);
  update.options = batch.options;
  const auto hidden_size = [&] { return long_pairs ? reader.pick(128, 135) : shared ? 2 : reader.pick(1, 8); };
  HeadCase head(reader, memory, {n, vocab, linear ? hidden_size() : 0}, wild && !long_pairs);
  update.head = head.head;
  const bool by_head = reader.one_in(3), linear_reference = reader.one_in(2);
  HeadCase reference(reader, memory, {by_head ? n : 0, vocab, linear_reference && by_head ? hidden_size() : 0}, wild);
  if (by_head) update.reference.head = reference.head, update.reference.head.temperature = update.head.temperature;
  const float* given = by_head ? nullptr : memory.numbers(pick_pattern(reader, wild), 3, n);
  update.reference.logps = given;
  update.batch = batch.batch;

  const bool in_place = !linear && reader.one_in(3);
  if (reader.one_in(3)) update.entropy = memory.take<float>(n);
  if (reader.one_in(3)) update.argmax = memory.take<int32_t>(n);
  if (reader.one_in(3)) update.sum_squared_probs = memory.take<float>(n);
  update.logps = memory.take<float>(n), update.out = batch.out, update.gradients = head.gradients(reader, in_place);
  for (int64_t i = 0; i < n; i++) {
    (void)batch.hide_weight(memory, labels.checked.data(), i);
    if (labels.checked[size_t(i)] >= 0) continue;
    if (!in_place) head.hide(i);
    if (by_head) reference.hide(i);
    if (given) memory.hide(given + i, 4);
  }
  if (!in_place) head.hide_padding();
  reference.hide_padding();

  const sweet::Status expected = labels.expected.ok() ? batch.expected(labels.checked.data()) : labels.expected;
  const sweet::PreferenceOut& p = batch.out;
  const sweet::HeadGradients& to = update.gradients;
  expect_status(memory.run({update.logps, update.entropy, update.argmax, update.sum_squared_probs, p.scalars,
                            p.pair_losses, p.margins, p.chosen_rewards, p.rejected_rewards, p.turn_advantages,
                            p.grad_logps, to.logits, to.hidden, to.weight, to.bias},
                           twice || long_pairs || shared, [&] { return sweet::preference_update(update); }),
                expected);
  if (!expected.ok()) return;

  FirstFailure comparison;
  oracle::Array<double> lse, lse_errors;
  for (int64_t i = 0; i < n; i++) {
    const int32_t label = labels.checked[size_t(i)];
    const oracle::Row row = label < 0 ? oracle::Row{} : head.known.row(i, label);
    comparison.close("logps", i, static_cast<double>(update.logps[i]), row.logp, row.logp_error, oracle::kLargest);
    // Ignored rows are not read: their statistics are those of masked ones.
    const int32_t read = label < 0 ? -2 : label;
    if (update.argmax) comparison.expect(head.known.is_argmax(i, read, update.argmax[i]), "argmax", i);
    if (update.entropy) {
      comparison.close("entropy", i, static_cast<double>(update.entropy[i]), row.entropy, row.entropy_error,
                       oracle::kLargest);
    }
    if (update.sum_squared_probs) {
      comparison.close("sumSquaredProbs", i, static_cast<double>(update.sum_squared_probs[i]), row.squares,
                       row.squares_error, oracle::kLargest);
    }
    lse.push_back(row.lse);
    lse_errors.push_back(row.lse_error - 2e-6 * std::fabs(row.lse));  // within a call lse stays float64
  }
  oracle::Array<float> of_reference;
  if (by_head) of_reference = logps_of(update.reference.head, labels.labels);
  batch.compare(labels.checked.data(), update.logps, by_head ? of_reference.data() : given);
  head.compare_gradients(to, labels.checked.data(), {p.grad_logps}, lse.data(), lse_errors.data(),
                         long_pairs || !to.weight);
}

}  // namespace
}  // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::run(data, size);
  return 0;
}
