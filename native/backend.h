// The instruction sets that this build knows, best first; one of them is active for the whole process.
#pragma once

namespace sweet {

struct Backend {
  const char* name;
  const char* unavailable;  // why it cannot be used here; null when it can
  bool active;
};

constexpr int kBackends = 5;

/** i in 0 ... kBackends-1. */
Backend backend(int i);

/** False if there is no such backend or it cannot be used here. */
bool use_backend(const char* name);

constexpr int kMaxThreads = 256;

/** Threads that a large call may use, the caller's own included; process-wide. Another thread may set them any time. */
int threads();
void set_threads(int n);  // 1 ... kMaxThreads

}  // namespace sweet
