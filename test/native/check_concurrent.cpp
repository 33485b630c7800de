#include <atomic>
#include <chrono>
#include <limits>
#include <thread>

#include "../../native/backend.h"
#include "native_checks.h"
#include "operations.h"

using namespace sweet;

namespace {

/** Runs `disturb` over and over while `work` runs. */
void disturbed(const std::function<void(uint64_t round)>& disturb, const std::function<void()>& work) {
  std::atomic<bool> done{false};
  std::thread disturber([&] {
    for (uint64_t round = 0; !done; round++) disturb(round);
  });
  work();
  done = true;
  disturber.join();
}

struct Case {
  const Inputs* inputs;
  const Operation* operation;
  Outputs expected;

  std::string name() const { return std::string(operation->name) + " of " + inputs->name(); }
};

/** Every operation on every input, with its results for one caller and one thread. */
std::vector<Case> cases_of(Checks& checks, const std::vector<Inputs>& inputs) {
  set_threads(1);
  std::vector<Case> cases;
  for (const Inputs& in : inputs) {
    for (const Operation& operation : operations()) {
      cases.push_back({&in, &operation, Outputs(in)});
      checks.ok(operation.run(in, cases.back().expected), cases.back().name());
    }
  }
  return cases;
}

void expect_same_bits(Checks& checks, const Case& each) {
  Outputs out(*each.inputs);
  checks.ok(each.operation->run(*each.inputs, out), each.name());
  checks.expect(out == each.expected, each.name() + ": other bits");
}

template <class T>
void put(T& element, T value) {
  __atomic_store(&element, &value, __ATOMIC_RELAXED);
}

/** Overwrites one element with an invalid value for a moment. */
template <class T>
void overwrite(std::vector<T>& array, const std::vector<T>& valid, uint64_t round, const std::vector<T>& invalid) {
  if (array.empty()) return;
  const size_t at = static_cast<size_t>(round * 2654435761u) % array.size();
  put(array[at], invalid[round % invalid.size()]);
  for (volatile int wait = 0; wait < 200; wait = wait + 1) {
  }
  put(array[at], valid[at]);
}

}  // namespace

void concurrently(Checks& checks, int callers, const std::function<void(Checks& own, int caller)>& call) {
  std::vector<Checks> own;
  for (int i = 0; i < callers; i++) own.emplace_back(checks.random());
  std::vector<std::thread> threads;
  for (int i = 0; i < callers; i++) threads.emplace_back([&, i] { call(own[static_cast<size_t>(i)], i); });
  for (std::thread& thread : threads) thread.join();
  for (const Checks& each : own) checks.comparisons += each.comparisons, checks.failures += each.failures;
}

void check_concurrent(Checks& checks, bool small) {
  const std::vector<Inputs> inputs = hard_inputs(checks.random(), small);
  const std::vector<Case> cases = cases_of(checks, inputs);
  for (const int n : {2, 3, 64}) {
    set_threads(n);
    for (const Case& each : cases) expect_same_bits(checks, each);
  }
  const auto all_concurrently = [&](auto use) {
    concurrently(checks, small ? 2 : 6, [&](Checks& own, int caller) {
      for (size_t i = 0; i < cases.size(); i++) use(own, cases[(i + static_cast<size_t>(caller) * 5) % cases.size()]);
    });
  };
  const auto change_threads = [](uint64_t round) {
    set_threads(static_cast<int>(1 + round * 5 % 13));
    std::this_thread::sleep_for(std::chrono::microseconds(round % 97));
  };
  disturbed(change_threads, [&] { all_concurrently(expect_same_bits); });

  // While another thread changes the instruction set, a call may use either of them, but it must succeed.
  std::vector<const char*> names;
  const char* before = nullptr;
  for (int i = 0; i < kBackends; i++) {
    const Backend each = backend(i);
    if (!each.unavailable) names.push_back(each.name);
    if (each.active) before = each.name;
  }
  disturbed([&](uint64_t round) { use_backend(names[round % names.size()]); },
            [&] {
              all_concurrently([](Checks& own, const Case& each) {
                Outputs out(*each.inputs);
                own.ok(each.operation->run(*each.inputs, out), each.name());
              });
            });
  use_backend(before);
}

void check_overwritten(Checks& checks, bool small) {
  constexpr int32_t kMost = std::numeric_limits<int32_t>::max(), kLeast = std::numeric_limits<int32_t>::min();
  for (Inputs& in : hard_inputs(checks.random(), small)) {
    if (in.rows == 1) continue;
    const Inputs valid = in;
    const std::vector<int32_t> integers = {kMost, -1, kLeast, 0, static_cast<int32_t>(in.vocab), 2, 1 << 20, -100};
    const std::vector<int64_t> wide_labels = {int64_t{1} << 62, -1, int64_t{kLeast} - 1, int64_t{1} << 32, -100, 3};
    const std::vector<float> weights = {NAN, -1, INFINITY, 0, 1e30f};
    std::vector<Case> cases = cases_of(checks, {in});
    for (Case& each : cases) each.inputs = &in;
    set_threads(2);
    std::atomic<int64_t> refused{0};
    const auto overwrite_each = [&](uint64_t round) {
      overwrite(in.labels, valid.labels, round, integers);
      overwrite(in.wide_labels, valid.wide_labels, round, wide_labels);
      overwrite(in.mask, valid.mask, round, {0, 1, 255});
      overwrite(in.token_weights, valid.token_weights, round, weights);
      overwrite(in.turn_offsets, valid.turn_offsets, round, integers);
      overwrite(in.trajectory_offsets, valid.trajectory_offsets, round, integers);
      for (const int level : {0, 1}) {
        overwrite(in.pairs[level].chosen, valid.pairs[level].chosen, round, integers);
        overwrite(in.pairs[level].rejected, valid.pairs[level].rejected, round, integers);
        overwrite(in.pairs[level].weights, valid.pairs[level].weights, round, weights);
      }
    };
    disturbed(overwrite_each, [&] {
      concurrently(checks, 2, [&](Checks& own, int) {
        for (int round = 0; round < (small ? 3 : 40); round++) {
          for (const Case& each : cases) {
            Outputs out(in);
            const Outputs before = out;
            const Status status = each.operation->run(in, out);
            if (status.ok()) continue;
            refused++;
            own.expect(status.code != Code::memory, each.name() + ": no memory");
            own.expect(out == before, each.name() + ": a refused call writes");
          }
        }
      });
    });
    for (const Case& each : cases) expect_same_bits(checks, each);
    printf("  %s: %lld calls refused\n", in.name().c_str(), static_cast<long long>(refused));
  }
}
