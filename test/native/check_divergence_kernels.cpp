// The kernels of native/cpu/rows/pair_rows.h and gemm/pair_tiles.h against their scalar references, in float64.
#include <cmath>
#include <cstring>
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
  kernels.tile_stats(tile, stats.data(), kScaleX, kScaleY);
  std::vector<float> terms(at(7 * kStride), 0);
  float* const of[7] = {&terms[0],           &terms[kStride],     &terms[2 * kStride], &terms[3 * kStride],
                        &terms[4 * kStride], &terms[5 * kStride], &terms[6 * kStride]};
  for (int64_t i = 0; i < tokens; i++) {
    const PairStats expected = reference::pair_stats(tile, i, kScaleX, kScaleY);
    checks.expect(stats_agree(stats[at(i)], expected), "tile_stats", i);
    // Any rows will do for the terms: these give probabilities where the sums are finite.
    of[0][i] = expected.max_a, of[1][i] = static_cast<float>(-std::log2(std::fmax(expected.sum_a, 1)));
    of[2][i] = expected.max_b, of[3][i] = static_cast<float>(-std::log2(std::fmax(expected.sum_b, 1)));
    of[4][i] = static_cast<float>(checks.normal(1)), of[5][i] = 0.25f;
  }
  const PairRows rows{of[0], of[1], of[2], of[3], of[4], of[5], of[6], kScaleX, kScaleY};
  const float beta = 0.3f;
  std::vector<JsdSums> sums(at(tokens), JsdSums{0, 0});
  kernels.tile_jsd(tile, rows, beta, 1 - beta, sums.data());
  for (int64_t i = 0; i < tokens; i++) {
    const JsdSums expected = reference::jsd_sums(tile, rows, i, beta);
    checks.expect(agree(sums[at(i)].divergence, expected.divergence, 4e-6), "jsd", i);
    checks.expect(agree(sums[at(i)].kappa, expected.kappa, 4e-6), "kappa", i);
  }
  for (const Divergence type : {Divergence::forward_kl, Divergence::reverse_kl, Divergence::jsd}) {
    // Not to entries that are masked in y alone: the reverse KL is infinite there.
    if (type == Divergence::reverse_kl && data == Data::masked_in_y) continue;
    std::vector<float> out(x.size());
    kernels.tile_gradient(tile, rows, type, beta, 1 - beta, out.data());
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
    kernels.tile_gradient({in_place.data(), y.data(), kStride, entries, tokens}, rows, type, beta, 1 - beta,
                          in_place.data());
    bool same = true;
    for (int64_t i = 0; i < entries * kStride; i++) {
      if (i % kStride < tokens) same &= in_place[at(i)] == out[at(i)] || std::isnan(out[at(i)]);
    }
    checks.expect(same, "gradient in place", entries);
  }
}

/** T of x and back. */
template <class T>
std::vector<float> rounded(std::vector<T>* to, const std::vector<float>& x) {
  std::vector<float> back;
  for (const float value : x) {
    T t;
    from_float(value, &t);
    to->push_back(t);
    back.push_back(to_float(t));
  }
  return back;
}

template <class T>
void check_rows(Checks& checks, const DivergenceKernels& kernels, DType dtype, Data data, int64_t n) {
  std::vector<float> x(at(n)), y(at(n));
  for (int64_t i = 0; i < n; i++) x[at(i)] = element(checks, data, i, true), y[at(i)] = element(checks, data, i, false);
  std::vector<T> typed_x, typed_y;
  x = rounded(&typed_x, x), y = rounded(&typed_y, y);
  const PairTile column{x.data(), y.data(), 1, n, 1};
  const PairOfRows pair{typed_x.data(), typed_y.data(), dtype, n};
  const PairStats expected = reference::pair_stats(column, 0, kScaleX, kScaleY);
  PairStats stats = kEmptyPair;
  kernels.row_stats(pair, &stats, kScaleX, kScaleY);
  checks.expect(stats_agree(stats, expected), "row_stats", n);
  // Once more, relative to the entries that are known now.
  kernels.row_stats(pair, &stats, kScaleX, kScaleY);
  PairStats twice = expected;
  merge_pair(&twice, expected, kScaleX, kScaleY);
  checks.expect(stats_agree(stats, twice), "row_stats of two parts", n);

  std::vector<std::vector<float>> terms;
  for (const double term :
       {static_cast<double>(expected.max_a), -std::log2(std::fmax(expected.sum_a, 1)),
        static_cast<double>(expected.max_b), -std::log2(std::fmax(expected.sum_b, 1)), 0.7, 0.25, 0.0}) {
    terms.emplace_back(16, static_cast<float>(term));
  }
  const PairRows rows{terms[0].data(), terms[1].data(), terms[2].data(), terms[3].data(), terms[4].data(),
                      terms[5].data(), terms[6].data(), kScaleX,         kScaleY};
  const float beta = 0.3f;
  JsdSums sums{0, 0};
  kernels.row_jsd(pair, rows, beta, 1 - beta, &sums);
  const JsdSums expected_sums = reference::jsd_sums(column, rows, 0, beta);
  checks.expect(agree(sums.divergence, expected_sums.divergence, 4e-6), "jsd of a row", n);
  checks.expect(agree(sums.kappa, expected_sums.kappa, 4e-6), "kappa of a row", n);
  for (const Divergence type : {Divergence::forward_kl, Divergence::reverse_kl, Divergence::jsd}) {
    if (type == Divergence::reverse_kl && data == Data::masked_in_y) continue;
    std::vector<double> gradient(at(n));
    reference::divergence_gradient(column, rows, 0, type, beta, gradient.data());
    // From each offset to aligned memory, with a guard on both sides.
    for (const size_t offset : {1, 2, 7}) {
      std::vector<T> plain(at(n) + 16), streamed(at(n) + 16);
      kernels.row_gradient(pair, rows, type, beta, 1 - beta, &plain[offset], false);
      kernels.row_gradient(pair, rows, type, beta, 1 - beta, &streamed[offset], true);
      checks.expect(memcmp(plain.data(), streamed.data(), plain.size() * sizeof(T)) == 0, "streamed gradient", n);
      bool right = true;
      for (size_t i = 0; i < plain.size(); i++) {
        const bool inside = i >= offset && i < offset + at(n);
        const double wanted = inside ? gradient[i - offset] : 0, rounding = sizeof(T) == 2 ? 0x1p-8 : 0;
        const double bound = inside ? 0.7 * (data == Data::wide ? 2e-4 : 1e-5) + rounding * std::fabs(wanted) : 0;
        right &= agree(to_float(plain[i]), wanted, bound);
      }
      checks.expect(right, "gradient of a row", n);
      if (offset > 1) continue;
      std::vector<T> in_place = typed_x;
      kernels.row_gradient({in_place.data(), typed_y.data(), dtype, n}, rows, type, beta, 1 - beta, in_place.data(),
                           false);
      checks.expect(memcmp(in_place.data(), &plain[offset], at(n) * sizeof(T)) == 0, "gradient of a row in place", n);
    }
  }
}

}  // namespace

void check_divergence_kernels(Checks& checks) {
  const DivergenceKernels& kernels = *active_kernels().divergence;
  for (int data = 0; data < static_cast<int>(Data::count); data++) {
    for (const int64_t n : {1, 15, 16, 33, 100, 1000, 4100, 16384}) {
      check_rows<float>(checks, kernels, DType::float32, static_cast<Data>(data), n);
      check_rows<bf16>(checks, kernels, DType::bfloat16, static_cast<Data>(data), n);
      check_rows<f16>(checks, kernels, DType::float16, static_cast<Data>(data), n);
    }
    for (const int64_t entries : {1, 2, 95, 128}) {
      for (const int64_t tokens : {1, 4, 15, 16, 17, 33}) {
        check_tile(checks, kernels, static_cast<Data>(data), entries, tokens);
      }
    }
  }
}
