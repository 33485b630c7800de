// The checks of the operations, on the CPU's library or a GPU's, and what counts their comparisons.
#pragma once

#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "compare.h"

/** Counts comparisons and failures, and prints the first failures. */
class Checks : public Comparison {
 public:
  explicit Checks(uint64_t seed) : random(seed) {}

  /** What the comparisons are about from here on. */
  void begin(const std::string& name) { name_ = name; }

  void close(const char* what, int64_t i, double ours, double expected, double bound,
             double largest = oracle::kLargest) override {
    if (bound == oracle::kInfinite) return;
    comparisons++;
    if (oracle::is_close(ours, expected, bound, largest)) return;
    char numbers[160];
    snprintf(numbers, sizeof(numbers), "[%lld]: ours %.9g, expected %.9g +- %.3g, off %.3g", static_cast<long long>(i),
             ours, expected, bound, std::fabs(ours - expected));
    failed(what + std::string(numbers));
  }

  void expect(bool fulfilled, const char* what, int64_t i) override {
    comparisons++;
    if (!fulfilled) failed(what + (" at " + std::to_string(i)));
  }

  void expect(bool fulfilled, const std::string& what) {
    comparisons++;
    if (!fulfilled) failed(what);
  }

  void ok(const sweet::Status& status, const std::string& what = "the call") {
    expect(status.ok(), what + ": " + (status.device.operation ? status.device.operation : "refused") + " " +
                            (status.device.name ? status.device.name : std::to_string(static_cast<int>(status.code))));
  }

  void fault(const sweet::Status& status, sweet::Code code, int64_t index, int64_t value, const std::string& what) {
    expect(status.code == code && status.index == index && status.value == value,
           what + ": code " + std::to_string(static_cast<int>(status.code)) + " at " + std::to_string(status.index) +
               " with " + std::to_string(status.value));
  }

  double normal(double scale) { return scale * std::normal_distribution<double>()(random); }
  std::vector<double> normals(int64_t count, double scale) {
    std::vector<double> values(oracle::size(count));
    for (double& x : values) x = normal(scale);
    return values;
  }
  int64_t integer(int64_t begin, int64_t end) {
    return begin + static_cast<int64_t>(random() % static_cast<uint64_t>(end - begin));
  }

  int64_t comparisons = 0, failures = 0;
  std::mt19937_64 random;

 private:
  void failed(const std::string& what) {
    if (++failures <= 20) printf("%s: %s\n", name_.c_str(), what.c_str());
  }

  std::string name_;
};

/** The same bits, of NaN as well. */
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

void check_turns(Checks& checks, bool small);
void check_losses(Checks& checks, bool small);
void check_unpaired(Checks& checks, bool small);
void check_policy_gradient(Checks& checks, bool small);
void check_updates(Checks& checks, bool small);
void check_logits(Checks& checks, bool small);
void check_linear(Checks& checks, bool small);
void check_divergences(Checks& checks, bool small);

/** What only a GPU has: two kinds of matrix products, and working memory in chunks. */
void check_device(Checks& checks, bool small);
void check_cuda_references(Checks& checks);
