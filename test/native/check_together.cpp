#include <atomic>
#include <chrono>
#include <limits>

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

/** Every operation on every input, with what one caller and one thread make of it. */
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

void run_same(Checks& checks, const Case& each) {
  Outputs ours(*each.inputs);
  checks.ok(each.operation->run(*each.inputs, ours), each.name());
  checks.same(ours == each.expected, each.name() + ": other bits");
}

template <class T>
void put(T& element, T value) {
  __atomic_store(&element, &value, __ATOMIC_RELAXED);
}

/** Overwrites one element with what it must not be, then puts it back. */
template <class T>
void scribble(std::vector<T>& array, const std::vector<T>& sound, uint64_t round, const std::vector<T>& wild) {
  if (array.empty()) return;
  const size_t at = static_cast<size_t>(round * 2654435761u) % array.size();
  put(array[at], wild[round % wild.size()]);
  for (volatile int wait = 0; wait < 200; wait = wait + 1) {
  }
  put(array[at], sound[at]);
}

}  // namespace

void check_together(Checks& checks, bool small) {
  const std::vector<Inputs> inputs = hard_inputs(checks.random(), small);
  const std::vector<Case> cases = cases_of(checks, inputs);
  for (const int n : {2, 3, 64}) {
    set_threads(n);
    for (const Case& each : cases) run_same(checks, each);
  }
  const auto all_at_once = [&](auto use) {
    at_once(checks, small ? 2 : 6, [&](Checks& own, int caller) {
      for (size_t i = 0; i < cases.size(); i++) use(own, cases[(i + static_cast<size_t>(caller) * 5) % cases.size()]);
    });
  };
  const auto change_threads = [](uint64_t round) {
    set_threads(static_cast<int>(1 + round * 5 % 13));
    std::this_thread::sleep_for(std::chrono::microseconds(round % 97));
  };
  disturbed(change_threads, [&] { all_at_once(run_same); });

  // Which instruction set a call uses is open while another thread chooses one; that it ends well is not.
  std::vector<const char*> names;
  const char* before = nullptr;
  for (int i = 0; i < kBackends; i++) {
    const Backend each = backend(i);
    if (!each.unavailable) names.push_back(each.name);
    if (each.active) before = each.name;
  }
  disturbed([&](uint64_t round) { use_backend(names[round % names.size()]); },
            [&] {
              all_at_once([](Checks& own, const Case& each) {
                Outputs ours(*each.inputs);
                own.ok(each.operation->run(*each.inputs, ours), each.name());
              });
            });
  use_backend(before);
}

void check_scribbled(Checks& checks, bool small) {
  constexpr int32_t kMost = std::numeric_limits<int32_t>::max(), kLeast = std::numeric_limits<int32_t>::min();
  for (Inputs& in : hard_inputs(checks.random(), small)) {
    if (in.rows == 1) continue;
    const Inputs sound = in;
    const std::vector<int32_t> wild = {kMost, -1, kLeast, 0, static_cast<int32_t>(in.vocab), 2, 1 << 20, -100};
    const std::vector<int64_t> wild_labels = {int64_t{1} << 62, -1, int64_t{kLeast} - 1, int64_t{1} << 32, -100, 3};
    const std::vector<float> wild_weights = {NAN, -1, INFINITY, 0, 1e30f};
    const std::vector<Case> cases = [&] {
      std::vector<Case> all = cases_of(checks, {in});
      for (Case& each : all) each.inputs = &in;
      return all;
    }();
    set_threads(2);
    std::atomic<int64_t> refused{0};
    const auto overwrite = [&](uint64_t round) {
      scribble(in.labels, sound.labels, round, wild);
      scribble(in.wide_labels, sound.wide_labels, round, wild_labels);
      scribble(in.mask, sound.mask, round, {0, 1, 255});
      for (const auto array : {&Inputs::turn_offsets, &Inputs::trajectory_offsets, &Inputs::chosen, &Inputs::rejected,
                               &Inputs::chosen_turns, &Inputs::rejected_turns}) {
        scribble(in.*array, sound.*array, round, wild);
      }
      scribble(in.weights, sound.weights, round, wild_weights);
      scribble(in.turn_weights, sound.turn_weights, round, wild_weights);
    };
    disturbed(overwrite, [&] {
      at_once(checks, 2, [&](Checks& own, int) {
        for (int round = 0; round < (small ? 3 : 40); round++) {
          for (const Case& each : cases) {
            Outputs ours(in);
            const Outputs untouched = ours;
            const Status status = each.operation->run(in, ours);
            if (status.ok()) continue;
            refused++;
            own.same(status.code != Code::memory, each.name() + ": no memory");
            own.same(ours == untouched, each.name() + ": a refused call writes");
          }
        }
      });
    });
    for (const Case& each : cases) run_same(checks, each);
    printf("  %s: %lld calls refused\n", in.name().c_str(), static_cast<long long>(refused));
  }
}
