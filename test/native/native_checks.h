// The checks that only the CPU has, beside those of checks.h.
#pragma once

#include <functional>

#include "checks.h"

/** Calls `call` from several threads at once, each with checks of its own, which are added up afterwards. */
void concurrently(Checks& checks, int callers, const std::function<void(Checks& own, int caller)>& call);

/** Calls that are cancelled before they start: every pass ends at once, and nothing is written. */
void check_cancelled(Checks& checks, bool small);

/** Allocations that fail: Code::memory, and nothing is written. */
void check_memory(Checks& checks, bool small);

void check_pool(Checks& checks, bool small);

/** Many callers, while the number of threads changes: the bits of one caller with one thread. */
void check_concurrent(Checks& checks, bool small);

/** Labels, masks, offsets and pairs overwritten concurrently with the calls: a result or a clean error. */
void check_overwritten(Checks& checks, bool small);

/** The scalar references of native/cpu/rows and native/cpu/gemm against the active kernels. */
void check_kernels(Checks& checks, bool small);
void check_divergence_kernels(Checks& checks);
