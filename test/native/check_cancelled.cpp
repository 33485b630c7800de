#include <atomic>

#include "../../native/cancel.h"
#include "../../native/cpu/linear_tiles.h"
#include "../../native/cpu/preference.h"
#include "native_checks.h"
#include "operations.h"

using namespace sweet;

namespace {

/** Faults in the first row of everything that is checked: a pass that leaves at once does not find them. */
void spoil(Inputs& in) {
  in.labels[0] = static_cast<int32_t>(in.vocab);
  in.wide_labels[0] = in.vocab;
  in.mask[0] = 1;
  in.turn_offsets[0] = in.trajectory_offsets[0] = -1;
  in.chosen[0] = in.chosen_turns[0] = -1;
}

void check_passes(Checks& checks) {
  const int32_t bad = -1;
  int32_t checked = 42, other = 42;
  uint8_t keeps = 42;
  float weight = 42;
  const auto leaves = [&](Status status, const char* pass) { checks.same(status.code == Code::cancelled, pass); };
  leaves(check_labels({&bad, false, nullptr, -100}, 1, {0, 1, 1}, &checked), "check_labels");
  leaves(check_offsets(&bad, 0, 1, Code::turn_offsets, &checked), "check_offsets");
  leaves(check_pairs({&bad, &bad, nullptr, 1}, 1, &checked, &other, &weight), "check_pairs");
  leaves(copy_mask(nullptr, 1, &keeps), "copy_mask");
  checks.same(checked == 42 && other == 42 && keeps == 42 && weight == 42, "a cancelled pass wrote");

  Head head{};
  head.rows = 1;
  const int32_t sound = 0;
  checks.same(Tokens(head, &sound, true).count() == 0, "Tokens");
}

/** Cancelled after its check, a loss leaves its results as they were. */
void check_compute(Checks& checks, std::atomic<bool>& flag) {
  flag = false;
  const int32_t offsets[] = {0, 1, 2}, chosen = 0, rejected = 1;
  const float logps[] = {-1, -2}, ref_logps[] = {-2, -1};
  PreferenceOptions options{};
  options.pair_loss.beta = 1;
  const PreferenceBatch batch{2, nullptr, offsets, 2, offsets, 2, {&chosen, &rejected, nullptr, 1}};
  Preference preference(batch, options, Units::trajectories);
  checks.ok(preference.check(nullptr), "preference");
  flag = true;
  double scalars[4];
  float of_pair[4] = {42, 42, 42, 42}, advantages[] = {42, 42}, grad[] = {42, 42};
  preference.compute(logps, ref_logps, {scalars, of_pair, of_pair + 1, of_pair + 2, of_pair + 3, advantages, grad});
  for (const float x : {of_pair[0], of_pair[1], of_pair[2], of_pair[3], advantages[0], advantages[1], grad[0], grad[1]})
    checks.same(x == 42, "a cancelled loss wrote");
}

}  // namespace

void check_cancelled(Checks& checks, bool small) {
  std::vector<Inputs> all = hard_inputs(checks.random(), small);
  std::atomic<bool> flag{true};
  const Cancellable cancellable(&flag);
  check_passes(checks);
  for (Inputs& in : all) {
    for (const bool faulty : {false, true}) {
      if (faulty) spoil(in);
      for (const Operation& operation : operations()) {
        const std::string name = std::string(operation.name) + " of " + in.name();
        Outputs ours(in);
        checks.same(operation.run(in, ours).code == Code::cancelled, name + ": did not say that it was cancelled");
        checks.same(ours == Outputs(in), name + ": wrote though it was cancelled");
      }
    }
  }
  check_compute(checks, flag);
}
