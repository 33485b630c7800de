// preference_update of both levels, both kinds of heads and every kind of reference. Each step is compared with the
// oracle on the results of the step before: log-probs, loss, gradients.
#include "batches.h"
#include "head_results.h"

using namespace sweet;

namespace {

/** A head of random numbers in device memory. */
struct RandomHead {
  const Stored logits, hidden, weight, bias;
  const DeviceArray<unsigned char> device_logits, device_hidden, device_weight, device_bias;
  oracle::Head known;
  Head head{};

  /** hidden_size 0: logits. Rows with a label below 0 are NaN. */
  RandomHead(Checks& checks, DType dtype, const std::vector<int32_t>& labels, int64_t vocab, int64_t hidden_size,
             bool has_bias, double temperature, double softcap, int64_t chunk_bytes)
      : logits(dtype, rows(checks, labels, hidden_size ? 0 : vocab)),
        hidden(dtype, rows(checks, labels, hidden_size)),
        weight(dtype, checks.normals(vocab * hidden_size, 2 / std::sqrt(std::max(hidden_size, int64_t{1})))),
        bias(dtype, checks.normals(has_bias ? vocab : 0, 1)),
        device_logits(logits.bytes),
        device_hidden(hidden.bytes),
        device_weight(weight.bytes),
        device_bias(bias.bytes),
        known(linear_oracle(dtype, static_cast<int64_t>(labels.size()), vocab, hidden_size, temperature)) {
    known.logits.assign(logits.values.begin(), logits.values.end());
    known.hidden.assign(hidden.values.begin(), hidden.values.end());
    known.weight.assign(weight.values.begin(), weight.values.end());
    known.bias.assign(bias.values.begin(), bias.values.end());
    if (hidden_size) project(known);
    known.softcap = softcap;
    known.cap();
    head.dtype = dtype;
    head.rows = known.rows;
    head.vocab_size = head.row_stride = vocab;
    head.temperature = temperature;
    head.softcap = softcap;
    head.logits = hidden_size ? nullptr : device_logits.get();
    head.hidden = {device_hidden.get(), dtype, hidden_size, 1};
    head.weight = {device_weight.get(), dtype, hidden_size, 1};
    head.bias = has_bias ? device_bias.get() : nullptr;
    head.bias_dtype = dtype;
    head.hidden_size = hidden_size;
    head.chunk_bytes = chunk_bytes;
  }

  static std::vector<double> rows(Checks& checks, const std::vector<int32_t>& labels, int64_t width) {
    std::vector<double> values = checks.normals(static_cast<int64_t>(labels.size()) * width, width > 60 ? 2 : 1);
    for (size_t at = 0; at < values.size(); at++) {
      if (labels[at / oracle::size(width)] < 0) values[at] = NAN;
    }
    return values;
  }

  /** Log-probs [N] where the label is a token id, else 0. */
  void compare_logps(Checks& checks, const std::vector<int32_t>& labels, const std::vector<float>& logps) const {
    for (int64_t i = 0; i < known.rows; i++) {
      const int32_t label = labels[oracle::size(i)];
      const oracle::Row row = label < 0 ? oracle::Row{} : known.row(i, label);
      checks.close("logps", i, static_cast<double>(logps[oracle::size(i)]), row.logp, row.logp_error);
    }
  }

  /** The statistics of an update, which does not read ignored rows. */
  void compare_statistics(Checks& checks, const std::vector<int32_t>& labels, const RowResults& ours) const {
    const std::vector<float> entropy = ours.entropy.values(), squares = ours.squares.values();
    const std::vector<int32_t> argmax = ours.argmax.values();
    for (int64_t i = 0; i < known.rows; i++) {
      const size_t at = oracle::size(i);
      const int32_t label = labels[at] < 0 ? kMasked : labels[at];
      const oracle::Row row = known.row(i, label);
      checks.close("entropy", i, static_cast<double>(entropy[at]), row.entropy, row.entropy_error);
      checks.close("sumSquaredProbs", i, static_cast<double>(squares[at]), row.squares, row.squares_error);
      checks.expect(known.is_argmax(i, label, argmax[at]), "argmax", i);
    }
  }
};

/** hidden_size 0: logits. The reference: its log-probs, its logits or its hidden states. */
struct Case {
  DType dtype;
  PreferenceLevel level;
  int64_t hidden_size;
  enum { kLogps, kLogits, kHidden } reference;
  bool bias;
  int64_t chunk_bytes;
  bool weighted;
  double softcap = 0;
};

constexpr int64_t kVocab = 67;

class UpdateCheck {
 public:
  UpdateCheck(Checks& checks, const Case& of)
      : checks_(checks),
        case_(of),
        batch_(batch(checks, of)),
        device_(batch_),
        labels_(label(checks)),
        head_(checks, of.dtype, checked_, kVocab, of.hidden_size, of.bias, 0.8, of.softcap, of.chunk_bytes),
        reference_(checks, of.reference == Case::kLogits ? DType::float16 : DType::bfloat16, checked_, kVocab,
                   of.reference == Case::kLogits ? 0 : 8, false, 0.8, 30, of.chunk_bytes) {
    checks.begin("update of " + std::string(of.level == PreferenceLevel::turn ? "turns" : "trajectories") +
                 (of.hidden_size ? " from hidden states " : " from logits ") + name_of(of.dtype) +
                 (of.bias ? " with bias" : "") + (of.weighted ? " weighted" : "") + " in " +
                 std::to_string(of.chunk_bytes) + " bytes");
  }

  void run() {
    const size_t n = checked_.size();
    const Labels labels{labels_.get(), true, device_.mask.get(), -100};
    const RowResults of_reference(head_.head.rows);
    std::vector<float> ref_logps(n);
    for (float& x : ref_logps) x = static_cast<float>(checks_.normal(2));
    if (case_.reference != Case::kLogps) {
      checks_.ok(logps({reference_.head, labels, {of_reference.logps.get(), of_reference.lse.get(), nullptr}}));
      ref_logps = of_reference.logps.values();
      reference_.compare_logps(checks_, checked_, ref_logps);
    }
    const DeviceArray<float> given_ref_logps(ref_logps), own_logps(n);
    const RowResults statistics(head_.head.rows);
    DeviceResults results(batch_);
    const LinearGradients gradients(head_.head);
    PreferenceUpdate call{};
    call.head = head_.head;
    call.labels = labels;
    if (case_.reference == Case::kLogps) {
      call.reference.logps = given_ref_logps.get();
    } else {
      call.reference.head = reference_.head;
    }
    call.batch = device_.batch;
    call.options.normalization = case_.level == PreferenceLevel::turn ? Normalization::sum : Normalization::turn_mean;
    call.options.pair_loss = pair_loss_of(LossType::sigmoid, 0.1);
    call.options.nll_coef = 0.1;
    call.logps = own_logps.get();
    call.entropy = statistics.entropy.get(), call.argmax = statistics.argmax.get();
    call.sum_squared_probs = statistics.squares.get();
    call.out = results.out();
    call.gradients = gradients.out();
    call.gradients.logits = head_.device_logits.get();  // in place

    // A reference in chunks of another size may have other roundings.
    const double ref_error = case_.reference == Case::kHidden && !kOnCpu ? 2e-6 : 0;
    const auto run = [&](bool accumulate) {
      const LinearGradients::Values before = gradients.values();
      call.gradients.accumulate = accumulate;
      checks_.ok(preference_update(call));
      const std::vector<float> logps = own_logps.values(), grad_logps = results.grad_logps.values();
      head_.compare_logps(checks_, checked_, logps);
      head_.compare_statistics(checks_, checked_, statistics);
      results.compare(
          checks_, oracle::preference_loss(oracle_batch(batch_.on_host(), checked_.data()), oracle_loss(call.options),
                                           logps.data(), ref_logps.data(), ref_error));
      compare_gradients(grad_logps, gradients.values(), accumulate ? &before : nullptr);
    };
    run(false);
    if (!case_.hidden_size) return;
    const LinearGradients::Values first = gradients.values();
    run(true);
    run(false);
    checks_.expect(same_bits(gradients.values().weight, first.weight), "other bits on another run");

    // With a frozen weight several chunks are computed once, and gradHidden is scaled later.
    const LinearGradients of_weight(head_.head);
    call.gradients = of_weight.of_weight();
    checks_.ok(preference_update(call));
    checks_.expect(same_unless_frozen(of_weight.values(), first, call.gradients), "other bits of frozen hidden states");
    for (const bool accumulate : {false, true}) {
      const LinearGradients::Values before = gradients.values();
      call.gradients = gradients.of_hidden();
      call.gradients.accumulate = accumulate;
      checks_.ok(preference_update(call));
      LinearGradients::Values ours = gradients.values();
      checks_.expect(same_bits(ours.weight, before.weight), "a frozen weight has a gradient");
      ours.weight.clear(), ours.bias.clear();
      compare_gradients(results.grad_logps.values(), ours, accumulate ? &before : nullptr, true);
    }
  }

 private:
  static Batch batch(Checks& checks, const Case& of) {
    Batch batch(checks, of.level, 4, 3, 7, 6);
    if (of.weighted) batch.weigh_tokens(checks);
    return batch;
  }

  /** Tokens are masked by the mask, with a label that is no token id, or ignored; never the first of a turn. */
  std::vector<int64_t> label(Checks& checks) {
    std::vector<int64_t> given;
    for (size_t i = 0; i < batch_.mask.size(); i++) {
      const bool first = std::count(batch_.turn_offsets.begin(), batch_.turn_offsets.end(), i) > 0;
      const bool masked = batch_.mask[i] == 0, ignored = !masked && !first && i % 3 == 1;
      const int64_t token = checks.integer(0, kVocab);
      given.push_back(ignored ? -100 : masked ? kVocab + 7 : token);
      checked_.push_back(ignored ? kIgnored : masked ? kMasked : static_cast<int32_t>(token));
    }
    return given;
  }

  void compare_gradients(const std::vector<float>& grad_logps, const LinearGradients::Values& ours,
                         const LinearGradients::Values* before, bool scaled = false) {
    oracle::Array<double> lse, lse_errors;
    for (int64_t i = 0; i < head_.known.rows; i++) {
      const oracle::Row row = head_.known.row(i, checked_[oracle::size(i)]);
      lse.push_back(row.lse);
      lse_errors.push_back(row.lse_error - 2e-6 * std::fabs(row.lse));  // within a call lse stays float64
    }
    oracle::Gradients of_logits =
        head_.known.logit_gradients(checked_.data(), {grad_logps.data()}, lse.data(), lse_errors.data());
    if (!case_.hidden_size) {
      return compare_logit_gradients(checks_, head_.known, of_logits, checked_.data(), grad_logps.data(),
                                     head_.device_logits.values().data(), case_.dtype, kVocab);
    }
    add_storage_rounding(of_logits, case_.dtype, head_.known.temperature, grad_logps, scaled);
    compare_linear_gradients(checks_, head_.known, of_logits, checked_, ours, before);
  }

  Checks& checks_;
  const Case case_;
  Batch batch_;
  const DeviceBatch device_;
  std::vector<int32_t> checked_;  // as in layout.h
  const DeviceArray<int64_t> labels_;
  const RandomHead head_, reference_;
};

}  // namespace

void check_updates(Checks& checks, bool) {
  const PreferenceLevel trajectory = PreferenceLevel::trajectory, turn = PreferenceLevel::turn;
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    const Case cases[] = {
        {dtype, trajectory, 0, Case::kLogps, false, 0, true},
        {dtype, turn, 0, Case::kLogits, false, 0, false, 2},
        // One chunk, whose logits are kept for the backward pass, and several.
        {dtype, trajectory, 19, Case::kLogps, true, 0, false, 3},
        {dtype, trajectory, 19, Case::kLogits, false, 12000, false},
        {dtype, turn, 19, Case::kHidden, true, 12000, true},
    };
    for (const Case& each : cases) UpdateCheck(checks, each).run();
  }
}
