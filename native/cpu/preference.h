// The preference loss over units: turns or whole trajectories. Split in two so that an update can refuse a bad batch
// before it reads the first logit.
#pragma once

#include "../preference.h"
#include "../scratch.h"

namespace sweet {

class Preference {
 public:
  Preference(const PreferenceBatch& batch, const PreferenceOptions& options, Units units);

  /** Copies and checks the batch. With checked labels (may be null), they tell what is dropped, by the mask as well. */
  Status check(const int32_t* labels);

  /** After check() said ok. out.grad_logps is the gradient of the loss, 0 at dropped tokens. */
  void compute(const float* logps, const float* ref_logps, const PreferenceOut& out);

  int64_t pairs() const { return batch_.pairs.count; }

  /**
   * Whether the gradient at every token of a pair is one number, known with the pair's scores, times what is known
   * before: no unit is in two pairs, and there is no NLL.
   */
  bool separable() const;

  /**
   * The kept tokens of pair p; counts[i] becomes what the log-prob of token i counts in the difference of the pair's
   * scores. Room for all N in both; the number of tokens is returned. Pair -1: the units that are in no pair.
   */
  int64_t tokens_of_pair(int64_t p, int64_t* rows, float* counts) const;

  /** dloss/d(score of the chosen unit - score of the rejected one). */
  double pair_slope(int64_t p, const float* logps, const float* ref_logps) const;

 private:
  /** What a log-ratio of turn t counts in the score of its unit k. */
  double coefficient(int64_t t, int64_t k) const;

  /** sum over the kept tokens of turn t of logp - ref logp. */
  double log_ratios(int64_t t, const float* logps, const float* ref_logps) const;

  const PreferenceBatch& batch_;
  const PreferenceOptions& options_;
  const Units kind_;
  const int64_t units_;
  Scratch<uint8_t> keeps_;                                             // [N]
  Scratch<int32_t> turn_offsets_, turn_lengths_, unit_offsets_;        // tokens of a turn, turns of a unit
  Scratch<int64_t> unit_lengths_;                                      // tokens of a unit
  Scratch<int32_t> chosen_, rejected_;                                 // [P]
  Scratch<float> weights_;                                             // [P]
  Scratch<int32_t> unit_pairs_;                                        // in how many pairs a unit is
  Scratch<double> unit_scores_, unit_slopes_, unit_logps_, unit_nll_;  // S, dloss/dS, sum logp, times chosen
  bool shared_ = false;                                                // whether some unit is in several pairs
  double denominator_ = 0;                                             // of the pairs' losses
};

/** Check and compute at once. */
Status preference_of(const PreferenceBatch& batch, const PreferenceOptions& options, Units units, const float* logps,
                     const float* ref_logps, const PreferenceOut& out);

}  // namespace sweet
