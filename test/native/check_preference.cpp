// Turn advantages, both preference losses and both updates, on ragged batches, with every option.
#include <algorithm>
#include <string>

#include "../../native/preference_loss.h"
#include "../../native/preference_update.h"
#include "../../native/turn_advantages.h"
#include "checks.h"
#include "device_array.h"
#include "linear_oracle.h"
#include "oracle.h"

using namespace sweet;

namespace {

size_t size(int64_t n) { return static_cast<size_t>(n); }

/** `most` tokens a turn at most; every turn keeps its first token. */
Batch random_batch(Checks& checks, int64_t trajectories, int64_t most_turns, int64_t most_tokens, int64_t pairs,
                   bool of_turns) {
  Batch batch;
  batch.trajectory_offsets = {0};
  batch.turn_offsets = {0};
  for (int64_t k = 0; k < trajectories; k++) {
    batch.trajectory_offsets.push_back(batch.trajectory_offsets.back() +
                                       static_cast<int32_t>(checks.integer(1, most_turns + 1)));
  }
  for (int32_t t = 0; t < batch.trajectory_offsets.back(); t++) {
    const int32_t first = batch.turn_offsets.back(), length = static_cast<int32_t>(checks.integer(1, most_tokens + 1));
    batch.turn_offsets.push_back(first + length);
    for (int32_t i = 0; i < length; i++) batch.keeps.push_back(i == 0 || checks.integer(0, 4) > 0);
  }
  const int64_t units = of_turns ? batch.trajectory_offsets.back() : trajectories;
  for (int64_t p = 0; p < pairs; p++) {
    const int64_t chosen = checks.integer(0, units), rejected = (chosen + checks.integer(1, units)) % units;
    batch.chosen.push_back(static_cast<int32_t>(chosen));
    batch.rejected.push_back(static_cast<int32_t>(rejected));
    batch.weights.push_back(p % 4 == 2 ? 0.0f : 0.5f + static_cast<float>(p % 3));
  }
  return batch;
}

/** The batch in device memory. */
struct DeviceBatch {
  DeviceArray<uint8_t> mask;
  DeviceArray<int32_t> turn_offsets, trajectory_offsets, chosen, rejected;
  DeviceArray<float> weights;
  PreferenceBatch given;

  DeviceBatch(const Batch& batch, bool of_turns)
      : mask(batch.keeps),
        turn_offsets(batch.turn_offsets),
        trajectory_offsets(batch.trajectory_offsets),
        chosen(batch.chosen),
        rejected(batch.rejected),
        weights(batch.weights) {
    given.level = of_turns ? PreferenceLevel::turn : PreferenceLevel::trajectory;
    given.tokens = static_cast<int64_t>(batch.keeps.size());
    given.mask = mask.get();
    given.turn_offsets = turn_offsets.get();
    given.turns = static_cast<int64_t>(batch.turn_offsets.size()) - 1;
    given.trajectory_offsets = trajectory_offsets.get();
    given.trajectories = static_cast<int64_t>(batch.trajectory_offsets.size()) - 1;
    given.pairs = {chosen.get(), rejected.get(), weights.get(), static_cast<int64_t>(batch.chosen.size())};
  }
};

struct DeviceResults {
  double scalars[4] = {};
  DeviceArray<float> pair_losses, margins, chosen_rewards, rejected_rewards, turn_advantages, grad_logps;
  PreferenceOut out;

  explicit DeviceResults(const PreferenceBatch& batch)
      : pair_losses(size(batch.pairs.count)),
        margins(size(batch.pairs.count)),
        chosen_rewards(size(batch.pairs.count)),
        rejected_rewards(size(batch.pairs.count)),
        turn_advantages(size(batch.turns)),
        grad_logps(size(batch.tokens)) {
    out = {scalars,
           pair_losses.get(),
           margins.get(),
           chosen_rewards.get(),
           rejected_rewards.get(),
           turn_advantages.get(),
           grad_logps.get()};
  }
};

PreferenceOptions options_of(const LossOptions& options) {
  PreferenceOptions given{};
  given.normalization = options.normalization == "turn-mean"    ? Normalization::turn_mean
                        : options.normalization == "token-mean" ? Normalization::token_mean
                                                                : Normalization::sum;
  given.pair_loss = {options.loss_type == "hinge" ? LossType::hinge
                     : options.loss_type == "ipo" ? LossType::ipo
                                                  : LossType::sigmoid,
                     options.beta, options.smoothing};
  given.pair_denominator = options.pair_denominator;
  given.nll_coef = options.nll_coef;
  given.nll_denominator = options.nll_denominator;
  return given;
}

std::vector<LossOptions> option_sets() {
  std::vector<LossOptions> sets;
  for (const bool of_turns : {false, true}) {
    for (const char* normalization : {"turn-mean", "token-mean", "sum"}) {
      if (of_turns && std::string(normalization) == "token-mean") continue;
      for (const char* type : {"sigmoid", "hinge", "ipo"}) {
        LossOptions options;
        options.of_turns = of_turns;
        options.normalization = normalization;
        options.loss_type = type;
        options.beta = 0.7;
        sets.push_back(options);
      }
    }
    LossOptions all;
    all.of_turns = of_turns;
    all.smoothing = 0.2;
    all.beta = 1.5;
    all.nll_coef = 0.3;
    sets.push_back(all);
    all.pair_denominator = 11;
    all.nll_denominator = 77;
    sets.push_back(all);
  }
  return sets;
}

void compare(Checks& checks, const DeviceResults& ours, const Loss& expected, double relative,
             const std::string& what) {
  const double scalars[] = {expected.loss, expected.preference_loss, expected.nll_loss, expected.accuracy};
  const char* const names[] = {"loss", "preference loss", "nll loss", "accuracy"};
  for (int i = 0; i < 4; i++) {
    checks.close(ours.scalars[i], scalars[i], relative * (1 + std::fabs(scalars[i])), what + " " + names[i]);
  }
  const auto each = [&](const DeviceArray<float>& array, const std::vector<double>& values, const char* name) {
    const std::vector<float> got = array.values();
    for (size_t i = 0; i < values.size(); i++) {
      checks.close(got[i], values[i], relative * (1 + std::fabs(values[i])),
                   what + " " + name + " " + std::to_string(i));
    }
  };
  each(ours.pair_losses, expected.pair_losses, "pair loss");
  each(ours.margins, expected.margins, "margin");
  each(ours.turn_advantages, expected.turn_advantages, "advantage");
  each(ours.grad_logps, expected.grad_logps, "gradient");
  const std::vector<float> chosen = ours.chosen_rewards.values(), rejected = ours.rejected_rewards.values();
  for (size_t p = 0; p < expected.margins.size(); p++) {
    checks.close(chosen[p] - rejected[p], expected.margins[p], relative * (10 + std::fabs(chosen[p])),
                 what + " rewards");
  }
}

std::vector<float> floats(const std::vector<double>& values) {
  return std::vector<float>(values.begin(), values.end());
}

std::vector<double> random_logps(Checks& checks, size_t n) {
  std::vector<double> values(n);
  for (double& x : values) x = static_cast<float>(checks.normal(2));
  return values;
}

void check_batches(Checks& checks, int64_t trajectories, int64_t turns, int64_t tokens, int64_t pairs) {
  for (const LossOptions& options : option_sets()) {
    const Batch batch = random_batch(checks, trajectories, turns, tokens, pairs, options.of_turns);
    const std::vector<double> logps = random_logps(checks, batch.keeps.size());
    const std::vector<double> ref_logps = random_logps(checks, batch.keeps.size());
    const DeviceBatch device(batch, options.of_turns);
    const DeviceArray<float> device_logps(floats(logps)), device_ref(floats(ref_logps));
    DeviceResults ours(device.given);
    const std::string what =
        std::string(options.of_turns ? "turns " : "trajectories ") + options.normalization + " " + options.loss_type;
    checks.ok(preference_loss({device.given, options_of(options), device_logps.get(), device_ref.get(), ours.out}),
              what);
    compare(checks, ours, preference_oracle(batch, options, logps, ref_logps), 3e-7, what);
  }
}

/** The faults that a batch can have, each found by its name and place, with nothing written. */
void check_refused_batches(Checks& checks) {
  const Batch sound = random_batch(checks, 5, 3, 6, 300, false);
  const std::vector<double> logps = random_logps(checks, sound.keeps.size());
  const DeviceArray<float> device_logps(floats(logps));
  const auto refused = [&](const char* what, Code code, int64_t index, int64_t value, auto spoil) {
    Batch batch = sound;
    spoil(batch);
    const DeviceBatch device(batch, false);
    DeviceResults out(device.given);
    const std::vector<float> before(batch.keeps.size(), 42.0f);
    out.grad_logps.set(before);
    const Status status =
        preference_loss({device.given, options_of({}), device_logps.get(), device_logps.get(), out.out});
    checks.fault(status, code, index, value, what);
    checks.same(out.grad_logps.values() == before, std::string(what) + ": a refused call writes");
  };
  const int32_t turns = static_cast<int32_t>(sound.turn_offsets.size()) - 1;
  refused("first offset", Code::turn_offsets, 0, 1, [](Batch& b) { b.turn_offsets[0] = 1; });
  refused("falling offset", Code::turn_offsets, 3, -4, [](Batch& b) { b.turn_offsets[3] = -4; });
  refused("last offset", Code::trajectory_offsets, 5, turns - 1,
          [&](Batch& b) { b.trajectory_offsets[5] = turns - 1; });
  refused("chosen", Code::chosen, 270, 5, [](Batch& b) { b.chosen[270] = b.rejected[280] = 5; });
  refused("rejected", Code::rejected, 7, -1, [](Batch& b) { b.rejected[7] = -1; });
  refused("same pair", Code::same_pair, 299, 2, [](Batch& b) { b.chosen[299] = b.rejected[299] = 2; });
  refused("all weights 0", Code::zero_weights, 0, 0,
          [](Batch& b) { std::fill(b.weights.begin(), b.weights.end(), 0.0f); });
  refused("empty turn", Code::empty_turn, 2, 0, [](Batch& b) {
    for (int32_t i = b.turn_offsets[2]; i < b.turn_offsets[3]; i++) b.keeps[size(i)] = 0;
  });
  // Of several faults the first in the order of the rules.
  refused("offsets before pairs", Code::turn_offsets, 4, 1 << 30, [](Batch& b) {
    b.turn_offsets[4] = 1 << 30;
    b.chosen[0] = 99;
  });
  Batch weightless = sound;
  weightless.weights[4] = NAN;
  const DeviceBatch device(weightless, false);
  DeviceResults out(device.given);
  const Status status =
      preference_loss({device.given, options_of({}), device_logps.get(), device_logps.get(), out.out});
  checks.same(status.code == Code::pair_weight && status.index == 4, "a weight that is NaN");
}

/** An update must be the three operations that it is made of; its rows are checked against float64 by themselves. */
void check_update(Checks& checks, DType dtype, bool of_turns, bool ref_logits) {
  const std::string what = std::string(of_turns ? "policy update " : "critic update ") + name_of(dtype);
  const int64_t vocab = 61;
  LossOptions options;
  options.of_turns = of_turns;
  options.normalization = of_turns ? "sum" : "turn-mean";
  options.nll_coef = 0.1;
  Batch batch = random_batch(checks, 4, 3, 6, 9, of_turns);
  const size_t n = batch.keeps.size();
  std::vector<double> numbers(n * size(vocab)), ref_numbers(n * size(vocab));
  for (double& x : numbers) x = checks.normal(2);
  for (double& x : ref_numbers) x = checks.normal(2);
  const Stored stored(dtype, numbers), ref_stored(DType::bfloat16, ref_numbers);
  std::vector<int32_t> labels(n);
  for (size_t i = 0; i < n; i++) labels[i] = static_cast<int32_t>(checks.integer(0, vocab));

  const auto logps_of = [&](const Stored& head) {
    std::vector<double> logps(n), probabilities;
    for (size_t i = 0; i < n; i++) {
      double sum = 0;
      for (int64_t v = 0; v < vocab; v++) sum += std::exp(head.values[i * size(vocab) + size(v)]);
      logps[i] = batch.keeps[i] ? head.values[i * size(vocab) + size(labels[i])] - std::log(sum) : 0;
    }
    return logps;
  };
  const std::vector<double> logps = logps_of(stored), ref_logps = logps_of(ref_stored);

  const DeviceBatch device(batch, of_turns);
  const DeviceArray<unsigned char> logits(stored.bytes), ref(ref_stored.bytes);
  const DeviceArray<int32_t> device_labels(labels);
  const DeviceArray<float> device_ref(floats(ref_logps)), device_logps(n);
  DeviceResults ours(device.given);
  PreferenceUpdate update{};
  update.head.dtype = dtype;
  update.head.rows = static_cast<int64_t>(n);
  update.head.vocab_size = update.head.row_stride = vocab;
  update.head.temperature = 1;
  update.head.logits = logits.get();
  update.labels = {device_labels.get(), false, device.mask.get(), -100};
  update.reference.head = update.head;
  update.reference.head.dtype = DType::bfloat16;
  update.reference.head.logits = ref.get();
  if (!ref_logits) update.reference.logps = device_ref.get();
  update.batch = device.given;
  update.options = options_of(options);
  update.logps = device_logps.get();
  update.out = ours.out;
  update.gradients.logits = logits.get();  // in place
  checks.ok(preference_update(update), what);

  const Loss expected = preference_oracle(batch, options, logps, ref_logps);
  compare(checks, ours, expected, 1e-5, what);
  const std::vector<float> got_logps = device_logps.values();
  const std::vector<double> gradient = Stored::decoded(dtype, logits.values());
  for (size_t i = 0; i < n; i++) {
    checks.close(got_logps[i], logps[i], 2e-6 + 2e-6 * std::fabs(logps[i]), what + " logps");
    const double lse = stored.values[i * size(vocab) + size(labels[i])] - logps[i], g = expected.grad_logps[i];
    for (int64_t v = 0; v < vocab; v++) {
      const double x = stored.values[i * size(vocab) + size(v)];
      const double wanted = g * ((v == labels[i]) - std::exp(x - lse));
      const double rounding = dtype == DType::float32 ? 0 : dtype == DType::bfloat16 ? 0x1p-8 : 0x1p-11;
      checks.close(gradient[i * size(vocab) + size(v)], wanted, 2e-6 + (rounding + 1e-5) * std::fabs(wanted),
                   what + " gradient");
    }
  }
}

/** Where the log-probs of a reference come from. */
enum class RefFrom { logps, logits, hidden };

/** An update from hidden states: every result against float64, in chunks of a few rows where `chunk_bytes` is small. */
class LinearUpdateCheck {
 public:
  LinearUpdateCheck(Checks& checks, DType dtype, bool of_turns, RefFrom ref_from, bool bias, int64_t chunk_bytes)
      : checks_(checks),
        dtype_(dtype),
        of_turns_(of_turns),
        ref_from_(ref_from),
        bias_(bias),
        chunk_bytes_(chunk_bytes),
        batch_(random_batch(checks, 4, 3, 7, 6, of_turns)),
        n_(batch_.keeps.size()),
        device_(batch_, of_turns),
        hidden_(dtype, random(n_ * size(kWidth), 1)),
        weight_(dtype, random(size(kVocab * kWidth), 2 / std::sqrt(kWidth))),
        bias_values_(dtype, random(size(kVocab), 1)),
        ref_hidden_(DType::bfloat16, random(n_ * size(kRefWidth), 1)),
        ref_weight_(DType::bfloat16, random(size(kVocab * kRefWidth), 0.5)),
        ref_logits_(DType::float16, random(n_ * size(kVocab), 2)),
        name_(std::string(of_turns ? "policy update" : "critic update") + " from hidden states " + name_of(dtype) +
              (bias ? " with bias" : "") + " in " + std::to_string(chunk_bytes) + " bytes") {
    options_.of_turns = of_turns;
    options_.normalization = of_turns ? "sum" : "turn-mean";
    options_.nll_coef = 0.1;
    // Dropped by the mask, with a label that is no word, or by the label; the first token of a turn is not.
    std::vector<bool> first(n_);
    for (const int32_t offset : batch_.turn_offsets) {
      if (size(offset) < n_) first[size(offset)] = true;
    }
    for (size_t i = 0; i < n_; i++) {
      const bool ignored = batch_.keeps[i] && !first[i] && i % 3 == 1;
      labels_.push_back(ignored ? -100 : batch_.keeps[i] ? checks.integer(0, kVocab) : kVocab + 7);
      if (ignored) batch_.keeps[i] = 0;
    }
  }

  void run() {
    const LinearOracle oracle(kWidth, kTemperature, hidden_.values, weight_.values,
                              bias_ ? bias_values_.values : std::vector<double>());
    std::vector<double> logps(n_);
    for (size_t i = 0; i < n_; i++) logps[i] = batch_.keeps[i] ? oracle.logp(i, labels_[i]) : 0;
    const std::vector<double> ref_logps = expected_ref_logps();
    const Loss expected = preference_oracle(batch_, options_, logps, ref_logps);
    std::vector<int64_t> counted = labels_;
    double largest = 0;
    for (size_t i = 0; i < n_; i++) {
      if (!batch_.keeps[i]) counted[i] = -1;
      largest = std::max(largest, std::fabs(expected.grad_logps[i]));
    }
    const auto gradients = oracle.gradients(counted, expected.grad_logps, 1e-5 * largest, dtype_);

    // A dropped row is never read: what stands there is NaN on the device.
    const Stored spoilt(dtype_, spoil(hidden_, kWidth)), ref_spoilt(DType::bfloat16, spoil(ref_hidden_, kRefWidth));
    const DeviceArray<unsigned char> hidden(spoilt.bytes), weight(weight_.bytes), bias(bias_values_.bytes);
    const DeviceArray<unsigned char> ref_hidden(ref_spoilt.bytes), ref_weight(ref_weight_.bytes);
    const DeviceArray<unsigned char> ref_logits(ref_logits_.bytes);
    const DeviceArray<int64_t> labels(labels_);
    const DeviceArray<float> given_ref_logps(floats(ref_logps)), own_logps(n_);
    DeviceResults ours(device_.given);
    PreferenceUpdate update{};
    update.head.dtype = dtype_;
    update.head.rows = static_cast<int64_t>(n_);
    update.head.vocab_size = kVocab;
    update.head.temperature = kTemperature;
    update.head.chunk_bytes = chunk_bytes_;
    update.reference.head = update.head;
    update.head.hidden = hidden.get();
    update.head.weight = weight.get();
    update.head.bias = bias_ ? bias.get() : nullptr;
    update.head.hidden_size = kWidth;
    update.labels = {labels.get(), true, device_.mask.get(), -100};
    if (ref_from_ == RefFrom::logps) {
      update.reference.logps = given_ref_logps.get();
    } else if (ref_from_ == RefFrom::logits) {
      update.reference.head.dtype = DType::float16;
      update.reference.head.logits = ref_logits.get();
      update.reference.head.row_stride = kVocab;
    } else {
      update.reference.head.dtype = DType::bfloat16;
      update.reference.head.hidden = ref_hidden.get();
      update.reference.head.weight = ref_weight.get();
      update.reference.head.hidden_size = kRefWidth;
    }
    update.batch = device_.given;
    update.options = options_of(options_);
    const DeviceArray<float> grad_hidden(std::vector<float>(n_ * size(kWidth), NAN));
    const DeviceArray<float> grad_weight(std::vector<float>(size(kVocab * kWidth), NAN));
    const DeviceArray<float> grad_bias(std::vector<float>(size(kVocab), NAN));
    update.logps = own_logps.get();
    update.out = ours.out;
    update.gradients.hidden = grad_hidden.get();
    update.gradients.weight = grad_weight.get();
    update.gradients.bias = bias_ ? grad_bias.get() : nullptr;
    const auto compare_all = [&](double times) {
      checks_.ok(preference_update(update), name_);
      compare(checks_, ours, expected, 1e-5, name_);
      const std::vector<float> got = own_logps.values();
      for (size_t i = 0; i < n_; i++) {
        checks_.close(got[i], logps[i], 5e-6 + 2e-6 * std::fabs(logps[i]), name_ + " logp " + std::to_string(i));
      }
      compare_sums(grad_hidden.values(), gradients.hidden, times, "gradient of hidden ");
      compare_sums(grad_weight.values(), gradients.weight, times, "gradient of weight ");
      if (bias_) compare_sums(grad_bias.values(), gradients.bias, times, "gradient of bias ");
    };
    compare_all(1);
    const std::vector<float> first = grad_weight.values();
    // Twice into the same memory; and the same bits again.
    update.gradients.accumulate = true;
    compare_all(2);
    update.gradients.accumulate = false;
    compare_all(1);
    checks_.same(grad_weight.values() == first, name_ + ": other bits on another run");
  }

 private:
  static constexpr int64_t kVocab = 67, kWidth = 19, kRefWidth = 8;
  static constexpr double kTemperature = 0.8;

  std::vector<double> random(size_t count, double scale) {
    std::vector<double> numbers(count);
    for (double& x : numbers) x = checks_.normal(scale);
    return numbers;
  }

  std::vector<double> spoil(const Stored& stored, int64_t width) const {
    std::vector<double> spoilt = stored.values;
    for (size_t at = 0; at < spoilt.size(); at++) {
      if (!batch_.keeps[at / size(width)]) spoilt[at] = NAN;
    }
    return spoilt;
  }

  std::vector<double> expected_ref_logps() {
    if (ref_from_ == RefFrom::logps) return random_logps(checks_, n_);
    // Logits are hidden states of V numbers, each of which is a word's.
    const bool of_logits = ref_from_ == RefFrom::logits;
    std::vector<double> unit(of_logits ? size(kVocab * kVocab) : 0);
    for (size_t v = 0; of_logits && v < size(kVocab); v++) unit[v * size(kVocab) + v] = 1;
    const LinearOracle oracle(of_logits ? kVocab : kRefWidth, kTemperature,
                              of_logits ? ref_logits_.values : ref_hidden_.values,
                              of_logits ? unit : ref_weight_.values, {});
    std::vector<double> logps(n_);
    for (size_t i = 0; i < n_; i++) logps[i] = batch_.keeps[i] ? oracle.logp(i, labels_[i]) : 0;
    return logps;
  }

  void compare_sums(const std::vector<float>& ours, const std::vector<BoundedSum>& expected, double times,
                    const char* what) {
    for (size_t i = 0; i < expected.size(); i++) {
      checks_.close(ours[i], times * expected[i].value, times * expected[i].off + 1e-9,
                    name_ + " " + what + std::to_string(i));
    }
  }

  Checks& checks_;
  const DType dtype_;
  const bool of_turns_;
  const RefFrom ref_from_;
  const bool bias_;
  const int64_t chunk_bytes_;
  Batch batch_;
  const size_t n_;
  const DeviceBatch device_;  // its mask is the batch's before labels drop anything
  const Stored hidden_, weight_, bias_values_, ref_hidden_, ref_weight_, ref_logits_;
  const std::string name_;
  LossOptions options_;
  std::vector<int64_t> labels_;
};

}  // namespace

void check_turns(Checks& checks, bool) {
  for (const bool mean : {true, false}) {
    for (const int64_t most_tokens : {1, 5, 33, 200}) {
      Batch batch = random_batch(checks, 6, 5, most_tokens, 0, false);
      const size_t n = batch.keeps.size(), turns = batch.turn_offsets.size() - 1;
      const bool some_empty = most_tokens == 5;
      for (int32_t i = batch.turn_offsets[1]; some_empty && i < batch.turn_offsets[2]; i++) batch.keeps[size(i)] = 0;
      const std::vector<double> logps = random_logps(checks, n), ref_logps = random_logps(checks, n);
      const std::vector<double> grads = random_logps(checks, turns);
      const DeviceBatch device(batch, false);
      const TurnBatch given{device.given.tokens, device.given.turns, device.mask.get(), device.turn_offsets.get(), mean,
                            some_empty};
      const DeviceArray<float> a(floats(logps)), b(floats(ref_logps)), g(floats(grads)), advantages(turns),
          grad_logps(n);
      checks.ok(turn_advantages({given, a.get(), b.get(), advantages.get()}), "turn advantages");
      checks.ok(turn_advantages_backward({given, g.get(), grad_logps.get()}), "turn advantages backward");
      const std::vector<float> ours = advantages.values(), our_grads = grad_logps.values();
      for (size_t t = 0; t < turns; t++) {
        double sum = 0, length = 0;
        for (size_t i = size(batch.turn_offsets[t]); i < size(batch.turn_offsets[t + 1]); i++) {
          if (batch.keeps[i]) sum += logps[i] - ref_logps[i], length += 1;
        }
        const double divisor = mean && length > 0 ? length : 1;
        checks.close(ours[t], sum / divisor, 1e-7 * (1 + std::fabs(sum)), "turn advantage " + std::to_string(t));
        for (size_t i = size(batch.turn_offsets[t]); i < size(batch.turn_offsets[t + 1]); i++) {
          checks.close(our_grads[i], batch.keeps[i] ? grads[t] / divisor : 0, 1e-7 * std::fabs(grads[t]),
                       "turn gradient");
        }
      }
    }
  }
}

void check_losses(Checks& checks, bool) {
  check_batches(checks, 6, 4, 9, 9);
  check_batches(checks, 4, 2, 150, 5);  // turns longer than a warp
  check_batches(checks, 40, 3, 4, 600);
  check_batches(checks, 300, 2, 2, 300);
  check_refused_batches(checks);
}

void check_updates(Checks& checks, bool) {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    check_update(checks, dtype, false, false);
    check_update(checks, dtype, true, true);
    // One chunk, whose logits are kept for the way back, and several.
    LinearUpdateCheck(checks, dtype, false, RefFrom::logps, true, 0).run();
    LinearUpdateCheck(checks, dtype, false, RefFrom::logits, false, 12000).run();
    LinearUpdateCheck(checks, dtype, true, RefFrom::hidden, true, 12000).run();
  }
}
