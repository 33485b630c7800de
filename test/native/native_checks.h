// The checks of the CPU's kernels beside those that bench/cuda has for every kind of device.
#pragma once

#include <cstdio>
#include <functional>
#include <thread>
#include <vector>

#include "../../bench/cuda/checks.h"

/** What callers do at the same time, each with checks of its own, which are added up afterwards. */
inline void at_once(Checks& checks, int callers, const std::function<void(Checks& own, int caller)>& call) {
  std::vector<Checks> own;
  for (int i = 0; i < callers; i++) own.emplace_back(checks.random());
  std::vector<std::thread> threads;
  for (int i = 0; i < callers; i++) threads.emplace_back([&, i] { call(own[static_cast<size_t>(i)], i); });
  for (std::thread& thread : threads) thread.join();
  for (const Checks& each : own) checks.comparisons += each.comparisons, checks.failures += each.failures;
}

/** Calls that are cancelled from the start: every pass leaves at once, and nothing is written. */
void check_cancelled(Checks& checks, bool small);

void check_linear(Checks& checks);
void check_pool(Checks& checks, bool small);

/** Many callers, while the number of threads changes: the bits of one caller with one thread. */
void check_together(Checks& checks, bool small);

/** Callers whose labels, masks, offsets and pairs are overwritten all the time: a result or a clean error. */
void check_scribbled(Checks& checks, bool small);
