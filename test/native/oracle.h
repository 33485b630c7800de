// The specification in float64 and plain loops, and how far float32 may be from it: what the fuzzers and the checks of
// the kernels compare results with. Nothing of native/ is used, so that a mistake there is not repeated here.
//
//   N rows, V vocabulary entries, H hidden size, T turns, P pairs;  u = 2^-24, one rounding to float32
//
// Errors are propagated to first order, those of exponents by expm1. Where one exceeds kMeaningless, or float32 could
// overflow on the way, the bound is infinite: then only a NaN is compared.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <tuple>
#include <utility>
#include <vector>

namespace oracle {

constexpr double kU = 0x1p-24, kTiny = 0x1p-148, kInfinite = INFINITY, kMeaningless = 0.05;
constexpr double kLargest = 0x1.fffffep127;  // of float32
// What is lost of the other gradients beside one of the entropy, where 2^t is taken 2^64 times too large: both are
// scaled by the larger one's exponent.
constexpr double kSharedExponent = 0x1p-84;
constexpr double kDouble = 1e-13;  // some hundred roundings to float64

/** Its memory is the default resource's, which the fuzzers replace by one that is fast under AddressSanitizer. */
template <class T>
using Array = std::pmr::vector<T>;

inline size_t size(int64_t n) { return static_cast<size_t>(n); }

inline double power_of_2(int n) {
  const uint64_t bits = static_cast<uint64_t>(n + 1023) << 52;
  double x;
  memcpy(&x, &bits, 8);
  return x;
}

/** A 16-bit type by its definition: a sign, an exponent, a fraction. */
struct Half {
  int exponent_bits, fraction_bits;

  int lowest() const { return 2 - (1 << (exponent_bits - 1)); }
  double largest() const { return (2 - power_of_2(-fraction_bits)) * power_of_2(1 - lowest()); }
  double ulp(double x) const {
    return power_of_2(std::max(x == 0 ? lowest() : std::ilogb(x), lowest()) - fraction_bits);
  }
  double decode(uint16_t bits) const {
    const int exponent = (bits & 0x7fff) >> fraction_bits, fraction = bits & ((1 << fraction_bits) - 1);
    double x = (exponent ? fraction + (1 << fraction_bits) : fraction) *
               power_of_2(std::max(exponent, 1) - 1 + lowest() - fraction_bits);
    if (exponent == (1 << exponent_bits) - 1) x = fraction ? NAN : kInfinite;
    return bits & 0x8000 ? -x : x;
  }
};

constexpr Half kBfloat16 = {8, 7}, kFloat16 = {5, 10};

/** Element i of float32, or of 16 bits. */
inline double value_at(const Half* half, const void* data, int64_t i) {
  return half ? half->decode(static_cast<const uint16_t*>(data)[i]) : static_cast<const float*>(data)[i];
}

/** Whether `ours`, stored in a type whose largest number is `largest`, is within `bound` of what is expected. */
inline bool is_close(double ours, double expected, double bound, double largest = kLargest) {
  if (std::isnan(expected)) return std::isnan(ours);
  if (bound == kInfinite || ours == expected) return true;
  // What rounds to infinity is infinity.
  if (std::isinf(ours)) return (ours > 0 ? expected : -expected) + bound >= largest * (1 - kU);
  return std::fabs(ours - expected) <= bound;
}

/**
 * The error of a sum of n rounded terms, relative to the sum of their magnitudes: n u at most. Roundings that are
 * independent add up as a random walk, which stays below 4 sqrt(n) u; those of repeated terms may have one sign.
 */
inline double sum_error(int64_t n, bool at_random = true) {
  const double most = static_cast<double>(n) * kU, walk = 4 * std::sqrt(n) * kU;
  return at_random && walk < most ? walk : most;
}

// -- Heads.

struct Row {
  double lse, logp, entropy, lse_error, logp_error, entropy_error;
  double squares = 0, squares_error = 0;  // sum_v p_v^2
  int64_t argmax = -1;                    // of the exact logits
};

/** Gradients at the results of a row, [N] each or null; entropy is that of the forward pass. */
struct Upstream {
  const float* grad_logps;
  const float *grad_entropy = nullptr, *entropy = nullptr, *grad_lse = nullptr;

  bool has_only_logps() const { return !grad_entropy && !grad_lse; }
};

/** Values and how far float32 may be off. */
struct Gradients {
  Array<double> values, bounds;
};

/** out[rows, columns] = a[rows, depth] * b[depth, columns] + c, with functions for a, its bounds, b and c. */
template <class A, class Bound, class B, class C>
Gradients multiply(int64_t rows, int64_t columns, int64_t depth, double relative, double smallest, A a,
                   Bound bound_of_a, B b, C c) {
  Gradients out{Array<double>(size(rows * columns)), Array<double>(size(rows * columns))};
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t j = 0; j < columns; j++) {
      double sum = c(i, j), off = 0, magnitude = std::isfinite(sum) ? std::fabs(sum) : 0;
      bool unknown = false;
      for (int64_t k = 0; k < depth; k++) {
        const double x = a(i, k), y = b(k, j);
        sum += x * y;
        if (std::isfinite(x * y)) magnitude += std::fabs(x * y);
        off += bound_of_a(i, k) * std::fabs(y);
        const bool flushed = std::fabs(x) < smallest || std::fabs(y) < smallest;
        if (flushed) off += std::fabs(x * y);
        unknown |= bound_of_a(i, k) == kInfinite || (flushed && !std::isfinite(x * y));
      }
      double& bound = out.bounds[size(i * columns + j)];
      out.values[size(i * columns + j)] = sum;
      bound = off + relative * magnitude + static_cast<double>(depth + 2) * std::max(kTiny, smallest);
      if (!std::isfinite(sum)) bound = 0;  // whatever the order
      if (!(bound < kLargest && magnitude < kLargest / 4) || unknown) bound = kInfinite;
    }
  }
  return out;
}

/** Logits, or the hidden states and the weight whose products they are. A label below 0 is no token id; -2: masked. */
struct Head {
  int64_t rows = 0, vocab = 0, hidden_size = 0;  // hidden_size 0: logits
  double temperature = 1;
  double softcap = 0;                  // of the logits; 0: none
  Array<double> logits, errors;        // [N, V] before the temperature; how far float32 may be off, empty: exact
  Array<double> slopes, slope_errors;  // with a softcap, [N, V]: ds/dx at the logits
  Array<double> hidden, weight, bias;  // [N, H], [V, H], [V] or empty
  bool hidden_at_random = true, weight_at_random = true;
  bool transposed = false;      // the weight is stored as [H, V], and its gradient compared in that layout
  double smallest = 0;          // products take numbers below this for 0
  double most_off = kInfinite;  // by how much the products move a log-prob at most, where their bound is larger

  /** The relative error of a sum of so many products and up to two terms more. */
  double (*product_error)(int64_t n, bool at_random) = [](int64_t n, bool random) { return sum_error(n + 2, random); };

  const double* logits_of(int64_t i) const { return logits.data() + i * vocab; }
  const double* errors_of(int64_t i) const { return errors.empty() ? nullptr : errors.data() + i * vocab; }

  /** Computes the logits of a linear head. */
  void project() {
    Gradients product = multiply(
        rows, vocab, hidden_size, product_error(hidden_size, hidden_at_random || weight_at_random), smallest,
        [&](int64_t i, int64_t k) { return hidden[size(i * hidden_size + k)]; }, [](int64_t, int64_t) { return 0.0; },
        [&](int64_t k, int64_t v) { return weight[size(v * hidden_size + k)]; },
        [&](int64_t, int64_t v) { return bias.empty() ? 0.0 : bias[size(v)]; });
    logits.swap(product.values), errors.swap(product.bounds);
  }

  /** Makes s(logits) of the logits, once they are known. */
  void cap() {
    if (softcap == 0) return;
    most_off += 14 * kU * softcap / temperature;
    errors.resize(logits.size());
    for (size_t at = 0; at < logits.size(); at++) {
      const double t = std::tanh(logits[at] / softcap), slope = logits[at] == -kInfinite ? 0 : 1 - t * t;
      // float32 rounds the inverse of the softcap and has tanh to 6 u; an error of x counts as much as s does there.
      const double of_x = std::min(errors[at], 2 * softcap) + 2 * kU * std::min(std::fabs(logits[at]), 10 * softcap);
      const double of_s =
          logits[at] == -kInfinite ? 0 : of_x * (slope + of_x / softcap) + softcap * (7 * kU * std::fabs(t) + kTiny);
      slopes.push_back(slope);
      slope_errors.push_back(4 * kU + 2 * of_s / softcap);
      if (logits[at] > -kInfinite) logits[at] = softcap * t;
      if (errors[at] < kInfinite) errors[at] = std::min(of_s, 2 * softcap);
    }
  }

  /**
   * lse, logp and entropy. The powers' exponents t have two or three relative roundings, so that p t of the entropy is
   * off by p u (|t| + t^2). In rows of more than 1024 entries t may count from up to 64 log(2) below the maximum.
   */
  Row row(int64_t i, int32_t label) const {
    if (label == -2) return {};
    const double *const x = logits_of(i), *const error = errors_of(i);
    double max = -kInfinite, sum = 0, linear = 0, square = 0, mean_error = 0, entropy = 0, of_entropy = 0;
    double squares = 0, linear_squares = 0, of_squares = 0;
    int64_t argmax = -1;
    for (int64_t v = 0; v < vocab; v++) {
      if (x[v] > max || std::isnan(x[v])) max = x[v], argmax = v;
    }
    const auto t_of = [&](int64_t v) { return (x[v] - max) / temperature; };
    for (int64_t v = 0; v < vocab; v++) sum += std::exp(t_of(v));
    const double log_sum = std::log(sum);
    for (int64_t v = 0; v < vocab; v++) {
      if (error && error[v] == kInfinite) mean_error = kInfinite;
      const double t = t_of(v), p = std::exp(t) / sum;
      if (p == 0) continue;  // 0 * -inf is 0
      entropy += p * (log_sum - t);
      linear += p * std::fabs(t);
      square += p * t * t;
      squares += p * p;
      linear_squares += p * p * std::fabs(t);
      if (!error) continue;
      const double off = error[v] / temperature, of_p = p * std::expm1(off);
      mean_error += of_p;
      of_squares += p * p * std::expm1(2 * off);
      of_entropy += of_p * (std::fabs(log_sum - t - 1) + off);
    }
    Row row{max / temperature + log_sum, label >= 0 ? t_of(label) - log_sum : 0, entropy, 0, 0, 0};
    const double of_label = error && label >= 0 && x[label] > -kInfinite ? error[label] / temperature : 0;
    const bool unknown = !(mean_error + of_label <= kMeaningless);
    const double of_lse = std::min(mean_error, most_off);
    of_entropy = std::min(of_entropy, most_off * (1 + entropy));
    row.lse_error = 2e-6 + 2e-6 * std::fabs(row.lse) + of_lse;
    row.logp_error = label >= 0 ? 2e-6 + 2e-6 * std::fabs(row.logp) + std::min(mean_error + of_label, most_off) : 0;
    row.entropy_error = 2e-6 * (1 + std::fabs(entropy)) + 3 * kU * (linear + square) + of_entropy +
                        of_lse * (1 + entropy) + (vocab > 1024 ? 2 * kU * 64 * std::log(2) : 0);
    row.squares = std::isnan(row.lse) ? NAN : squares;
    row.argmax = std::isnan(row.lse) ? -1 : argmax;
    row.squares_error = squares * (6e-6 + 2 * of_lse + (vocab > 1024 ? 4 * kU * 64 * std::log(2) : 0)) +
                        6 * kU * linear_squares + std::min(of_squares, 2 * most_off * squares) + kTiny;
    if (unknown) row.lse_error = row.logp_error = row.entropy_error = row.squares_error = kInfinite;
    return row;
  }

  /** Whether `ours` is the lowest index of the largest logit, as far as the logits are known; see row() for labels. */
  bool is_argmax(int64_t i, int32_t label, int64_t ours) const {
    const Row expected = row(i, label);
    const double *const x = logits_of(i), *const error = errors_of(i);
    if (label == -2 || !error) return ours == (label == -2 ? -1 : expected.argmax);
    if (expected.lse_error == kInfinite) return ours >= -1 && ours < vocab;
    if (expected.argmax < 0) return ours == -1;
    if (ours < 0 || ours >= vocab) return false;
    for (int64_t v = 0; v < vocab; v++) {
      if (x[v] - error[v] > x[ours] + error[ours]) return false;
    }
    return true;
  }

  /**
   * 1 - p of the label, and its bound, relative to an lse that was rounded to float32: where that rounding leaves
   * 1 - p_label too few bits, it is the sum of all other p.
   */
  std::pair<double, double> other_probs(int64_t i, int32_t label, double lse) const {
    const double *const x = logits_of(i), *const error = errors_of(i);
    const double off = (error ? error[label] / temperature : 0) + 0x1p-51 * std::fabs(lse);
    const double direct = -std::expm1(x[label] / temperature - lse), of_direct = (1 - direct) * off;
    double sum = 0, of_sum = 0;
    for (int64_t v = 0; v < vocab; v++) {
      if (v == label) continue;
      const double z = x[v] / temperature, p = std::exp(z - lse);
      sum += p;
      if (p > 0) of_sum += p * (4 * kU * (std::fabs(z - lse) + 2) + (error ? std::expm1(error[v] / temperature) : 0));
    }
    of_sum += sum * 0x1p-51 * std::fabs(lse);
    const double limit = std::min(0.5, 0x1p-12 * (4 + std::fabs(lse))),
                 margin = of_direct + 0x1p-50 * (1 + std::fabs(lse));
    if (!(direct < limit + margin)) return {direct, of_direct};
    if (direct < limit - margin) return {sum, of_sum};
    return {direct, of_direct + of_sum + std::fabs(direct - sum)};
  }

  /**
   * [N, V] gradients of the logits, where lse is known to lse_errors (null: it is a float32 that the call was given):
   *
   *   (g (1[label] - p) + p (s - e (H + log p))) / temperature,  with g, e, s the gradients at log-prob, H and lse
   *
   * Shards do not have all other entries. Where the rounding of lse * temperature to float32 is as large as a logit's
   * difference to it, p is unknown.
   */
  Gradients logit_gradients(const int32_t* labels, const Upstream& upstream, const double* lse,
                            const double* lse_errors, bool shards = false) const {
    Gradients out{Array<double>(logits.size()), Array<double>(logits.size())};
    for (int64_t i = 0; i < rows; i++) {
      if (labels[i] < 0) continue;
      const auto value_of = [&](const float* array) { return array ? static_cast<double>(array[i]) : 0.0; };
      const double g = value_of(upstream.grad_logps), scale = g / temperature,
                   lse_error = lse_errors ? lse_errors[i] : 0;
      const double e = value_of(upstream.grad_entropy) / temperature, s = value_of(upstream.grad_lse) / temperature;
      const double entropy = value_of(upstream.entropy);
      double of_others = 0;  // bounds of all entries but the label's
      const double *const x = logits_of(i), *const error = errors_of(i);
      const bool unknown =
          !(std::fabs(static_cast<float>(lse[i] * temperature) / temperature - lse[i]) <= kMeaningless) ||
          std::fabs(scale) + std::fabs(s) + std::fabs(e) * (1 + entropy) > kLargest / 4;
      for (int64_t v = 0; v < vocab; v++) {
        const double z = x[v] / temperature, p = std::exp(z - lse[i]), distance = p == 0 ? 0 : std::fabs(z - lse[i]);
        const double off = (error ? error[v] / temperature : 0) + lse_error + 0x1p-51 * std::fabs(lse[i]);
        double log_p = z - lse[i], of_log_p = off;
        double value = -scale * p, bound = p == 0 ? 0 : p * (4 * kU * (distance + 2) + std::expm1(off));
        if (v == labels[i]) value = -scale * std::expm1(z - lse[i]), bound = p == 0 ? 0 : p * std::expm1(off);
        if (v == labels[i] && !lse_errors && !shards) {
          std::tie(value, bound) = other_probs(i, labels[i], lse[i]);
          if (value != -std::expm1(log_p)) log_p = std::log1p(-value);  // from the sum
          of_log_p += bound / (1 - std::min(value, 0.99));
          value *= scale;
        }
        bound = std::fabs(scale) * (bound + 0x1p-126) + 2 * kU * std::fabs(value) + kTiny;
        const bool vague = off > kMeaningless && !(z - lse[i] + off <= -200);  // else p is 0 for certain
        if (!upstream.has_only_logps() && p > 0) {
          value += std::exp(log_p) * (s - e * (entropy + log_p));
          // All terms but the label's are multiplied by p at once.
          const double terms = std::fabs(s) + std::fabs(e) * (std::fabs(entropy) + distance) + std::fabs(scale);
          bound += p * (terms * (4 * kU * (distance + 3) + std::expm1(off)) + terms * (of_log_p - off) +
                        std::fabs(e) * (of_log_p + kSharedExponent)) +
                   0x1p-126 * terms + 2 * kU * std::fabs(value);
        }
        if (unknown || vague || std::fabs(scale) * p > kLargest / 4) bound = kInfinite;
        if (std::isinf(p) && std::isfinite(g)) value = 0;                            // unknown, and no 0 * inf
        if (std::isnan(value) || !std::isfinite(g)) bound = g == 0 ? kInfinite : 0;  // or the row is skipped
        if (v != labels[i]) of_others += bound;
        out.values[size(i * vocab + v)] = value;
        out.bounds[size(i * vocab + v)] = bound;
      }
      // The label's entry of a linear head may be s minus the sum of the others.
      if (!upstream.has_only_logps()) out.bounds[size(i * vocab + labels[i])] += of_others + 4 * kU * std::fabs(s);
    }
    for (size_t at = 0; at < slopes.size(); at++) {
      if (labels[static_cast<int64_t>(at) / vocab] < 0) continue;
      double &value = out.values[at], &bound = out.bounds[at];
      if (slopes[at] == 0 && std::isinf(value)) value = 0, bound = kInfinite;  // or a NaN
      if (bound < kInfinite) bound = bound * slopes[at] + (std::fabs(value) + bound) * slope_errors[at] + kTiny;
      value *= slopes[at];
    }
    return out;
  }

  // Rows without a token id are not read, whatever their hidden states.

  Gradients hidden_gradients(const Gradients& d, const int32_t* labels) const {
    Gradients out = multiply(
        rows, hidden_size, vocab, product_error(vocab, weight_at_random), smallest,
        [&](int64_t i, int64_t v) { return d.values[size(i * vocab + v)]; },
        [&](int64_t i, int64_t v) { return d.bounds[size(i * vocab + v)]; },
        [&](int64_t v, int64_t k) { return weight[size(v * hidden_size + k)]; }, [](int64_t, int64_t) { return 0.0; });
    for (int64_t i = 0; i < rows; i++) {
      if (labels[i] >= 0) continue;
      std::fill_n(&out.values[size(i * hidden_size)], hidden_size, 0.0);
      std::fill_n(&out.bounds[size(i * hidden_size)], hidden_size, 0.0);
    }
    return out;
  }

  Gradients weight_gradients(const Gradients& d, const int32_t* labels) const {
    return multiply(
        vocab, hidden_size, rows, product_error(rows, hidden_at_random), smallest,
        [&](int64_t v, int64_t i) { return d.values[size(i * vocab + v)]; },
        [&](int64_t v, int64_t i) { return d.bounds[size(i * vocab + v)]; },
        [&](int64_t i, int64_t k) { return labels[i] < 0 ? 0 : hidden[size(i * hidden_size + k)]; },
        [](int64_t, int64_t) { return 0.0; });
  }

  Gradients bias_gradients(const Gradients& d) const {
    return multiply(
        vocab, 1, rows, product_error(rows, false), smallest,
        [&](int64_t v, int64_t i) { return d.values[size(i * vocab + v)]; },
        [&](int64_t v, int64_t i) { return d.bounds[size(i * vocab + v)]; }, [](int64_t, int64_t) { return 1.0; },
        [](int64_t, int64_t) { return 0.0; });
  }
};

// -- The preference loss.

struct Batch {
  Array<double> token_weights;      // [N], 0 where a token does not count
  Array<int64_t> turn_offsets;      // [T+1] into tokens
  Array<int64_t> item_offsets;      // [items+1] into turns; an item is a turn or a trajectory
  Array<int64_t> chosen, rejected;  // [P] items
  Array<double> weights;            // [P]
};

struct Loss {
  enum { kSigmoid, kHinge, kIpo } type;
  enum { kTurnMean, kTokenMean, kSum } normalization;
  double beta, label_smoothing, pair_denominator, nll_coef, nll_denominator;
};

struct Value {
  double x = 0, error = 0;

  // An infinity or a NaN is exact: every order of summation gives it.
  void add(double term, double off = 0) {
    x += term;
    if (std::isfinite(term)) error += off + kDouble * std::fabs(term);
  }
};

struct Preference {
  Value loss, preference_loss, nll_loss;
  double fewest_wins = 0, most_wins = 0;
  Array<Value> pair_losses, margins, chosen_rewards, rejected_rewards, turn_advantages, grad_logps;
};

template <class Use>
void each_of(const Array<int64_t>& offsets, size_t group, Use use) {
  for (int64_t i = offsets[group]; i < offsets[group + 1]; i++) use(size(i));
}

inline double log_sigmoid(double u) { return u < 0 ? u - std::log1p(std::exp(u)) : -std::log1p(std::exp(-u)); }

/** l and dl/ddelta, and how far they are off where delta is off by delta.error. */
inline void pair_term(const Loss& options, Value delta, Value* loss, Value* grad) {
  const double beta = options.beta, eps = options.label_smoothing, u = beta * delta.x, off = beta * delta.error;
  if (options.type == Loss::kHinge) {
    loss->add(std::isnan(u) ? u : std::max(0.0, 1 - u), off);
    grad->add(std::isnan(u) ? u : u < 1 ? -beta : 0, std::fabs(1 - u) <= off + kDouble ? beta : 0);
  } else if (options.type == Loss::kIpo) {
    const double difference = delta.x - 1 / (2 * beta);
    loss->add(difference * difference, (2 * std::fabs(difference) + delta.error) * (delta.error + kDouble / beta));
    grad->add(2 * difference, 2 * delta.error + kDouble / beta);
  } else {
    loss->add(-(1 - eps) * log_sigmoid(u), off);
    if (eps > 0) loss->add(-eps * log_sigmoid(-u), off);
    grad->add(-beta * (1 - eps) * std::exp(log_sigmoid(-u)), beta * (off + kDouble));
    grad->add(beta * eps * std::exp(log_sigmoid(u)), beta * (off + kDouble));
  }
}

/** Results of the loss at these log-probs, and its gradient at them; ref_logps are known to ref_error. */
inline Preference preference_loss(const Batch& batch, const Loss& options, const float* logps, const float* ref_logps,
                                  double ref_error = 0) {
  const size_t turns = batch.turn_offsets.size() - 1, items = batch.item_offsets.size() - 1;
  Array<double> turn_weight(turns), item_weight(items), times_chosen(items);
  Array<Value> score(items), nll(items), grad(items);
  for (size_t k = 0; k < items; k++) {
    each_of(batch.item_offsets, k, [&](size_t t) {
      each_of(batch.turn_offsets, t, [&](size_t i) { turn_weight[t] += batch.token_weights[i]; });
      item_weight[k] += turn_weight[t];
    });
  }
  // dS_k/drho of a token of weight 1 of turn t in item k.
  const auto coefficient = [&](size_t t, size_t k) {
    if (options.normalization == Loss::kTurnMean) return turn_weight[t] > 0 ? 1 / turn_weight[t] : 0;
    if (options.normalization == Loss::kTokenMean) return item_weight[k] > 0 ? 1 / item_weight[k] : 0;
    return 1.0;
  };
  const auto each_token = [&](auto use) {
    for (size_t k = 0; k < items; k++) {
      each_of(batch.item_offsets, k, [&](size_t t) {
        each_of(batch.turn_offsets, t, [&](size_t i) {
          if (batch.token_weights[i] > 0) use(i, t, k);
        });
      });
    }
  };

  Preference out;
  out.turn_advantages.resize(turns);
  out.grad_logps.resize(batch.token_weights.size());
  each_token([&](size_t i, size_t t, size_t k) {
    const double ratio = static_cast<double>(logps[i]) - ref_logps[i], weight = batch.token_weights[i];
    const double of_item = weight * coefficient(t, k);
    const double of_turn = options.normalization == Loss::kTurnMean ? of_item : weight;
    score[k].add(ratio * of_item, ref_error * of_item);
    out.turn_advantages[t].add(ratio * of_turn, ref_error * of_turn);
    nll[k].add(-weight * logps[i]);
  });

  double denominator = options.pair_denominator, chosen_weight = 0;
  for (size_t p = 0; p < batch.chosen.size(); p++) {
    if (options.pair_denominator == 0) denominator += batch.weights[p];
    if (batch.weights[p] > 0) chosen_weight += item_weight[size(batch.chosen[p])];
  }
  const double nll_weight = options.nll_denominator > 0 ? options.nll_denominator : chosen_weight;
  for (size_t p = 0; p < batch.chosen.size(); p++) {
    const size_t chosen = size(batch.chosen[p]), rejected = size(batch.rejected[p]);
    const Value delta = {score[chosen].x - score[rejected].x, score[chosen].error + score[rejected].error};
    Value loss, pair_grad;
    pair_term(options, delta, &loss, &pair_grad);
    out.pair_losses.push_back(loss);
    for (const auto& [results, value] : {std::pair{&out.margins, delta}, std::pair{&out.chosen_rewards, score[chosen]},
                                         std::pair{&out.rejected_rewards, score[rejected]}}) {
      results->emplace_back();
      results->back().add(options.beta * value.x, options.beta * value.error);
    }
    out.fewest_wins += delta.x > delta.error;
    out.most_wins += delta.x > (delta.error > 0 ? -delta.error : 0);
    if (batch.weights[p] == 0) continue;
    times_chosen[chosen]++;
    if (nll_weight > 0) out.nll_loss.add(nll[chosen].x / nll_weight, nll[chosen].error / nll_weight);
    const double weight = batch.weights[p] / denominator;
    if (weight == 0) continue;  // 0 * inf would be NaN
    out.preference_loss.add(weight * loss.x, weight * loss.error);
    grad[chosen].add(weight * pair_grad.x, weight * pair_grad.error);
    grad[rejected].add(-weight * pair_grad.x, weight * pair_grad.error);
  }
  out.loss = out.preference_loss;
  if (options.nll_coef > 0) out.loss.add(options.nll_coef * out.nll_loss.x, options.nll_coef * out.nll_loss.error);
  const double nll_grad = options.nll_coef > 0 && nll_weight > 0 ? options.nll_coef / nll_weight : 0;
  each_token([&](size_t i, size_t t, size_t k) {
    const double weight = batch.token_weights[i];
    out.grad_logps[i].add(grad[k].x * weight * coefficient(t, k), grad[k].error * weight * coefficient(t, k));
    out.grad_logps[i].add(-times_chosen[k] * weight * nll_grad);
  });
  return out;
}

// -- The advantages of turns.

struct TurnAdvantages {
  Array<Value> advantages, grad_logps;  // [T], [N]
};

inline TurnAdvantages turn_advantages(const Batch& batch, bool mean, const float* logps, const float* ref_logps,
                                      const float* grad_advantages) {
  TurnAdvantages out{Array<Value>(batch.turn_offsets.size() - 1), Array<Value>(batch.token_weights.size())};
  for (size_t t = 0; t < out.advantages.size(); t++) {
    double total = 0;
    each_of(batch.turn_offsets, t, [&](size_t i) { total += batch.token_weights[i]; });
    each_of(batch.turn_offsets, t, [&](size_t i) {
      if (batch.token_weights[i] == 0) return;
      const double coefficient = mean ? batch.token_weights[i] / total : batch.token_weights[i];
      out.advantages[t].add((static_cast<double>(logps[i]) - ref_logps[i]) * coefficient);
      out.grad_logps[i].add(grad_advantages[t] * coefficient);
    });
  }
  return out;
}

}  // namespace oracle
