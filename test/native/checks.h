// Comparisons with float64, and what the checks of each operation share.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>

#include "../../native/status.h"

/** What was compared and what was wrong; the first mismatches are printed. */
class Checks {
 public:
  explicit Checks(uint64_t seed) : random(seed) {}

  void close(double ours, double expected, double tolerance, const std::string& what) {
    comparisons++;
    if (ours == expected || std::fabs(ours - expected) <= tolerance || (std::isnan(ours) && std::isnan(expected)))
      return;
    wrong(what + ": ours " + std::to_string(ours) + ", expected " + std::to_string(expected) + ", off " +
          std::to_string(std::fabs(ours - expected)));
  }

  void ok(const sweet::Status& status, const std::string& what) {
    comparisons++;
    if (status.ok()) return;
    wrong(what + ": " + (status.device.operation ? status.device.operation : "refused") + " " +
          (status.device.name ? status.device.name : std::to_string(static_cast<int>(status.code))));
  }

  void fault(const sweet::Status& status, sweet::Code code, int64_t index, int64_t value, const std::string& what) {
    comparisons++;
    if (status.code == code && status.index == index && status.value == value) return;
    wrong(what + ": code " + std::to_string(static_cast<int>(status.code)) + " at " + std::to_string(status.index) +
          " with " + std::to_string(status.value));
  }

  void same(bool equal, const std::string& what) {
    comparisons++;
    if (!equal) wrong(what);
  }

  double normal(double scale) { return scale * std::normal_distribution<double>()(random); }
  int64_t integer(int64_t begin, int64_t end) {
    return begin + static_cast<int64_t>(random() % static_cast<uint64_t>(end - begin));
  }

  int64_t comparisons = 0, failures = 0;
  std::mt19937_64 random;

 private:
  void wrong(const std::string& what) {
    if (++failures <= 20) printf("%s\n", what.c_str());
  }
};

void check_turns(Checks& checks, bool small);
void check_losses(Checks& checks, bool small);
void check_updates(Checks& checks, bool small);
void check_rows(Checks& checks, bool small);
void check_linear(Checks& checks, bool small);

/** What only a GPU has: two kinds of matrix products, and working memory in chunks. */
void check_device(Checks& checks, bool small);
void check_cuda_references(Checks& checks);
