// The threads of a block are fibers: one runs until a barrier, a warp intrinsic or its return, then another is chosen.
// Blocks run one after another, in a random order. The next thread of a block is chosen uniformly, or it is the one
// that became ready last, by which one warp can run far ahead of the others. Each of the two finds faults that the
// other does not.
#include "scheduler.h"

#include <sys/mman.h>

#include <boost/context/fiber.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <numeric>
#include <sstream>
#include <vector>

#include "control.h"
#include "cuda_emulator.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

EmulatedThread emulated_thread;

namespace emulator {

Listener* listener = nullptr;

namespace {

constexpr int kLanes = 32;
constexpr int kVote = -1;  // asks for the votes of all lanes instead of one lane's value

uint64_t random_state = 1;
std::string first_report;

// -- fibers

#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStackBytes = 128 << 10;
#else
constexpr size_t kStackBytes = 64 << 10;
#endif

/** Thread i of every block has stack i; below each lies an inaccessible page. */
struct PooledStack {
  unsigned index;

  boost::context::stack_context allocate() const {
    static char* const all = [] {
      constexpr size_t bytes = kStackBytes * kMaxThreads, guard = 4096;
      void* const memory =
          mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory == MAP_FAILED) abort();
      for (size_t at = 0; at < bytes; at += kStackBytes) mprotect(static_cast<char*>(memory) + at, guard, PROT_NONE);
      return static_cast<char*>(memory);
    }();
    boost::context::stack_context stack;
    stack.size = kStackBytes - 4096;
    stack.sp = all + (index + 1) * kStackBytes;
    return stack;
  }
  void deallocate(boost::context::stack_context&) const {}
};

struct Fiber {
  boost::context::fiber suspended;
  const void* stack = nullptr;  // the rest is for AddressSanitizer, which is told of every switch
  size_t stack_bytes = 0;
  void* fake_stack = nullptr;
};

Fiber host;  // started the grid
Fiber* left_from;

void leave([[maybe_unused]] Fiber& from, [[maybe_unused]] const Fiber& to, [[maybe_unused]] bool for_good) {
  left_from = &from;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake_stack, to.stack, to.stack_bytes);
#endif
}

void arrive([[maybe_unused]] Fiber& at, boost::context::fiber&& came_from) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(at.fake_stack, &left_from->stack, &left_from->stack_bytes);
#endif
  left_from->suspended = std::move(came_from);
}

void switch_to(Fiber& self, Fiber& next) {
  leave(self, next, false);
  arrive(self, std::move(next.suspended).resume());
}

// -- the block that runs

enum class State { ready, waiting, returned };

struct Thread {
  Fiber fiber;
  uint3 index;
  State state;
  Site site;  // where it waits
  uint64_t value, received;
  int from_lane;  // whose value it asked for, or kVote
};

/** Lanes of a warp that wait for each other at one place. */
struct WarpSync {
  unsigned mask, arrived;
  Site site;
};

struct Warp {
  unsigned live;
  std::vector<WarpSync> syncs;
};

Thread threads[kMaxThreads];
std::vector<Warp> warps;
std::vector<int> ready;
int block_threads, live, in_barrier;
Site barrier_site;
bool failed, last_ready_first;
int running = kOutside;
const std::function<void()>* thread_body;

struct Unwind {};  // thrown in every thread of a failed block

std::string text_of(const Site& site) {
  std::string file = site.file;
  return std::string(site.what) + " at " + file.substr(file.rfind('/') + 1) + ":" + std::to_string(site.line);
}

std::string text_of(const uint3& index) {
  std::ostringstream out;
  out << '(' << index.x << ',' << index.y << ',' << index.z << ')';
  return out.str();
}

std::string running_thread() {
  return "thread " + text_of(threads[running].index) + " of block " + text_of(emulated_thread.block_index);
}

bool same(const Site& a, const Site& b) {
  return a.line == b.line && strcmp(a.what, b.what) == 0 && strcmp(a.file, b.file) == 0;
}

[[noreturn]] void fail(const std::string& what) {
  record_violation(what);
  throw Unwind{};
}

[[noreturn]] void fail_deadlock() {
  std::map<std::string, int> places;
  for (int i = 0; i < block_threads; i++) {
    if (threads[i].state == State::waiting) places[text_of(threads[i].site)]++;
  }
  std::string what = "deadlock in block " + text_of(emulated_thread.block_index);
  for (const auto& [place, count] : places) what += ", " + std::to_string(count) + " threads wait in " + place;
  fail(what);
}

void make_ready(int thread) {
  threads[thread].state = State::ready;
  ready.push_back(thread);
}

/** The next to run: a ready thread, or the host when all have returned. */
Fiber& next_fiber() {
  if (live == 0) return host;
  if (failed) {  // every thread that has not returned unwinds
    for (running = 0; threads[running].state == State::returned;) running++;
    return threads[running].fiber;
  }
  if (ready.empty()) fail_deadlock();
  if (!last_ready_first) std::swap(ready[random_below(ready.size())], ready.back());
  running = ready.back();
  ready.pop_back();
  emulated_thread.thread_index = threads[running].index;
  return threads[running].fiber;
}

void wait(const Site& site) {
  threads[running].state = State::waiting;
  threads[running].site = site;
}

/** Other threads run until this one is chosen again. */
void yield() {
  Fiber& self = threads[running].fiber;
  Fiber& next = next_fiber();
  if (&next != &self) switch_to(self, next);
  if (failed) throw Unwind{};
}

void complete_sync(int warp, size_t at) {
  auto& syncs = warps[static_cast<size_t>(warp)].syncs;
  const WarpSync sync = syncs[at];
  syncs.erase(syncs.begin() + static_cast<std::ptrdiff_t>(at));
  Thread* const lanes = threads + warp * kLanes;
  const auto arrived = [&](int i) { return (sync.arrived >> i & 1) != 0; };

  unsigned votes = 0;
  for (int i = 0; i < kLanes; i++) votes |= static_cast<unsigned>(arrived(i) && lanes[i].value != 0) << i;
  for (int i = 0; i < kLanes; i++) {
    if (!arrived(i)) continue;
    const int from = lanes[i].from_lane;
    if (from != kVote && !arrived(from)) {
      fail("lane " + std::to_string(i) + " asks for the value of lane " + std::to_string(from) + ", which is not in " +
           text_of(sync.site));
    }
    lanes[i].received = from == kVote ? votes : lanes[from].value;
    make_ready(warp * kLanes + i);
  }
  if (listener && strcmp(sync.site.what, "__syncwarp") == 0) listener->warp_synced(warp, sync.arrived);
}

/** Waits for the other live lanes of the mask at the same place. */
uint64_t warp_sync(unsigned mask, uint64_t value, int from_lane, const Site& site) {
  Thread& self = threads[running];
  const int own_warp = running / kLanes, own_lane = running % kLanes;
  Warp& warp = warps[static_cast<size_t>(own_warp)];
  if (!(mask >> own_lane & 1)) fail(running_thread() + " is not in the mask that it gives to " + text_of(site));
  size_t at = warp.syncs.size();
  for (size_t i = 0; i < warp.syncs.size(); i++) {
    const WarpSync& other = warp.syncs[i];
    if (other.mask == mask && same(other.site, site)) {
      at = i;
    } else if ((other.mask >> own_lane & 1) && (other.arrived & mask)) {
      fail(running_thread() + " is in " + text_of(site) + " while lanes that it waits for wait for it in " +
           text_of(other.site));
    }
  }
  if (at == warp.syncs.size()) warp.syncs.push_back({mask, 0, site});
  warp.syncs[at].arrived |= 1u << own_lane;
  self.value = value;
  self.from_lane = from_lane;
  wait(site);
  if (warp.syncs[at].arrived == (mask & warp.live)) complete_sync(own_warp, at);
  yield();
  return self.received;
}

void thread_returned() {
  threads[running].state = State::returned;
  live--;
  const int own_warp = running / kLanes;
  Warp& warp = warps[static_cast<size_t>(own_warp)];
  warp.live &= ~(1u << running % kLanes);
  if (failed) return;
  if (in_barrier > 0) fail(running_thread() + " returned while others wait in " + text_of(barrier_site));
  for (size_t i = warp.syncs.size(); i-- > 0;) {
    if (warp.syncs[i].arrived == (warp.syncs[i].mask & warp.live)) complete_sync(own_warp, i);
  }
}

boost::context::fiber thread_main(Fiber& self, boost::context::fiber&& came_from) {
  arrive(self, std::move(came_from));
  try {
    if (!failed) (*thread_body)();
  } catch (const Unwind&) {
  }
  Fiber* next = nullptr;
  try {
    thread_returned();
    next = &next_fiber();
  } catch (const Unwind&) {
    next = &next_fiber();
  }
  leave(self, *next, true);
  return std::move(next->suspended);
}

void start_thread(int i, const uint3& index) {
  Thread& thread = threads[i];
  thread.index = index;
  const PooledStack stack{static_cast<unsigned>(i)};
  const boost::context::stack_context memory = stack.allocate();
  thread.fiber.stack = static_cast<char*>(memory.sp) - memory.size;
  thread.fiber.stack_bytes = memory.size;
  thread.fiber.fake_stack = nullptr;
  Fiber& fiber = thread.fiber;
  fiber.suspended = boost::context::fiber(std::allocator_arg, stack, [&fiber](boost::context::fiber&& came_from) {
    return thread_main(fiber, std::move(came_from));
  });
  make_ready(i);
}

void run_block(const uint3& index, const dim3& size) {
  emulated_thread.block_index = index;
  block_threads = live = static_cast<int>(size.x * size.y * size.z);
  in_barrier = 0;
  failed = false;
  last_ready_first = random_below(2) == 0;
  ready.clear();
  warps.assign(static_cast<size_t>((live + kLanes - 1) / kLanes), Warp{});
  if (listener) listener->block_started();
  for (int i = 0; i < block_threads; i++) {
    const unsigned u = static_cast<unsigned>(i);
    warps[u / kLanes].live |= 1u << u % kLanes;
    start_thread(i, {u % size.x, u / size.x % size.y, u / size.x / size.y});
  }
  for (size_t i = ready.size(); i > 1; i--) std::swap(ready[i - 1], ready[random_below(i)]);
  switch_to(host, next_fiber());
  running = kOutside;
}

}  // namespace

void set_seed(uint64_t seed) { random_state = seed * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u; }

size_t random_below(size_t n) {
  // splitmix64
  random_state += 0x9e3779b97f4a7c15u;
  uint64_t x = random_state;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return static_cast<size_t>((x ^ x >> 31) % n);
}

const std::string& report() { return first_report; }

void clear_report() { first_report.clear(); }

void record_violation(const std::string& what) {
  if (first_report.empty()) first_report = what;
  failed = true;
}

int current_thread() { return running; }
int lane() { return running % kLanes; }

void barrier(const Site& site) {
  if (live != block_threads) fail(running_thread() + " is in " + text_of(site) + " after others have returned");
  if (in_barrier > 0 && !same(barrier_site, site)) {
    fail(running_thread() + " is in " + text_of(site) + " while others are in " + text_of(barrier_site));
  }
  barrier_site = site;
  wait(site);
  if (++in_barrier == live) {
    in_barrier = 0;
    for (int i = 0; i < block_threads; i++) make_ready(i);
    if (listener) listener->block_synced();
  }
  yield();
}

void warp_barrier(unsigned mask, const Site& site) { warp_sync(mask, 0, kVote, site); }
unsigned vote(unsigned mask, bool predicate, const Site& site) {
  return static_cast<unsigned>(warp_sync(mask, predicate, kVote, site));
}
uint64_t shuffle(unsigned mask, uint64_t bits, int from_lane, const Site& site) {
  return warp_sync(mask, bits, from_lane, site);
}
void atomic_access(void* address, size_t size, const void* code) {
  if (listener) listener->atomic(address, size, code);
}

bool run_grid(dim3 grid, dim3 size, const std::function<void()>& thread) {
  emulated_thread.grid_size = grid;
  emulated_thread.block_size = size;
  thread_body = &thread;
  if (listener) listener->launch_started();
  std::vector<uint64_t> order(uint64_t{grid.x} * grid.y * grid.z);
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random_below(i)]);
  for (const uint64_t i : order) {
    const uint64_t row = i / grid.x;
    run_block(
        {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(row % grid.y), static_cast<unsigned>(row / grid.y)},
        size);
    if (failed) return false;
  }
  return true;
}

}  // namespace emulator
