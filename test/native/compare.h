// The batches and options of native/ as the oracle takes them, and comparisons of results with it. Arrays are the
// host's.
#pragma once

#include "../../native/backend.h"
#include "../../native/preference_update.h"
#include "oracle.h"

/** Where comparisons go: the checks count them, the fuzzers stop at the first that fails. */
class Comparison {
 public:
  virtual ~Comparison() = default;

  /** Element i of a result, stored in a type whose largest number is `largest`. */
  virtual void close(const char* name, int64_t i, double ours, double expected, double bound,
                     double largest = oracle::kLargest) = 0;
  virtual void expect(bool fulfilled, const char* name, int64_t i) = 0;
};

/** Of the CPU. */
inline const char* active_backend() {
  for (int i = 0; i < sweet::kBackends; i++) {
    if (sweet::backend(i).active) return sweet::backend(i).name;
  }
  return "";
}

inline const oracle::Half* half_of(sweet::DType dtype) {
  return dtype == sweet::DType::float32    ? nullptr
         : dtype == sweet::DType::bfloat16 ? &oracle::kBfloat16
                                           : &oracle::kFloat16;
}

/** Of a valid batch. labels (may be null): a token counts where its checked label is not below 0. */
inline oracle::Batch oracle_batch(const sweet::PreferenceBatch& batch, const int32_t* labels) {
  oracle::Batch out;
  for (int64_t i = 0; i < batch.tokens; i++) {
    const bool kept = labels ? labels[i] >= 0 : sweet::is_kept(batch.labels, i);
    const float* const weights = batch.labels.weights;
    out.token_weights.push_back(!kept ? 0.0 : weights ? static_cast<double>(weights[i]) : 1.0);
  }
  out.turn_offsets.assign(batch.turn_offsets, batch.turn_offsets + batch.turns + 1);
  for (int64_t k = 0; k <= batch.items(); k++) {
    out.item_offsets.push_back(batch.of_trajectories() ? batch.trajectory_offsets[k] : k);
  }
  out.chosen.assign(batch.pairs.chosen, batch.pairs.chosen + batch.pairs.count);
  out.rejected.assign(batch.pairs.rejected, batch.pairs.rejected + batch.pairs.count);
  for (int64_t p = 0; p < batch.pairs.count; p++) {
    out.weights.push_back(batch.pairs.weights ? static_cast<double>(batch.pairs.weights[p]) : 1);
  }
  return out;
}

inline oracle::Loss oracle_loss(const sweet::PreferenceOptions& options) {
  return {static_cast<decltype(oracle::Loss::type)>(options.pair_loss.terms[0].type),
          static_cast<decltype(oracle::Loss::normalization)>(options.normalization),
          options.pair_loss.parameters.beta,
          options.pair_loss.parameters.label_smoothing,
          options.pair_denominator,
          options.nll_coef,
          options.nll_denominator};
}

/** labels as layout.h's checked labels: -1 ignored, -2 masked. */
inline void compare_rows(Comparison& to, const oracle::Head& head, const int32_t* labels, const sweet::LogpsOut& ours) {
  for (int64_t i = 0; i < head.rows; i++) {
    const oracle::Row row = head.row(i, labels[i]);
    to.close("logps", i, ours.logps[i], row.logp, row.logp_error);
    if (ours.lse) to.close("lse", i, ours.lse[i], row.lse, row.lse_error);
    if (ours.entropy) to.close("entropy", i, ours.entropy[i], row.entropy, row.entropy_error);
    if (ours.argmax) to.expect(head.is_argmax(i, labels[i], ours.argmax[i]), "argmax", i);
    if (ours.sum_squared_probs) {
      to.close("sumSquaredProbs", i, ours.sum_squared_probs[i], row.squares, row.squares_error);
    }
  }
}

/** Gradients of logits, rounded once to their storage type. */
inline void compare_logit_gradients(Comparison& to, const oracle::Head& head, const oracle::Gradients& expected,
                                    const int32_t* labels, const float* grad_logps, const void* ours,
                                    sweet::DType dtype, int64_t row_stride) {
  const oracle::Half* const half = half_of(dtype);
  for (int64_t i = 0; i < head.rows; i++) {
    for (int64_t v = 0; v < head.vocab; v++) {
      const size_t at = oracle::size(i * head.vocab + v);
      const double value = expected.values[at];
      // The powers of two of bfloat16 gradients have 18 bits.
      const double bound = expected.bounds[at] + (half == &oracle::kBfloat16 ? 0x1p-18 * std::fabs(value) : 0);
      const double gradient = oracle::value_at(half, ours, i * row_stride + v);
      if (labels[i] < 0) {
        to.expect(gradient == 0, "gradLogits of a row without a label", i);
      } else if (grad_logps && !std::isfinite(grad_logps[i])) {
        to.expect(!std::isfinite(gradient), "gradLogits of an infinite gradient", i);
      } else {
        const double rounding =
            half && std::isfinite(value) && bound < half->largest() ? half->ulp(std::fabs(value) + bound) / 2 : 0;
        to.close("gradLogits", static_cast<int64_t>(at), gradient, value, bound + rounding,
                 half ? half->largest() : oracle::kLargest);
      }
    }
  }
}

/** depth: the number of products that an element is the sum of. */
inline void compare_products(Comparison& to, const char* name, const oracle::Gradients& expected, const float* ours,
                             const float* before, int64_t depth) {
  for (size_t at = 0; at < expected.values.size(); at++) {
    double value = expected.values[at], bound = expected.bounds[at];
    const int64_t i = static_cast<int64_t>(at);
    if (before) {
      value += static_cast<double>(before[at]);
      // Groups of tiles and chunks of tokens are added one by one.
      bound += oracle::sum_error(2 + depth / 64) * std::fabs(static_cast<double>(before[at]));
    }
    if (bound == oracle::kInfinite) continue;
    if (std::isfinite(value)) {
      to.close(name, i, static_cast<double>(ours[at]), value, bound);
    } else {
      to.expect(!std::isfinite(ours[at]), name, i);
    }
  }
}

/** What gradients were added to; null where they were not. */
struct Before {
  const float *hidden, *weight, *bias;
};

/** [rows, columns] as [columns, rows]. */
inline oracle::Gradients transposed(const oracle::Gradients& from, int64_t rows, int64_t columns) {
  oracle::Gradients to = from;
  for (int64_t i = 0; i < rows * columns; i++) {
    const size_t at = oracle::size(i % columns * rows + i / columns);
    to.values[at] = from.values[oracle::size(i)], to.bounds[at] = from.bounds[oracle::size(i)];
  }
  return to;
}

/** The gradients of a linear head from those of its logits. */
inline void compare_head_gradients(Comparison& to, const oracle::Head& head, const oracle::Gradients& of_logits,
                                   const int32_t* labels, const sweet::HeadGradients& ours, const Before& before) {
  if (ours.hidden) {
    compare_products(to, "gradHidden", head.hidden_gradients(of_logits, labels), ours.hidden, before.hidden,
                     head.vocab);
  }
  if (ours.weight) {
    oracle::Gradients expected = head.weight_gradients(of_logits, labels);
    if (head.transposed) expected = transposed(expected, head.vocab, head.hidden_size);
    compare_products(to, "gradWeight", expected, ours.weight, before.weight, head.rows);
  }
  if (ours.bias) compare_products(to, "gradBias", head.bias_gradients(of_logits), ours.bias, before.bias, head.rows);
}

/** Results that are computed in float64 and rounded once to float32. */
inline void compare_values(Comparison& to, const char* name, const oracle::Array<oracle::Value>& expected,
                           const float* ours) {
  for (size_t i = 0; i < expected.size(); i++) {
    const oracle::Value& value = expected[i];
    const double rounding = oracle::kU * (std::fabs(value.x) + value.error) + oracle::kTiny / 4;
    to.close(name, static_cast<int64_t>(i), static_cast<double>(ours[i]), value.x, value.error + rounding);
  }
}

inline void compare_preference(Comparison& to, const oracle::Preference& expected, const sweet::PreferenceOut& ours) {
  const oracle::Value scalars[] = {expected.loss, expected.preference_loss, expected.nll_loss};
  const char* const names[] = {"loss", "preferenceLoss", "nllLoss"};
  for (int i = 0; i < 3; i++) {
    to.close(names[i], 0, ours.scalars[i], scalars[i].x, scalars[i].error + 1e-300, oracle::kInfinite);
  }
  const double wins = ours.scalars[3] * static_cast<double>(expected.margins.size());
  to.expect(wins > expected.fewest_wins - 1e-6 && wins < expected.most_wins + 1e-6, "accuracy", 0);
  compare_values(to, "pairLosses", expected.pair_losses, ours.pair_losses);
  compare_values(to, "margins", expected.margins, ours.margins);
  compare_values(to, "chosenRewards", expected.chosen_rewards, ours.chosen_rewards);
  compare_values(to, "rejectedRewards", expected.rejected_rewards, ours.rejected_rewards);
  compare_values(to, "turnAdvantages", expected.turn_advantages, ours.turn_advantages);
  compare_values(to, "gradLogps", expected.grad_logps, ours.grad_logps);
}
