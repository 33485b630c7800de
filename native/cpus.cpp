#include "cpus.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#ifdef _WIN32
#ifndef NOMINMAX  // libstdc++ for Windows defines it
#define NOMINMAX
#endif
#include <windows.h>
#endif
#ifdef __linux__
#include <sched.h>

#include <fstream>
#include <sstream>
#include <vector>
#endif

namespace sweet {
namespace {

constexpr double kNoQuota = std::numeric_limits<double>::infinity();

int machine_cpus() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

#ifdef __linux__

/** The parts of a line between blanks. */
std::vector<std::string> split_fields(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> found;
  for (std::string field; stream >> field;) found.push_back(field);
  return found;
}

/** Whether "cpu" is among the names of a list like "cpu,cpuacct". */
bool has_cpu(const std::string& list) { return ("," + list + ",").find(",cpu,") != std::string::npos; }

/** A mounted file system of cgroups: of v2, or of the v1 controller "cpu". Its folder `root` appears at `mount`. */
struct Hierarchy {
  bool v2;
  std::string root, mount;
};

/** Of /proc/self/mountinfo: id parent device root mount options ... - type source super_options. */
std::vector<Hierarchy> hierarchies(const std::string& root) {
  std::vector<Hierarchy> found;
  std::ifstream mounts(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const std::vector<std::string> fields = split_fields(line);
    const auto separator = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 6 || fields.end() - separator < 4) continue;
    const bool v2 = separator[1] == "cgroup2";
    if (v2 || (separator[1] == "cgroup" && has_cpu(separator[3]))) found.push_back({v2, fields[3], fields[4]});
  }
  return found;
}

/** The quota of one cgroup: "max" or "-1" for none, and the period in microseconds. */
double quota_of(const std::string& folder, bool v2) {
  double quota = -1, period = 0;
  if (v2) {
    std::ifstream(folder + "/cpu.max") >> quota >> period;  // of "max 100000", nothing is read as a number
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : kNoQuota;
}

/** The strictest quota of a cgroup and its ancestors. */
double quota_of_path(const std::string& mount, std::string path, bool v2) {
  double quota = quota_of(mount, v2);
  for (; path.size() > 1; path.erase(path.rfind('/'))) quota = std::min(quota, quota_of(mount + path, v2));
  return quota;
}

/** The path of a cgroup below the folder `root`, which a container may see as the top; "" for that folder itself. */
std::string below(const std::string& path, const std::string& root) {
  if (root == "/") return path;
  const bool inside =
      path.compare(0, root.size(), root) == 0 && (path.size() == root.size() || path[root.size()] == '/');
  return inside ? path.substr(root.size()) : "";
}

#endif

}  // namespace

#ifdef __linux__

int affinity_cpus() {
  unsigned long mask[1024];  // 65536 CPUs: a mask that is shorter than the kernel's is an error
  cpu_set_t* const cpus = reinterpret_cast<cpu_set_t*>(mask);
  return sched_getaffinity(0, sizeof(mask), cpus) == 0 ? std::max(1, CPU_COUNT_S(sizeof(mask), cpus)) : machine_cpus();
}

double quota_cpus(const std::string& root) {
  double quota = kNoQuota;
  const std::vector<Hierarchy> mounted = hierarchies(root);
  std::ifstream cgroups(root + "/proc/self/cgroup");  // lines: number:controllers:path, of v2 "0::path"
  for (std::string line; std::getline(cgroups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    for (const Hierarchy& each : mounted) {
      if (each.v2 ? !controllers.empty() : !has_cpu(controllers)) continue;
      quota = std::min(quota, quota_of_path(root + each.mount, below(path, each.root), each.v2));
    }
  }
  return quota;
}

#elif defined(_WIN32)

int affinity_cpus() {
  DWORD_PTR process = 0, machine = 0;
  if (!GetProcessAffinityMask(GetCurrentProcess(), &process, &machine)) return machine_cpus();
  int count = 0;
  for (; process != 0; process &= process - 1) count++;
  return count > 0 ? count : machine_cpus();  // 0: a process in several groups of processors
}

double quota_cpus(const std::string&) {
  JOBOBJECT_CPU_RATE_CONTROL_INFORMATION rate = {};
  constexpr DWORD kHardCap = JOB_OBJECT_CPU_RATE_CONTROL_ENABLE | JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP;
  const bool known =
      QueryInformationJobObject(nullptr, JobObjectCpuRateControlInformation, &rate, sizeof(rate), nullptr);
  if (!known || (rate.ControlFlags & kHardCap) != kHardCap) return kNoQuota;
  return rate.CpuRate / 10000.0 * machine_cpus();  // hundredths of a percent of the whole machine
}

#else

int affinity_cpus() { return machine_cpus(); }

double quota_cpus(const std::string&) { return kNoQuota; }

#endif

int usable_cpus(double quota) {
  return static_cast<int>(std::max(1.0, std::min<double>(affinity_cpus(), std::ceil(quota))));
}

}  // namespace sweet
