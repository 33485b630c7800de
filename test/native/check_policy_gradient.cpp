// policy_gradient_update of every objective and unit of the ratio, from logits and hidden states. The log-probs of a
// call are those of logps; its scalars are compared with sums over lists of tokens, and its gradients with those that
// logps_backward makes of the derivatives of these sums, by differences.
#include <functional>

#include "../../native/policy_gradient_update.h"
#include "batches.h"
#include "head_results.h"

using namespace sweet;

namespace {

constexpr int64_t kVocab = 67;

std::vector<float> floats(Checks& checks, int64_t n, double scale) {
  const std::vector<double> values = checks.normals(n, scale);
  return {values.begin(), values.end()};
}

struct Case {
  DType dtype;
  int64_t hidden_size;  // 0: logits
  int64_t chunk_bytes;
  Objective objective;
  RatioLevel level;
  LossReduction reduction;
  double entropy_coef, kl_coef;
};

/** The loss by its definition: float64, on the host. */
struct Definition {
  const PolicyGradientOptions& o;
  std::vector<std::vector<size_t>> units;  // counted tokens of each
  std::vector<double> c;                   // [N]
  const std::vector<double>&advantages, &old;
  const std::vector<float>&weights, &refs;

  double ratio(const std::vector<size_t>& unit, const std::vector<double>& logps) const {
    double sum = 0;
    for (const size_t i : unit) sum += logps[i] - old[i];
    return std::exp(std::min(20.0, std::max(-20.0, sum / static_cast<double>(unit.size()))));
  }

  double bounded(double r) const { return std::min(1 + o.clip_high, std::max(1 - o.clip_low, r)); }

  /** r is the ratio at the log-probs, which may be moved, r0 that at those which were given. */
  double term(size_t i, double r, double r0, const std::vector<double>& logps, const std::vector<double>& given) const {
    const double a = advantages[i];
    switch (o.objective) {
      case Objective::reinforce:
        return -a * logps[i];
      case Objective::cispo:
        return -bounded(r0) * a * logps[i];
      case Objective::sapo: {
        const double tau = a > 0 ? o.tau_positive : o.tau_negative;
        return -a * 4 / tau / (1 + std::exp(-tau * (r - 1)));
      }
      case Objective::dppo: {
        const double moved = std::exp(given[i]) - std::exp(old[i]);
        return (a > 0 ? moved > o.clip_high : moved < -o.clip_low) ? 0 : -r * a;
      }
      case Objective::clip:
        break;
    }
    const double loss = std::max(-r * a, -bounded(r) * a);
    return a < 0 ? std::min(loss, -o.dual_clip * a) : loss;
  }

  double kl(size_t i, const std::vector<double>& logps) const {
    const double e = logps[i] - static_cast<double>(refs[i]);
    return std::min(o.kl_max, std::exp(-e) + e - 1);
  }

  /** The policy loss and the KL of a unit. */
  std::pair<double, double> sums(const std::vector<size_t>& unit, const std::vector<double>& logps,
                                 const std::vector<double>& given) const {
    const double r = ratio(unit, logps), r0 = ratio(unit, given);
    double policy = 0, divergence = 0;
    for (const size_t i : unit) {
      policy += c[i] * static_cast<double>(weights[i]) * term(i, r, r0, logps, given);
      if (o.kl_coef != 0) divergence += c[i] * kl(i, logps);
    }
    return {policy, divergence};
  }

  double grad_logp(size_t i, const std::vector<size_t>& unit, const std::vector<double>& given) const {
    const double h = 0x1p-24;  // small because of the corners of the losses
    const auto at = [&](double by) {
      std::vector<double> moved = given;
      moved[i] += by;
      const auto [policy, divergence] = sums(unit, moved, given);
      return policy + o.kl_coef * divergence;
    };
    return (at(h) - at(-h)) / (2 * h);
  }
};

class PolicyGradientCheck {
 public:
  PolicyGradientCheck(Checks& checks, const Case& of)
      : checks_(checks),
        case_(of),
        batch_(checks, PreferenceLevel::trajectory, 5, 3, 40, 1),
        device_(batch_),
        n_(batch_.tokens()),
        logits_(of.dtype, checks.normals(of.hidden_size ? 0 : n_ * kVocab, 2)),
        hidden_(of.dtype, checks.normals(n_ * of.hidden_size, 1)),
        weight_(of.dtype, checks.normals(kVocab * of.hidden_size, 0.4)),
        device_logits_(logits_.bytes),
        device_hidden_(hidden_.bytes),
        device_weight_(weight_.bytes) {
    checks.begin("policy gradient, objective " + std::to_string(static_cast<int>(of.objective)) + ", level " +
                 std::to_string(static_cast<int>(of.level)) + ", reduction " +
                 std::to_string(static_cast<int>(of.reduction)) + (of.hidden_size ? " from hidden states " : " ") +
                 name_of(of.dtype) + " in " + std::to_string(of.chunk_bytes) + " bytes");
    head_.dtype = of.dtype;
    head_.rows = n_, head_.vocab_size = head_.row_stride = kVocab;
    head_.temperature = 0.8;
    head_.logits = of.hidden_size ? nullptr : device_logits_.get();
    head_.hidden = {device_hidden_.get(), of.dtype, of.hidden_size, 1};
    head_.weight = {device_weight_.get(), of.dtype, of.hidden_size, 1};
    head_.bias_dtype = of.dtype;
    head_.hidden_size = of.hidden_size;
    head_.chunk_bytes = of.chunk_bytes;
  }

  void run() {
    const size_t n = oracle::size(n_);
    std::vector<int64_t> labels;
    std::vector<bool> counts;
    for (size_t i = 0; i < n; i++) {
      const bool ignored = i % 7 == 3 || i < oracle::size(batch_.turn_offsets[1]);
      labels.push_back(batch_.mask[i] == 0 ? kVocab + 7 : ignored ? -100 : checks_.integer(0, kVocab));
      counts.push_back(batch_.mask[i] != 0 && !ignored);
    }
    const DeviceArray<int64_t> device_labels(labels);
    const Labels given{device_labels.get(), true, device_.mask.get(), -100};
    const RowResults forward(n_);
    checks_.ok(logps({head_, given, forward.out()}));
    const std::vector<float> own = forward.logps.values(), entropies = forward.entropy.values();

    std::vector<double> advantages = checks_.normals(n_, 1), old(n);
    std::vector<float> weights = floats(checks_, n_, 1), refs = floats(checks_, n_, 0.5);
    for (size_t i = 0; i < n; i++) {
      old[i] = static_cast<double>(own[i]) + checks_.normal(0.3), refs[i] += own[i], weights[i] = std::fabs(weights[i]);
      if (!counts[i]) advantages[i] = old[i] = NAN, weights[i] = refs[i] = NAN;
    }
    const DeviceArray<double> device_advantages(advantages), device_old(old);
    const DeviceArray<float> device_weights(weights), device_refs(refs);
    const DeviceArray<float> logps_out(n), entropy_out(n);
    const LinearGradients gradients(head_);
    const DeviceArray<unsigned char> grad_logits(oracle::size(head_.logits ? n_ * kVocab * bytes_of(head_.dtype) : 0));
    double scalars[kPolicyScalars] = {};

    PolicyGradientUpdate call{};
    call.head = head_, call.labels = given;
    if (case_.kl_coef != 0) call.reference.logps = device_refs.get();
    const int64_t trajectories = static_cast<int64_t>(batch_.trajectory_offsets.size()) - 1;
    call.batch = {n_,
                  batch_.turns(),
                  trajectories,
                  device_.turn_offsets.get(),
                  device_.trajectory_offsets.get(),
                  {true, device_advantages.get()},
                  {true, device_old.get()},
                  {false, device_weights.get()}};
    call.options = {
        case_.objective,   case_.level, 0.2, 0.3, 1.6, 1, 1.05, case_.reduction, 0, KlType::k3, case_.kl_coef, 10,
        case_.entropy_coef};
    if (case_.reduction == LossReduction::constant) call.options.denominator = 77;
    call.logps = logps_out.get();
    if (case_.entropy_coef != 0) call.entropy = entropy_out.get();
    call.out.scalars = scalars;
    call.gradients = gradients.out();
    call.gradients.logits = head_.logits ? grad_logits.get() : nullptr;
    checks_.ok(policy_gradient_update(call));

    const Definition by{call.options, units(counts), coefficients(call.options, counts), advantages, old,
                        weights,      refs};
    const std::vector<double> own_logps(own.begin(), own.end());
    std::vector<float> grads(n, 0.0f), grads_entropy(n, 0.0f);
    compare_scalars(by, own_logps, entropies, counts, scalars);
    for (const auto& unit : by.units)
      for (const size_t i : unit) grads[i] = static_cast<float>(by.grad_logp(i, unit, own_logps));
    for (size_t i = 0; i < n; i++) grads_entropy[i] = static_cast<float>(-case_.entropy_coef * by.c[i]);
    for (size_t i = 0; i < n; i++) {
      checks_.expect(logps_out.values()[i] == (counts[i] ? own[i] : 0), "another log-prob", static_cast<int64_t>(i));
    }

    // The same backward pass, of a float32 lse.
    const DeviceArray<float> device_grads(grads), device_grads_entropy(grads_entropy);
    const LinearGradients expected(head_);
    const DeviceArray<unsigned char> expected_logits(
        oracle::size(head_.logits ? n_ * kVocab * bytes_of(head_.dtype) : 0));
    LogpsBackward backward{};
    backward.head = head_, backward.labels = given, backward.lse = forward.lse.get();
    backward.grad_logps = device_grads.get();
    if (case_.entropy_coef != 0) {
      backward.grad_entropy = device_grads_entropy.get(), backward.entropy = forward.entropy.get();
    }
    backward.gradients = expected.out();
    backward.gradients.logits = head_.logits ? expected_logits.get() : nullptr;
    checks_.ok(logps_backward(backward));
    if (head_.logits) return compare("gradLogits", logits_of(grad_logits), logits_of(expected_logits));
    compare("gradHidden", gradients.hidden.values(), expected.hidden.values());
    compare("gradWeight", gradients.weight.values(), expected.weight.values());

    const LinearGradients frozen(head_);
    call.gradients = frozen.of_hidden();
    checks_.ok(policy_gradient_update(call));
    compare("gradHidden of a frozen weight", frozen.hidden.values(), expected.hidden.values());
  }

 private:
  std::vector<size_t> tokens(int32_t first_turn, int32_t last_turn, const std::vector<bool>& counts) const {
    std::vector<size_t> list;
    const auto at = [&](int32_t t) { return oracle::size(batch_.turn_offsets[oracle::size(t)]); };
    for (size_t i = at(first_turn); i < at(last_turn); i++)
      if (counts[i]) list.push_back(i);
    return list;
  }

  std::vector<std::vector<size_t>> trajectories(const std::vector<bool>& counts) const {
    std::vector<std::vector<size_t>> lists;
    for (size_t k = 0; k + 1 < batch_.trajectory_offsets.size(); k++) {
      lists.push_back(tokens(batch_.trajectory_offsets[k], batch_.trajectory_offsets[k + 1], counts));
    }
    return lists;
  }

  std::vector<std::vector<size_t>> units(const std::vector<bool>& counts) const {
    if (case_.level == RatioLevel::trajectory) return trajectories(counts);
    std::vector<std::vector<size_t>> lists;
    for (int32_t t = 0; t < batch_.trajectory_offsets.back(); t++) {
      const std::vector<size_t> turn = tokens(t, t + 1, counts);
      if (case_.level == RatioLevel::turn) lists.push_back(turn);
      for (const size_t i : turn)
        if (case_.level == RatioLevel::token) lists.push_back({i});
    }
    return lists;
  }

  std::vector<double> coefficients(const PolicyGradientOptions& options, const std::vector<bool>& counts) const {
    double sequences = 0, all = 0;
    for (const auto& list : trajectories(counts)) sequences += !list.empty(), all += static_cast<double>(list.size());
    const double d = options.denominator > 0 ? options.denominator : options.by_sequence() ? sequences : all;
    std::vector<double> c(counts.size(), 0.0);
    for (const auto& list : trajectories(counts))
      for (const size_t i : list) {
        const bool mean = options.reduction == LossReduction::sequence_mean_token_mean;
        c[i] = 1 / (mean ? static_cast<double>(list.size()) * d : d);
      }
    return c;
  }

  void compare_scalars(const Definition& by, const std::vector<double>& own, const std::vector<float>& entropies,
                       const std::vector<bool>& counts, const double* ours) {
    double policy = 0, kl = 0, entropy = 0, approx = 0, count = 0;
    for (const auto& unit : by.units) {
      if (unit.empty()) continue;
      const auto [of_policy, of_kl] = by.sums(unit, own, own);
      policy += of_policy, kl += of_kl;
    }
    for (size_t i = 0; i < counts.size(); i++) {
      if (!counts[i]) continue;
      const double d = own[i] - by.old[i];
      count += 1, approx += std::exp(d) - 1 - d;
      if (case_.entropy_coef != 0) entropy += by.c[i] * static_cast<double>(entropies[i]);
    }
    const double loss = policy + case_.kl_coef * kl - case_.entropy_coef * entropy;
    const auto close = [&](const char* what, PolicyScalar at, double expected) {
      checks_.close(what, 0, ours[at], expected, 1e-6 * std::fabs(expected) + 1e-9);
    };
    close("loss", kLoss, loss);
    close("policyLoss", kPolicyLoss, policy);
    close("klLoss", kKlLoss, kl);
    close("entropyBonus", kEntropyBonus, entropy);
    close("approxKl", kApproxKl, approx / count);
  }

  std::vector<float> logits_of(const DeviceArray<unsigned char>& bytes) const {
    const std::vector<double> values = Stored::decoded(head_.dtype, bytes.values());
    return {values.begin(), values.end()};
  }

  void compare(const char* what, const std::vector<float>& ours, const std::vector<float>& expected) {
    float largest = 0;
    for (const float x : expected) largest = std::max(largest, std::fabs(x));
    const double rounding = head_.dtype == DType::float32 ? 4e-6 : head_.dtype == DType::float16 ? 0x1p-10 : 0x1p-7;
    for (size_t i = 0; i < expected.size(); i++) {
      checks_.close(what, static_cast<int64_t>(i), static_cast<double>(ours[i]), static_cast<double>(expected[i]),
                    rounding * static_cast<double>(largest));
    }
  }

  Checks& checks_;
  const Case case_;
  Batch batch_;
  const DeviceBatch device_;
  const int64_t n_;
  const Stored logits_, hidden_, weight_;
  const DeviceArray<unsigned char> device_logits_, device_hidden_, device_weight_;
  Head head_{};
};

}  // namespace

void check_policy_gradient(Checks& checks, bool) {
  using R = LossReduction;
  const RatioLevel token = RatioLevel::token, turn = RatioLevel::turn, trajectory = RatioLevel::trajectory;
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    const Case cases[] = {
        {dtype, 0, 0, Objective::clip, token, R::token_mean, 0.02, 0.1},
        {dtype, 0, 0, Objective::cispo, turn, R::sequence_mean_token_sum, 0, 0},
        {dtype, 0, 0, Objective::clip, trajectory, R::sequence_mean_token_mean, 0.02, 0},
        {dtype, 0, 0, Objective::sapo, turn, R::constant, 0, 0.2},
        // One chunk and several.
        {dtype, 19, 0, Objective::dppo, token, R::token_mean, 0, 0.1},
        {dtype, 19, 12000, Objective::reinforce, token, R::sequence_mean_token_mean, 0.02, 0.1},
        {dtype, 19, 12000, Objective::clip, token, R::constant, 0, 0},
        {dtype, 19, 12000, Objective::clip, turn, R::token_mean, 0.03, 0.1},
        {dtype, 19, 12000, Objective::sapo, trajectory, R::sequence_mean_token_sum, 0, 0},
    };
    for (const Case& each : cases) PolicyGradientCheck(checks, each).run();
  }
}
