#include <atomic>
#include <thread>

#include "../../native/cancel.h"
#include "../../native/cpu/gemm/tiles.h"
#include "../../native/cpu/parallel.h"
#include "../../native/cpu/preference_loss.h"
#include "native_checks.h"
#include "operations.h"

using namespace sweet;

namespace {

/** Faults in the first row of all that is checked; a pass that ends at once does not find them. */
void invalidate(Inputs& in) {
  in.labels[0] = static_cast<int32_t>(in.vocab);
  in.wide_labels[0] = in.vocab;
  in.mask[0] = 1;
  in.turn_offsets[0] = in.trajectory_offsets[0] = -1;
  for (PairArrays& pairs : in.pairs) pairs.chosen[0] = -1;
}

void check_passes(Checks& checks) {
  const int32_t bad = -1;
  int32_t checked = 42, other = 42;
  uint8_t unmasked = 42;
  float weight = 42;
  const float not_a_weight = -1;
  const auto expect_cancelled = [&](Status status, const char* pass) {
    checks.expect(status.code == Code::cancelled, pass);
  };
  expect_cancelled(check_labels({&bad, false, nullptr, -100}, 1, {0, 1, 1}, &checked), "check_labels");
  expect_cancelled(check_offsets(&bad, 0, 1, Code::turn_offsets, &checked), "check_offsets");
  expect_cancelled(check_pairs({&bad, &bad, nullptr, 1}, 1, &checked, &other, &weight), "check_pairs");
  expect_cancelled(copy_kept({}, 1, &unmasked), "copy_kept");
  expect_cancelled(check_weights({nullptr, false, nullptr, 0, &not_a_weight}, 1, &unmasked, &weight), "check_weights");
  checks.expect(checked == 42 && other == 42 && unmasked == 42 && weight == 42, "a cancelled pass writes");

  Head head{};
  head.rows = 1;
  const int32_t label = 0;
  checks.expect(CompactRows(head, &label, true).count() == 0, "CompactRows");
}

/** A loop that is cancelled by one of its items runs none after it. */
void check_loop(Checks& checks, std::atomic<bool>& flag) {
  flag = false;
  int64_t items = 0, blocks = 0;
  parallel_for(1, 100, int64_t{1} << 30, [&](int64_t i, int) { items++, flag = i == 3; });
  checks.expect(items == 4, "a cancelled loop goes on");
  flag = false;
  for (Blocks block(0, int64_t{1} << 40); block.next();) blocks++, flag = true;
  checks.expect(blocks == 1, "a cancelled loop over blocks goes on");
}

/** A loss that is cancelled after its check writes nothing. */
void check_compute(Checks& checks, std::atomic<bool>& flag) {
  flag = false;
  const int32_t offsets[] = {0, 1, 2}, chosen = 0, rejected = 1;
  const float logps[] = {-1, -2}, ref_logps[] = {-2, -1};
  PreferenceOptions options{};
  options.pair_loss = pair_loss_of(LossType::sigmoid, 1);
  const PreferenceBatch batch{PreferenceLevel::trajectory,     2, 2, 2, {}, offsets, offsets,
                              {&chosen, &rejected, nullptr, 1}};
  double scalars[4];
  float pairs[4] = {42, 42, 42, 42}, advantages[] = {42, 42}, grad[] = {42, 42};
  PreferenceComputation preference(batch, options, {scalars, pairs, pairs + 1, pairs + 2, pairs + 3, advantages, grad});
  checks.ok(preference.check(nullptr), "preference");
  flag = true;
  preference.compute({logps, ref_logps, nullptr});
  for (const float x : {pairs[0], pairs[1], pairs[2], pairs[3], advantages[0], advantages[1], grad[0], grad[1]})
    checks.expect(x == 42, "a cancelled loss writes");
}

/** A cancelled call ends on all of its threads: ranges that no thread has taken are not computed. */
void check_threads(Checks& checks, std::atomic<bool>& flag) {
  flag = false;
  set_threads(2);
  constexpr int64_t kItems = 1000;
  std::atomic<int64_t> computed{0};
  std::atomic<int> running{0};
  bool started[2] = {};
  parallel_for(2, kItems, INT64_MAX, [&](int64_t, int worker) {
    if (!started[worker]) {  // the first item of each thread waits for the other thread
      started[worker] = true;
      running++;
      while (running.load() < 2) std::this_thread::yield();
      flag = true;
    }
    computed++;
  });
  checks.expect(computed < kItems, "a thread of a cancelled call goes on");
}

}  // namespace

void check_cancelled(Checks& checks, bool small) {
  std::vector<Inputs> all = hard_inputs(checks.random(), small);
  std::atomic<bool> flag{true};
  const Cancellable cancellable(&flag);
  check_passes(checks);
  for (Inputs& in : all) {
    for (const bool faulty : {false, true}) {
      if (faulty) invalidate(in);
      for (const Operation& operation : operations()) {
        const std::string name = std::string(operation.name) + " of " + in.name();
        Outputs out(in);
        checks.expect(operation.run(in, out).code == Code::cancelled, name + ": not cancelled");
        checks.expect(out == Outputs(in), name + ": a cancelled call writes");
      }
    }
  }
  check_compute(checks, flag);
  check_threads(checks, flag);
  check_loop(checks, flag);
}
