// How many CPUs this process may use, which can be fewer than the machine has: its affinity, and the quotas of
// containers.
#pragma once

#include <string>

namespace sweet {

/** CPUs of the affinity mask (Linux, Windows), else of the machine; at least 1. */
int affinity_cpus();

/**
 * CPUs by the strictest quota of the process's cgroups, v1 and v2, and their ancestors (Linux), or of its job
 * (Windows); infinity without one. `root` stands before /proc and the folders of the cgroups' file systems.
 */
double quota_cpus(const std::string& root = "");

/** The smaller of both, the quota rounded up; at least 1. */
int usable_cpus(double quota);

}  // namespace sweet
