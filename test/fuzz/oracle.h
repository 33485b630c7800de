// The specification in float64 and plain loops, and how far float32 may be from it. Nothing of native/ is used: a
// mistake there must not be made twice.
//
// u = 2^-24 is one rounding to float32. Errors are carried along to first order; where one grows beyond kMeaningless,
// or float32 could overflow on the way, the bound is infinite and only IEEE's exact values are judged.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace oracle {

constexpr double kU = 0x1p-24, kTiny = 0x1p-148, kInfinite = INFINITY, kMeaningless = 0.05;
constexpr double kLargest = 0x1.fffffep127;  // of float32
constexpr double kDouble = 1e-13;            // some hundred roundings to float64

/** Memory of one case, given back all at once: asking AddressSanitizer for it takes longer than the sums themselves. */
class Room {
 public:
  static void* take(size_t bytes) {
    char* const at = bytes_ + used_;
    used_ += (bytes + 63) / 64 * 64;
    if (used_ > sizeof(bytes_)) abort();
    return at;
  }
  static void clear() { used_ = 0; }

 private:
  alignas(64) static inline char bytes_[1 << 26];
  static inline size_t used_ = 0;
};

template <class T>
struct FromRoom {
  using value_type = T;
  FromRoom() = default;
  template <class U>
  explicit FromRoom(const FromRoom<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(Room::take(n * sizeof(T))); }
  void deallocate(T*, size_t) {}
  bool operator==(const FromRoom&) const { return true; }
  bool operator!=(const FromRoom&) const { return false; }
};

template <class T>
using Array = std::vector<T, FromRoom<T>>;

inline double power_of_2(int n) {
  const uint64_t bits = static_cast<uint64_t>(n + 1023) << 52;
  double x;
  memcpy(&x, &bits, 8);
  return x;
}

/** 16-bit numbers by their definition: a sign, an exponent, a fraction. */
struct Half {
  int exponent_bits, fraction_bits;

  int lowest() const { return 2 - (1 << (exponent_bits - 1)); }
  double largest() const { return (2 - power_of_2(-fraction_bits)) * power_of_2(1 - lowest()); }
  double ulp(double x) const {
    return power_of_2(std::max(x == 0 ? lowest() : std::ilogb(x), lowest()) - fraction_bits);
  }
  double round(double x) const {
    if (!std::isfinite(x)) return x;
    const double rounded = std::nearbyint(x / ulp(x)) * ulp(x);
    return std::fabs(rounded) > largest() ? std::copysign(kInfinite, x) : rounded;
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

/** Of float32, or of 16 bits. */
inline double number_at(const Half* half, const void* data, int64_t i) {
  return half ? half->decode(static_cast<const uint16_t*>(data)[i]) : static_cast<const float*>(data)[i];
}

/** Whether `ours`, stored in a type whose largest number is `largest`, is as near as `bound` to what is expected. */
inline bool is_close(double ours, double expected, double bound, double largest = kLargest) {
  if (std::isnan(expected)) return std::isnan(ours);
  if (bound == kInfinite || ours == expected) return true;
  // Beyond the largest number stands infinity, and whatever rounds to it.
  if (std::isinf(ours)) return (ours > 0 ? expected : -expected) + bound >= largest * (1 - kU);
  return std::fabs(ours - expected) <= bound;
}

/**
 * A sum of n rounded terms is off by n u of their magnitudes at most. Where roundings walk at random, 4 sqrtn is never
 * met; among terms that repeat, all may go one way.
 */
inline double sum_error(int64_t n, bool at_random = true) {
  const double most = static_cast<double>(n) * kU, walk = 4 * std::sqrt(n) * kU;
  return at_random && walk < most ? walk : most;
}

// -- Rows. x are logits before the temperature, `errors` how far they may be off (null: not at all).

struct Row {
  double lse, logp, entropy, lse_error, logp_error, entropy_error;
};

/**
 * logp and lse as specified, 2e-6 + 2e-6 |x|. The powers' exponents are two or three roundings off, relative: the
 * entropy's terms p t by u (|t| + t^2).
 */
inline Row row_of(const double* x, const double* errors, int64_t words, int64_t label, double temperature) {
  double most = -kInfinite, sum = 0, linear = 0, square = 0, moved = 0, bent = 0;
  for (int64_t v = 0; v < words; v++) most = x[v] > most || std::isnan(x[v]) ? x[v] : most;
  const auto t_of = [&](int64_t v) { return (x[v] - most) / temperature; };
  for (int64_t v = 0; v < words; v++) sum += std::exp(t_of(v));
  const double log_sum = std::log(sum);
  double entropy = 0;
  for (int64_t v = 0; v < words; v++) {
    if (errors && errors[v] == kInfinite) moved = kInfinite;
    const double t = t_of(v), p = std::exp(t) / sum;
    if (p == 0) continue;  // 0 * (-inf) counts 0
    entropy += p * (log_sum - t);
    linear += p * std::fabs(t);
    square += p * t * t;
    if (errors) moved += p * errors[v] / temperature;
    if (errors) bent += p * errors[v] / temperature * std::fabs(log_sum - t - 1);
  }
  Row row{most / temperature + log_sum, label >= 0 ? t_of(label) - log_sum : 0, entropy, 0, 0, 0};
  const double own = errors && label >= 0 && x[label] > -kInfinite ? errors[label] / temperature : 0;
  row.lse_error = 2e-6 + 2e-6 * std::fabs(row.lse) + moved;
  row.logp_error = 2e-6 + 2e-6 * std::fabs(row.logp) + moved + own;
  row.entropy_error = 2e-6 * (1 + std::fabs(entropy)) + 3 * kU * (linear + square) + bent + moved * (1 + entropy);
  if (!(moved + own <= kMeaningless)) row.lse_error = row.logp_error = row.entropy_error = kInfinite;
  return row;
}

/**
 * g (1[label] - p) / temperature for a row, and how far a float32 one may be off; lse is known to lse_error. An lse so
 * large, over so small a temperature, that no float32 logit is near it says nothing of p; g over it may be infinite.
 */
inline void gradient_of(const double* x, const double* errors, int64_t words, int64_t label, double temperature,
                        double g, double lse, double lse_error, double* gradient, double* bounds) {
  const double scale = g / temperature, pivot = static_cast<float>(lse * temperature);
  const bool lost = !(std::fabs(pivot / temperature - lse) <= kMeaningless) || std::fabs(scale) > kLargest / 4;
  for (int64_t v = 0; v < words; v++) {
    const double z = x[v] / temperature, p = std::exp(z - lse), far = p == 0 ? 0 : std::fabs(z - lse);
    const double off = (errors ? errors[v] / temperature : 0) + lse_error + 0x1p-51 * std::fabs(lse);
    gradient[v] = v == label ? -scale * std::expm1(z - lse) : -scale * p;
    const double relative = v == label ? off : 4 * kU * (far + 2) + off;
    bounds[v] = std::fabs(scale) * (p * relative + 0x1p-126) + 2 * kU * std::fabs(gradient[v]) + kTiny;
    const bool blurred = off > kMeaningless && !(z - lse + off <= -200);  // else p is 0 for certain
    if (lost || blurred || std::fabs(scale) * p > kLargest / 4) bounds[v] = kInfinite;
    if (std::isnan(gradient[v]) || !std::isfinite(g)) bounds[v] = g == 0 ? kInfinite : 0;  // or left out
  }
}

/** out[rows, columns] (+)= a[rows, depth] * b[depth, columns], both given as functions; the same with magnitudes. */
template <class A, class B, class Bound>
void project(int64_t rows, int64_t columns, int64_t depth, A a, B b, Bound bound_of_a, bool at_random, double* out,
             double* bounds) {
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t j = 0; j < columns; j++) {
      double sum = 0, off = 0, magnitude = 0;
      bool unknown = false;
      for (int64_t k = 0; k < depth; k++) {
        const double x = a(i, k), y = b(k, j);
        sum += x * y;
        if (std::isfinite(x * y)) magnitude += std::fabs(x * y);
        off += bound_of_a(i, k) * std::fabs(y);
        unknown |= bound_of_a(i, k) == kInfinite;
      }
      out[i * columns + j] += sum;
      double& bound = bounds[i * columns + j];
      bound += off + (sum_error(depth + 2, at_random) + kU) * magnitude + static_cast<double>(depth + 2) * kTiny;
      if (!std::isfinite(sum)) bound = 0;  // whatever the order
      if (!(bound < kLargest && magnitude < kLargest / 4) || unknown) bound = kInfinite;
    }
  }
}

// -- The preference losses.

struct Batch {
  Array<bool> keeps;                // [N]
  Array<int64_t> turns, units;      // offsets: tokens of a turn, turns of a unit
  Array<int64_t> chosen, rejected;  // units
  Array<double> weights;            // of pairs
};

struct Loss {
  enum { kSigmoid, kHinge, kIpo } type;
  enum { kTurnMean, kTokenMean, kSum } normalization;
  double beta, smoothing, pair_denominator, nll_coef, nll_denominator;
};

struct Value {
  double x = 0, error = 0;

  // What is infinite or NaN is so exactly: all orders of summation come to it.
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

inline double log_sigmoid(double u) { return u < 0 ? u - std::log1p(std::exp(u)) : -std::log1p(std::exp(-u)); }

/** l and dl/ddelta, and how far they are off where delta is by d.error. */
inline void pair_of(const Loss& options, Value d, Value* loss, Value* slope) {
  const double beta = options.beta, eps = options.smoothing, u = beta * d.x, off = beta * d.error;
  if (options.type == Loss::kHinge) {
    loss->add(std::isnan(u) ? u : std::max(0.0, 1 - u), off);
    slope->add(std::isnan(u) ? u : u < 1 ? -beta : 0, std::fabs(1 - u) <= off + kDouble ? beta : 0);
  } else if (options.type == Loss::kIpo) {
    const double far = d.x - 1 / (2 * beta);
    loss->add(far * far, (2 * std::fabs(far) + d.error) * (d.error + kDouble / beta));
    slope->add(2 * far, 2 * d.error + kDouble / beta);
  } else {
    loss->add(-(1 - eps) * log_sigmoid(u), off);
    if (eps > 0) loss->add(-eps * log_sigmoid(-u), off);
    slope->add(-beta * (1 - eps) * std::exp(log_sigmoid(-u)), beta * (off + kDouble));
    slope->add(beta * eps * std::exp(log_sigmoid(u)), beta * (off + kDouble));
  }
}

inline Preference preference_of(const Batch& batch, const Loss& options, const float* logps, const float* ref_logps) {
  const size_t turns = batch.turns.size() - 1, units = batch.units.size() - 1, pairs = batch.chosen.size();
  Array<double> length(turns), unit_length(units), times_chosen(units);
  Array<Value> score(units), unit_nll(units), slope(units);
  const auto each_token = [&](size_t t, auto use) {
    for (int64_t i = batch.turns[t]; i < batch.turns[t + 1]; i++) use(static_cast<size_t>(i));
  };
  const auto each_turn = [&](size_t k, auto use) {
    for (int64_t t = batch.units[k]; t < batch.units[k + 1]; t++) use(static_cast<size_t>(t));
  };
  for (size_t k = 0; k < units; k++) {
    each_turn(k, [&](size_t t) {
      each_token(t, [&](size_t i) { length[t] += batch.keeps[i]; });
      unit_length[k] += length[t];
    });
  }
  // What a token's log-ratio counts in its unit's score.
  const auto share = [&](size_t t, size_t k) {
    if (options.normalization == Loss::kTurnMean) return length[t] > 0 ? 1 / length[t] : 0;
    if (options.normalization == Loss::kTokenMean) return unit_length[k] > 0 ? 1 / unit_length[k] : 0;
    return 1.0;
  };

  Preference out;
  out.turn_advantages.resize(turns);
  out.grad_logps.resize(batch.keeps.size());
  for (size_t k = 0; k < units; k++) {
    each_turn(k, [&](size_t t) {
      each_token(t, [&](size_t i) {
        if (!batch.keeps[i]) return;
        const double ratio = static_cast<double>(logps[i]) - ref_logps[i];
        score[k].add(ratio * share(t, k));
        out.turn_advantages[t].add(options.normalization == Loss::kTurnMean ? ratio * share(t, k) : ratio);
        unit_nll[k].add(-logps[i]);
      });
    });
  }

  double denominator = options.pair_denominator, chosen_tokens = 0;
  for (size_t p = 0; p < pairs; p++) {
    if (options.pair_denominator == 0) denominator += batch.weights[p];
    chosen_tokens += unit_length[static_cast<size_t>(batch.chosen[p])];
  }
  const double nll_tokens = options.nll_denominator > 0 ? options.nll_denominator : chosen_tokens;
  for (size_t p = 0; p < pairs; p++) {
    const size_t chosen = static_cast<size_t>(batch.chosen[p]), rejected = static_cast<size_t>(batch.rejected[p]);
    const Value delta = {score[chosen].x - score[rejected].x, score[chosen].error + score[rejected].error};
    Value loss, own_slope, margin, reward, other_reward;
    pair_of(options, delta, &loss, &own_slope);
    margin.add(options.beta * delta.x, options.beta * delta.error);
    reward.add(options.beta * score[chosen].x, options.beta * score[chosen].error);
    other_reward.add(options.beta * score[rejected].x, options.beta * score[rejected].error);
    out.pair_losses.push_back(loss);
    out.margins.push_back(margin);
    out.chosen_rewards.push_back(reward);
    out.rejected_rewards.push_back(other_reward);
    out.fewest_wins += delta.x > delta.error;
    out.most_wins += delta.x > (delta.error > 0 ? -delta.error : 0);
    times_chosen[chosen]++;
    if (nll_tokens > 0) out.nll_loss.add(unit_nll[chosen].x / nll_tokens, unit_nll[chosen].error / nll_tokens);
    const double weight = batch.weights[p] / denominator;
    if (weight == 0) continue;  // absent, be its loss infinite
    out.preference_loss.add(weight * loss.x, weight * loss.error);
    slope[chosen].add(weight * own_slope.x, weight * own_slope.error);
    slope[rejected].add(-weight * own_slope.x, weight * own_slope.error);
  }
  out.loss = out.preference_loss;
  if (options.nll_coef > 0) {
    out.loss.add(options.nll_coef * out.nll_loss.x, options.nll_coef * out.nll_loss.error);
  }
  const double pull = options.nll_coef > 0 && nll_tokens > 0 ? options.nll_coef / nll_tokens : 0;
  for (size_t k = 0; k < units; k++) {
    each_turn(k, [&](size_t t) {
      each_token(t, [&](size_t i) {
        if (!batch.keeps[i]) return;
        out.grad_logps[i].add(slope[k].x * share(t, k), slope[k].error * share(t, k));
        out.grad_logps[i].add(-times_chosen[k] * pull);
      });
    });
  }
  return out;
}

}  // namespace oracle
