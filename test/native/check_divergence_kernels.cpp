// The kernels of native/cpu/rows/divergence.h against their scalar references, in float64.
#include <cmath>
#include <limits>

#include "../../native/cpu/active.h"
#include "../../native/cpu/rows/divergence.h"
#include "../../native/divergence.h"
#include "native_checks.h"

using namespace sweet;

namespace {

constexpr int64_t kStride = 64;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kScaleX = 1.44269504f, kScaleY = 0.9f;

size_t at(int64_t i) { return static_cast<size_t>(i); }

enum class Data { normal, wide, masked, masked_in_y, masked_in_x, equal, count };

float element(Checks& checks, Data data, int64_t i, bool of_x) {
  const float x = static_cast<float>(checks.normal(data == Data::wide ? 60 : 3));
  const bool masked =
      data == Data::masked || (data == Data::masked_in_x && of_x) || (data == Data::masked_in_y && !of_x);
  return data == Data::equal ? 2.5f : masked && i % 3 == 1 ? -kInfinity : x;
}

bool agree(double ours, double expected, double bound) {
  return ours == expected || std::fabs(ours - expected) <= bound || (std::isnan(ours) && std::isnan(expected));
}

bool stats_agree(const PairStats& ours, const PairStats& expected) {
  PairStats moved = expected;  // relative to the same entries
  raise_pair_stats(&moved, ours.max_a, ours.max_b, kScaleX, kScaleY);
  const bool same = ours.unsupported == expected.unsupported;
  const double weighted = 1e-5 * (std::fabs(moved.weighted) + 200 * moved.sum_a);
  return same && agree(ours.sum_a, moved.sum_a, 4e-6 * moved.sum_a) &&
         agree(ours.sum_b, moved.sum_b, 4e-6 * moved.sum_b) &&
         (ours.unsupported || agree(ours.weighted, moved.weighted, weighted));
}

void check_tile(Checks& checks, const DivergenceKernels& kernels, Data data, int64_t entries, int64_t tokens) {
  std::vector<float> x(at(entries * kStride)), y(x.size());
  for (size_t i = 0; i < x.size(); i++) {
    x[i] = element(checks, data, static_cast<int64_t>(i), true);
    y[i] = element(checks, data, static_cast<int64_t>(i), false);
  }
  const PairTile tile{x.data(), y.data(), kStride, entries, tokens};
  std::vector<PairStats> stats(at(tokens), kEmptyPair);
  kernels.pair_stats(tile, stats.data(), kScaleX, kScaleY, false);
  std::vector<float> terms(at(7 * kStride), 0);
  float* const of[7] = {&terms[0],           &terms[kStride],     &terms[2 * kStride], &terms[3 * kStride],
                        &terms[4 * kStride], &terms[5 * kStride], &terms[6 * kStride]};
  PairStats one_row = kEmptyPair;
  for (int64_t i = 0; i < tokens; i++) {
    const PairStats expected = reference::pair_stats(tile, i, kScaleX, kScaleY);
    checks.expect(stats_agree(stats[at(i)], expected), "pair_stats", i);
    if (i < 16) merge_pair(&one_row, expected, kScaleX, kScaleY);
    // Any rows will do for the terms: these give probabilities where the sums are finite.
    of[0][i] = expected.max_a, of[1][i] = static_cast<float>(-std::log2(std::fmax(expected.sum_a, 1)));
    of[2][i] = expected.max_b, of[3][i] = static_cast<float>(-std::log2(std::fmax(expected.sum_b, 1)));
    of[4][i] = static_cast<float>(checks.normal(1)), of[5][i] = 0.25f;
  }
  if (tokens >= 16) {
    std::vector<PairStats> parts(16, kEmptyPair);
    kernels.pair_stats({x.data(), y.data(), kStride, entries, 16}, parts.data(), kScaleX, kScaleY, true);
    // Once more, relative to the largest entries that are known now.
    std::vector<PairStats> twice = parts;
    kernels.pair_stats({x.data(), y.data(), kStride, entries, 16}, twice.data(), kScaleX, kScaleY, true);
    PairStats all = kEmptyPair, all_twice = kEmptyPair;
    for (const PairStats& part : parts) merge_pair(&all, part, kScaleX, kScaleY);
    for (const PairStats& part : twice) merge_pair(&all_twice, part, kScaleX, kScaleY);
    checks.expect(stats_agree(all, one_row), "pair_stats of one row", entries);
    merge_pair(&one_row, one_row, kScaleX, kScaleY);
    checks.expect(stats_agree(all_twice, one_row), "pair_stats of two blocks", entries);
  }

  const PairRows rows{of[0], of[1], of[2], of[3], of[4], of[5], of[6], kScaleX, kScaleY};
  const float beta = 0.3f;
  std::vector<JsdSums> sums(at(tokens), JsdSums{0, 0});
  kernels.jsd_sums(tile, rows, beta, 1 - beta, sums.data());
  for (int64_t i = 0; i < tokens; i++) {
    const JsdSums expected = reference::jsd_sums(tile, rows, i, beta);
    checks.expect(agree(sums[at(i)].divergence, expected.divergence, 4e-6), "jsd", i);
    checks.expect(agree(sums[at(i)].kappa, expected.kappa, 4e-6), "kappa", i);
  }
  for (const Divergence type : {Divergence::forward_kl, Divergence::reverse_kl, Divergence::jsd}) {
    // Not to entries that are masked in y alone: the reverse KL is infinite there.
    if (type == Divergence::reverse_kl && data == Data::masked_in_y) continue;
    std::vector<float> out(x.size());
    kernels.gradient(tile, rows, type, beta, 1 - beta, out.data());
    std::vector<double> expected(at(entries));
    for (int64_t i = 0; i < tokens; i++) {
      reference::divergence_gradient(tile, rows, i, type, beta, expected.data());
      bool right = true;
      for (int64_t v = 0; v < entries; v++) {
        const double bound = std::fabs(of[4][i]) * (data == Data::wide ? 2e-4 : 1e-5);
        right &= agree(out[at(v * kStride + i)], expected[at(v)], bound);
      }
      checks.expect(right, "gradient", i);
    }
    std::vector<float> in_place = x;
    kernels.gradient({in_place.data(), y.data(), kStride, entries, tokens}, rows, type, beta, 1 - beta,
                     in_place.data());
    bool same = true;
    for (int64_t i = 0; i < entries * kStride; i++) {
      if (i % kStride < tokens) same &= in_place[at(i)] == out[at(i)] || std::isnan(out[at(i)]);
    }
    checks.expect(same, "gradient in place", entries);
  }
}

}  // namespace

void check_divergence_kernels(Checks& checks) {
  const DivergenceKernels& kernels = *active_kernels().divergence;
  for (int data = 0; data < static_cast<int>(Data::count); data++) {
    for (const int64_t entries : {1, 2, 95, 128}) {
      for (const int64_t tokens : {1, 4, 15, 16, 17, 33}) {
        check_tile(checks, kernels, static_cast<Data>(data), entries, tokens);
      }
    }
  }
}
