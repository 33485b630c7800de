// The preference loss over units: turns or whole trajectories. Split in two so that an update can refuse a bad batch
// before it reads the first logit.
#pragma once

#include "../preference.h"
#include "../scratch.h"

namespace sweet {

class Preference {
 public:
  Preference(const PreferenceBatch& batch, const PreferenceOptions& options, Units units);

  /** Copies and checks the batch. labels (may be null): a token whose checked label is negative is dropped as well. */
  Status check(const int32_t* labels);

  /** After check() said ok. out.grad_logps is the gradient of the loss, 0 at dropped tokens. */
  void compute(const float* logps, const float* ref_logps, const PreferenceOut& out);

 private:
  /** What a log-ratio of turn t counts in the score of its unit k. */
  double coefficient(int64_t t, int64_t k);

  const PreferenceBatch& batch_;
  const PreferenceOptions& options_;
  const Units kind_;
  const int64_t units_;
  Scratch<uint8_t> keeps_;                                             // [N]
  Scratch<int32_t> turn_offsets_, turn_lengths_, unit_offsets_;        // tokens of a turn, turns of a unit
  Scratch<int64_t> unit_lengths_;                                      // tokens of a unit
  Scratch<int32_t> chosen_, rejected_;                                 // [P]
  Scratch<float> weights_;                                             // [P]
  Scratch<double> unit_scores_, unit_slopes_, unit_logps_, unit_nll_;  // S, ∂loss/∂S, Σ logp, times chosen
};

/** Check and compute at once. */
Status preference_of(const PreferenceBatch& batch, const PreferenceOptions& options, Units units, const float* logps,
                     const float* ref_logps, const PreferenceOut& out);

}  // namespace sweet
