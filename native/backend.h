// The instruction sets of this build, best first; one of them is active for the whole process.
#pragma once

namespace sweet {

struct Backend {
  const char* name;
  const char* unavailable;  // why it cannot be used here; null when it can
  bool active;
};

constexpr int kBackends = 5;

/** 0 <= i < kBackends. */
Backend backend(int i);

/** False for an unknown or unavailable backend. */
bool use_backend(const char* name);

constexpr int kMaxThreads = 256;

/** The most threads of a large call, including the caller's; process-wide, and any thread may change it at any time. */
int threads();
void set_threads(int n);  // 1 <= n <= kMaxThreads

}  // namespace sweet
