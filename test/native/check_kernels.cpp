// The active kernels of native/cpu against the scalar references of their headers, in float64. The bounds count
// roundings of float32, each at most kRounding of its result.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../../native/cpu/active.h"
#include "../../native/cpu/gemm/bf16_pairs.h"
#include "../../native/cpu/gemm/tile_passes.h"
#include "../../native/cpu/gemm/transpose.h"
#include "../../native/cpu/head_backward.h"
#include "../../native/cpu/rows/softcap.h"
#include "../../native/cpu/rows/widen.h"
#include "native_checks.h"

using namespace sweet;

namespace {

constexpr double kRounding = 0x1p-24;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

enum class Data { normal, wide, outliers, masked, all_masked, infinite, nan, rising, subnormal, large, equal, count };

float element(Checks& checks, Data data, int64_t i, int64_t n) {
  const float x = static_cast<float>(checks.normal(1));
  switch (data) {
    case Data::wide:
      return 60 * x;
    case Data::outliers:
      return checks.integer(0, 97) == 0 ? 1000 * x : x;
    case Data::masked:
      return i % 3 != 1 ? -kInfinity : 5 * x;
    case Data::all_masked:
      return -kInfinity;
    case Data::infinite:
      return i == n * 2 / 3 ? kInfinity : x;
    case Data::nan:
      return i == n / 3 ? kNaN : x;
    case Data::rising:  // the maximum of the first elements is far below the others
      return -200 + 400 * static_cast<float>(i) / static_cast<float>(n);
    case Data::subnormal:
      return i % 2 == 0 ? 1e-40f * x : 1e-6f * x;  // of float32 and bfloat16; of float16
    case Data::large:
      return 2e4f * x;
    case Data::equal:
      return 2.5f;
    default:
      return 3 * x;
  }
}

template <class T>
constexpr DType kDType = DType::float32;
template <>
constexpr DType kDType<bf16> = DType::bfloat16;
template <>
constexpr DType kDType<f16> = DType::float16;

template <class T>
T stored(float x) {
  T y;
  from_float(x, &y);
  return y;
}

template <class T>
std::vector<T> stored(const std::vector<float>& x) {
  std::vector<T> y(x.size());
  for (size_t i = 0; i < x.size(); i++) y[i] = stored<T>(x[i]);
  return y;
}

std::vector<float> normals(Checks& checks, int64_t n, double scale) {
  std::vector<float> x(static_cast<size_t>(n));
  for (float& each : x) each = static_cast<float>(checks.normal(scale));
  return x;
}

size_t at(int64_t i) { return static_cast<size_t>(i); }

bool agree(double ours, double expected, double bound) {
  return ours == expected || std::fabs(ours - expected) <= bound || (std::isnan(ours) && std::isnan(expected));
}

/**
 * `adds` float32 additions follow one after the other. t has at most two roundings, of x - max and of the product with
 * scale_log2, which change 2^t by a factor of up to 1 + 2 |t| kRounding; the polynomial, its products and the fold's
 * residual are worth eight roundings. Terms below 2^-126 may be 0.
 */
template <class T>
bool stats_agree(const SegmentStats& ours, const SegmentStats& expected, const T* x, int64_t n, int64_t stride,
                 double scale_log2, const Statistics& which, int64_t adds) {
  if (std::isnan(expected.sum_exp)) return std::isnan(ours.sum_exp);
  if (which.argmax && ours.largest != expected.max) return false;
  if (expected.max == -kInfinity) {
    return ours.max == -kInfinity && ours.sum_exp == 0 && ours.sum_t_exp == 0 && ours.sum_squares == 0;
  }
  if (!(ours.max <= expected.max)) return false;
  // Sums of (|t| + 1)^k 2^t, and of the same with 2^(2 t); a folded t is off by less than 1.
  double moments[3] = {0, 0, 0}, of_squares[2] = {0, 0};
  for (int64_t i = 0; i < n; i++) {
    const double t = (to_float(x[i * stride]) - static_cast<double>(ours.max)) * scale_log2, p = std::exp2(t);
    if (p == 0) continue;
    for (int k = 0; k < 3; k++) moments[k] += p * std::pow(std::fabs(t) + 1, k);
    for (int k = 0; k < 2; k++) of_squares[k] += p * p * std::pow(std::fabs(t) + 1, k);
  }
  SegmentStats moved = expected;
  portable::rescale(&moved, ours.max, static_cast<float>(scale_log2));
  const double count = static_cast<double>(adds) + 8, flushed = static_cast<double>(n) * 0x1p-126;
  return agree(ours.sum_exp, moved.sum_exp, kRounding * (count * moments[0] + 2 * moments[1]) + flushed) &&
         (!which.entropy || agree(ours.sum_t_exp, moved.sum_t_exp,
                                  kRounding * ((count + 4) * moments[1] + 2 * moments[2]) + 128 * flushed)) &&
         (!which.squares || agree(ours.sum_squares, moved.sum_squares,
                                  kRounding * ((count + 20) * of_squares[0] + 4 * of_squares[1]) + flushed));
}

/** As above; 2^t of bfloat16 gradients has 18 bits. Then one rounding to the storage type, at worst of a subnormal. */
template <class T>
bool gradient_agrees(T ours, double expected, double t, double factor, double slope) {
  constexpr bool kIsBf16 = kDType<T> == DType::bfloat16, kIsF16 = kDType<T> == DType::float16;
  const double relative = kRounding * (2 * std::fabs(t) + 8) + (kIsBf16 ? 0x1p-18 + 0x1p-8 : kIsF16 ? 0x1p-11 : 0);
  // factor and slope * t may cancel. They multiply what 2^t loses where it is subnormal; with a slope it is up to
  // sqrt(2) times smaller before the residual of the exponent, which is in factor and slope.
  const double magnitude = std::fabs(factor) + std::sqrt(2) * std::fabs(slope) * std::min(std::fabs(t), 160.0);
  const double flushed = magnitude * (std::fabs(factor) <= 0x1p60 ? 0x1p-149 : 0x1p-126) + 0x1p-149;
  const double last_place = kIsBf16 ? 0x1p-134 : kIsF16 ? 0x1p-25 : 0;
  const double terms = slope == 0 ? std::fabs(expected) : std::exp2(t) * magnitude;
  const double error = relative * terms + flushed + last_place;
  return agree(to_float(ours), expected, std::isfinite(t) ? error : 0);
}

/** tanh to 6 * 2^-24, relative; the slope to 4 * 2^-24. */
template <class T>
void check_softcap(Checks& checks, const Kernels& kernels) {
  const std::string name = "dtype " + std::to_string(static_cast<int>(kDType<T>));
  for (const float inverse : {1.0f, 1 / 30.0f, 1e-6f, 1000.0f}) {
    std::vector<T> x;
    for (int i = 0; i < 4001; i++) x.push_back(stored<T>(static_cast<float>(i - 2000) * 0.005f / inverse));
    for (int i = 0; i < 400; i++) x.push_back(stored<T>(static_cast<float>(std::exp2(-i * 0.3) / inverse)));
    for (const float special : {-kInfinity, kInfinity, kNaN, 0.0f, -0.0f, 3e38f, -3e38f})
      x.push_back(stored<T>(special));
    const int64_t n = static_cast<int64_t>(x.size());
    std::vector<float> t(x.size()), d(x.size());
    std::vector<double> exact(x.size());
    kernels.softcap(x.data(), kDType<T>, n, inverse, t.data());
    reference::softcap(x.data(), n, inverse, exact.data());
    bool right = true, right_slope = true;
    for (size_t i = 0; i < x.size(); i++) {
      right &= agree(t[i], exact[i], 6 * kRounding * std::fabs(exact[i]) + 0x1p-149);
      d[i] = static_cast<float>(checks.normal(2));
    }
    checks.expect(right, name + " softcap");
    std::vector<T> gradient(x.size());
    kernels.times_slope(d.data(), t.data(), n, gradient.data(), kDType<T>);
    for (size_t i = 0; i < x.size(); i++) {
      const double expected = reference::times_slope(d[i], t[i]);
      const double rounding = kDType<T> == DType::bfloat16 ? 0x1p-8 : kDType<T> == DType::float16 ? 0x1p-11 : 0;
      const double error = 4 * kRounding * std::fabs(d[i]) + (rounding + kRounding) * std::fabs(expected) + 0x1p-25;
      right_slope &= agree(to_float(gradient[i]), expected, error);
      if (t[i] == -kInfinity) right_slope &= to_float(gradient[i]) == 0;
    }
    checks.expect(right_slope, name + " slope of the softcap");
    // Any part of it has the same bits: labels and tails are computed one by one.
    std::vector<float> alone(x.size());
    for (size_t i = 0; i < x.size(); i++) kernels.softcap(x.data() + i, kDType<T>, 1, inverse, &alone[i]);
    checks.expect(std::equal(alone.begin(), alone.end(), t.begin(),
                             [](float a, float b) { return bits_of(a) == bits_of(b) || (a != a && b != b); }),
                  name + " softcap one by one");
  }
}

constexpr float kLog2e = 1.44269504f;

/** With scale_log2 1, max 0 and factor 1 a gradient is 2^x: within 2 units in the last place; so is the reference. */
void check_exp2(Checks& checks, const Kernels& kernels) {
  std::vector<float> x, ours(20000);  // from 2^64 on the kernels may take 2^x for infinite
  for (size_t i = 0; i < ours.size(); i++) x.push_back(-126 + 186 * static_cast<float>(i) / 20000);
  kernels.softmax_gradient(x.data(), ours.data(), DType::float32, 20000, {1, 0, 1, 0}, false);
  bool right = true, reference_right = true;
  for (size_t i = 0; i < x.size(); i++) {
    const double exact = std::exp2(static_cast<double>(x[i])), last_place = std::exp2(std::floor(x[i]) - 23);
    right &= agree(ours[i], exact, 2 * last_place);
    reference_right &= agree(reference::exp2(x[i]), exact, 2 * last_place);
  }
  checks.expect(right, "2^t");
  checks.expect(reference_right, "reference of 2^t");
}

template <class T>
void check_row(Checks& checks, const Kernels& kernels, const std::vector<T>& x, float scale_log2,
               const std::string& name) {
  const int64_t n = static_cast<int64_t>(x.size());
  const SegmentStats expected = reference::softmax_stats(x.data(), n, scale_log2);
  for (int flags = 0; flags < 8; flags++) {
    const Statistics which = {(flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0};
    // Additions to a lane: 2 kStrip in a strip, or the last ones, then one for each strip of at least 256 elements.
    const int64_t adds = 40 + n / 256;
    SegmentStats whole = kEmptyStats, halves = kEmptyStats;
    kernels.softmax_stats(&whole, x.data(), kDType<T>, n, scale_log2, which);
    kernels.softmax_stats(&halves, x.data(), kDType<T>, n / 2, scale_log2, which);
    kernels.softmax_stats(&halves, x.data() + n / 2, kDType<T>, n - n / 2, scale_log2, which);
    checks.expect(stats_agree(whole, expected, x.data(), n, 1, scale_log2, which, adds), name + " stats");
    checks.expect(!which.argmax || std::isnan(expected.sum_exp) || whole.argmax == expected.argmax, name + " argmax");
    checks.expect(stats_agree(halves, expected, x.data(), n, 1, scale_log2, which, adds), name + " stats of halves");
  }

  // The gradient relative to the row's lse, and relative to a max of 0.
  const double lse = static_cast<double>(expected.max) + std::log2(expected.sum_exp) / scale_log2;
  const float big = kDType<T> == DType::float16 ? 1000 : -1e20f;
  for (const float factor : {1.0f, -0.3f, 0.3f, 1e-30f, big, kNaN}) {
    const float max = factor == 1 && std::fabs(expected.max * scale_log2) < 15 ? 0 : static_cast<float>(lse);
    std::vector<double> exact(x.size());
    const float slope = factor == -0.3f ? 0.8f : factor == big ? -1.5f * big : 0;
    reference::softmax_gradient(x.data(), exact.data(), n, scale_log2, max, factor, slope);
    const T guard = stored<T>(77);
    for (const char* way : {"out of place", "in place", "streamed"}) {
      const bool in_place = way[0] == 'i';
      std::vector<T> out(x.size() + 2, guard);  // one element away from the allocation's alignment
      if (in_place) std::copy(x.begin(), x.end(), out.begin() + 1);
      kernels.softmax_gradient(in_place ? out.data() + 1 : x.data(), out.data() + 1, kDType<T>, n,
                               {scale_log2, max, factor, slope}, way[0] == 's');
      bool right = to_float(out[0]) == 77 && to_float(out.back()) == 77;
      for (size_t i = 0; i < x.size(); i++) {
        const double t = (to_float(x[i]) - static_cast<double>(max)) * scale_log2;
        right &= gradient_agrees(out[i + 1], exact[i], t, factor, slope);
      }
      checks.expect(right, name + " gradient " + way + " factor " + std::to_string(factor));
    }
  }
}

template <class T>
void check_rows_of(Checks& checks, const Kernels& kernels, bool small) {
  std::vector<int64_t> sizes;  // of tails: up to two vectors of 16 lanes and one more; then around every limit
  for (int64_t n = 1; n <= 33; n++) sizes.push_back(n);
  for (const int64_t n : {1023, 1024, 1025, 1300, 4095, 4096, 4097, 16383, 16384, 16385}) sizes.push_back(n);
  for (int data = 0; data < static_cast<int>(Data::count); data++) {
    for (const int64_t n : sizes) {
      if (small && n > 33 && n % 2 == 0) continue;
      std::vector<T> x;
      for (int64_t i = 0; i < n; i++) x.push_back(stored<T>(element(checks, static_cast<Data>(data), i, n)));
      for (const float temperature : {0.1f, 1.0f, 10.0f}) {
        if (n > 33 && temperature != 1 && (small || n % 2 == 0)) continue;
        check_row(checks, kernels, x, kLog2e / temperature,
                  "dtype " + std::to_string(static_cast<int>(kDType<T>)) + " data " + std::to_string(data) + " n " +
                      std::to_string(n) + " temperature " + std::to_string(temperature));
      }
    }
  }

  std::vector<T> all(65536);  // every number of 16 bits
  for (uint32_t i = 0; i < all.size(); i++) {
    const uint32_t bits = kDType<T> == DType::float32 ? i * 65537u : i;
    memcpy(&all[i], &bits, sizeof(T));
  }
  for (const int64_t n : {1, 15, 16, 33, 65536}) {
    std::vector<float> ours(at(n)), expected(at(n));
    kernels.widen(all.data(), kDType<T>, n, ours.data());
    reference::widen(all.data(), n, expected.data());
    bool right = true;  // a NaN stays a NaN; its payload may change
    for (size_t i = 0; i < ours.size(); i++) {
      right &= bits_of(ours[i]) == bits_of(expected[i]) || (std::isnan(ours[i]) && std::isnan(expected[i]));
    }
    checks.expect(right, "widen " + std::to_string(n));
  }
}

void check_tiles(Checks& checks, const Kernels& kernels) {
  constexpr int64_t kStride = 64;
  for (int data = 0; data < static_cast<int>(Data::count); data++) {
    for (const int64_t entries : {1, 2, 95, 96}) {
      for (const int64_t tokens : {1, 4, 15, 16, 17, 33}) {
        std::vector<float> x;
        for (int64_t i = 0; i < entries * kStride; i++) {
          x.push_back(element(checks, static_cast<Data>(data), i, entries * kStride));
        }
        const Tile tile = {x.data(), kStride, entries, tokens};
        std::vector<SegmentStats> stats(at(tokens), kEmptyStats);
        kernels.tile_argmax(tile, 7, stats.data());
        kernels.tile_stats(tile, stats.data(), kLog2e, {true, false, true});
        std::vector<float> max(kStride, kInfinity), factor(kStride, 0), slope(kStride, 0);
        const bool sloped = tokens % 2 == 1;
        std::vector<double> exact(at(tokens * entries));
        bool right = true;
        for (int64_t i = 0; i < tokens; i++) {
          const SegmentStats expected = reference::tile_stats(tile, i, kLog2e);
          right &= stats_agree(stats[at(i)], expected, x.data() + i, entries, kStride, kLog2e, {true, true, true},
                               entries / 2 + 2);
          const int32_t argmax = expected.argmax < 0 ? -1 : expected.argmax + 7;
          right &= std::isnan(expected.sum_exp) || stats[at(i)].argmax == argmax;
          const double lse = static_cast<double>(expected.max) + std::log2(expected.sum_exp) / kLog2e;
          max[at(i)] = static_cast<float>(lse);
          factor[at(i)] = static_cast<float>(checks.normal(1));
          slope[at(i)] = sloped ? static_cast<float>(checks.normal(1)) : 0;
          reference::tile_gradient(tile, i, &exact[at(i * entries)], kLog2e, max[at(i)], factor[at(i)], slope[at(i)]);
        }
        std::vector<float> ours = x;
        kernels.tile_gradient({ours.data(), kStride, entries, tokens}, max.data(), factor.data(),
                              sloped ? slope.data() : nullptr, kLog2e);
        bool gradient_right = true;
        for (int64_t i = 0; i < tokens; i++) {
          for (int64_t v = 0; v < entries; v++) {
            const double t = (x[at(v * kStride + i)] - static_cast<double>(max[at(i)])) * kLog2e;
            // 2^t is not scaled here: below 2^-126 it may be 0.
            gradient_right &= gradient_agrees(ours[at(v * kStride + i)], exact[at(i * entries + v)], t, factor[at(i)],
                                              slope[at(i)]) ||
                              (t < -126 && std::fabs(ours[at(v * kStride + i)]) <=
                                               0x1p-126 * (std::fabs(factor[at(i)]) + std::fabs(slope[at(i)] * t)));
          }
        }
        const std::string name =
            "tile " + std::to_string(entries) + " x " + std::to_string(tokens) + " data " + std::to_string(data);
        checks.expect(right, name + " stats");
        checks.expect(gradient_right, name + " gradient");
      }
    }
  }
}

/** A sum of `depth` products, each with up to two roundings, relative to the sum of their magnitudes. */
template <class Dot>
void check_product(Checks& checks, void (*multiply)(const Product&), int64_t panel, Dot dot, int64_t numbers,
                   const std::string& name) {
  const auto random_element = [&] {
    if (numbers == 1) return bits_of(static_cast<float>(checks.normal(1)));
    const uint32_t low = stored<bf16>(static_cast<float>(checks.normal(1))).bits;
    return low | static_cast<uint32_t>(stored<bf16>(static_cast<float>(checks.normal(1))).bits) << 16;
  };
  for (const int64_t rows : {1, 5, 6, 13}) {
    for (const int64_t depth : {1, 127, 129, 600}) {
      for (const int64_t columns : {1, 15, 16, 17, 64, 65, 130}) {
        const bool add = columns % 2 == 1, transposed = depth % 2 == 1;
        const int64_t padded = (columns + panel - 1) / panel * panel, c_row = padded + 3;
        std::vector<uint32_t> a(at(rows * depth)), b(at(padded * depth));
        for (uint32_t& each : a) each = random_element();
        for (uint32_t& each : b) each = random_element();
        std::vector<float> c = normals(checks, rows * c_row, 1);
        const Product product = {
            a.data(), transposed ? 1 : depth, transposed ? rows : 1, rows, depth, b.data(), c.data(), c_row, columns,
            add,      [] { return false; }};
        std::vector<double> exact(at(rows * columns)), magnitude(at(rows * columns));
        reference::product(product, panel, dot, exact.data());
        Product magnitudes = product;
        magnitudes.add = false;
        reference::product(
            magnitudes, panel,
            [&](uint32_t x, uint32_t y) {
              return numbers == 1 ? std::fabs(dot(x, y)) : dot(x & 0x7fff7fffu, y & 0x7fff7fffu);
            },
            magnitude.data());
        for (int64_t i = 0; i < rows * columns; i++) {
          magnitude[at(i)] += add ? std::fabs(c[at(i / columns * c_row + i % columns)]) : 0;
        }
        const float guard = c[at(columns)];
        multiply(product);
        bool right = c[at(columns)] == guard;
        for (int64_t i = 0; i < rows * columns; i++) {
          const double bound = kRounding * static_cast<double>(depth * numbers + 8) * magnitude[at(i)];
          right &= agree(c[at(i / columns * c_row + i % columns)], exact[at(i)], bound);
        }
        checks.expect(
            right, name + " " + std::to_string(rows) + " x " + std::to_string(depth) + " x " + std::to_string(columns));
      }
    }
  }
}

void check_narrow_tile(Checks& checks, const Bf16PairKernels& kernels) {
  constexpr int64_t kStride = 64, kEntries = 96, kTokens = 48;
  std::vector<float> x = normals(checks, kEntries * kStride, 1);
  for (size_t i = 0; i < x.size(); i += 7) x[i] = element(checks, Data::subnormal, 0, 1);
  x[0] = kInfinity;
  const Tile tile = {x.data(), kStride, kEntries, kTokens};
  std::vector<uint32_t> pairs(kEntries / 2 * kStride), expected_pairs(pairs);
  std::vector<bf16> rows(kEntries * kStride), expected_rows(rows);
  kernels.narrow_tile(tile, pairs.data(), rows.data());
  reference::narrow_tile(tile, expected_pairs.data(), expected_rows.data());
  checks.expect(pairs == expected_pairs, "narrow_tile pairs");
  checks.expect(memcmp(rows.data(), expected_rows.data(), rows.size() * sizeof(bf16)) == 0, "narrow_tile rows");
}

template <class T>
std::vector<float> widened(const std::vector<T>& x) {
  std::vector<float> y(x.size());
  reference::widen(x.data(), static_cast<int64_t>(x.size()), y.data());
  return y;
}

double largest(const std::vector<float>& x) {
  double all = 0;
  for (const float each : x) all = std::max(all, std::fabs(static_cast<double>(each)));
  return all;
}

/** A linear head of float32 copies of its arrays, for the references. */
template <class T>
struct LinearHead {
  int64_t tokens, vocab_size, hidden_size;
  std::vector<T> stored_hidden, stored_weight, stored_bias;
  std::vector<float> hidden, weight, bias, g;
  std::vector<int32_t> labels;
  Head head{};

  LinearHead(Checks& checks, int64_t n, int64_t v, int64_t h)
      : tokens(n),
        vocab_size(v),
        hidden_size(h),
        stored_hidden(stored<T>(normals(checks, n * h, 1))),
        stored_weight(stored<T>(normals(checks, v * h, 0.3))),
        stored_bias(stored<T>(normals(checks, v, 1))),
        hidden(widened(stored_hidden)),
        weight(widened(stored_weight)),
        bias(widened(stored_bias)),
        g(normals(checks, n, 1)) {
    for (int64_t i = 0; i < n; i++) labels.push_back(static_cast<int32_t>(checks.integer(0, v)));
    head.dtype = kDType<T>, head.rows = n, head.vocab_size = v, head.hidden_size = h, head.temperature = 0.8;
    head.hidden = {stored_hidden.data(), head.dtype, h, 1};
    head.weight = {stored_weight.data(), head.dtype, h, 1};
    head.bias = stored_bias.data(), head.bias_dtype = head.dtype;
  }
};

bool all_agree(const std::vector<float>& ours, const std::vector<double>& exact, double bound) {
  bool right = true;
  for (size_t i = 0; i < ours.size(); i++) right &= agree(ours[i], exact[i], bound);
  return right;
}

/**
 * A logit has up to H + 3 roundings, each relative to sum |weight| |hidden| + |bias|. The bound of D is relative to
 * |g| / temperature: twice the logits' errors, in D and in lse, the roundings of a row's statistics and gradient, and
 * with pairs of bfloat16 the rounding to 8 bits. D of a token adds up to at most 2 |g| / temperature.
 */
template <class T>
void check_linear_head(Checks& checks, int64_t tokens, int64_t vocab_size, int64_t hidden_size) {
  const LinearHead<T> data(checks, tokens, vocab_size, hidden_size);
  const Head& head = data.head;
  const double temperature = head.temperature;
  const std::string name = "linear head of dtype " + std::to_string(static_cast<int>(kDType<T>)) + " " +
                           std::to_string(tokens) + " x " + std::to_string(vocab_size);
  const double magnitude = static_cast<double>(hidden_size) * largest(data.weight) * largest(data.hidden);
  const double logit_error = kRounding * static_cast<double>(hidden_size + 3) * (magnitude + largest(data.bias));
  const bool pairs = kDType<T> == DType::bfloat16 && active_kernels().bf16_pairs;
  const double relative =
      2 * logit_error / temperature + (pairs ? 0x1p-8 : 0) + kRounding * static_cast<double>(vocab_size + tokens + 200);

  std::vector<float> logps(at(tokens)), grad_hidden(data.hidden.size()), grad_weight(data.weight.size()),
      grad_bias(at(vocab_size));
  std::vector<double> lse(at(tokens));
  checks.ok(linear_forward(head, data.labels.data(), {logps.data(), lse.data(), nullptr, true}), name);
  const HeadGradients out{nullptr, grad_hidden.data(), grad_weight.data(), grad_bias.data(), false};
  LinearBackward backward(head, data.labels.data(), out);
  checks.ok(backward.run(data.labels.data(), {lse.data(), false, data.g.data()}), name);
  std::vector<double> exact_logps(logps.size()), exact_lse(lse), exact_hidden(grad_hidden.size()),
      exact_weight(grad_weight.size()), exact_bias(grad_bias.size());
  double g_sum = 0;
  for (int64_t i = 0; i < tokens; i++) {
    const float* const row = data.hidden.data() + i * hidden_size;
    const float g = data.g[at(i)];
    exact_logps[at(i)] = reference::linear_logp(row, data.weight.data(), data.bias.data(), vocab_size, hidden_size,
                                                data.labels[at(i)], temperature, &exact_lse[at(i)]);
    reference::linear_gradient(row, data.weight.data(), data.bias.data(), vocab_size, hidden_size, data.labels[at(i)],
                               temperature, exact_lse[at(i)], g, &exact_hidden[at(i * hidden_size)],
                               exact_weight.data(), exact_bias.data());
    g_sum += std::fabs(g) / temperature;
  }
  const double g_max = largest(data.g) / temperature;
  checks.expect(all_agree(logps, exact_logps, 2 * logit_error / temperature + kRounding * 100), name + " logps");
  checks.expect(all_agree(grad_hidden, exact_hidden, relative * 2 * g_max * largest(data.weight)),
                name + " gradHidden");
  checks.expect(all_agree(grad_weight, exact_weight, relative * g_sum * largest(data.hidden)), name + " gradWeight");
  checks.expect(all_agree(grad_bias, exact_bias, relative * g_sum), name + " gradBias");

  // The first tile: its logits, and its D relative to the lse of the pass.
  const int64_t entries = std::min(kTileEntries, vocab_size);
  std::vector<int64_t> rows(at(tokens));
  for (int64_t i = 0; i < tokens; i++) rows[at(i)] = i;
  Tiles tiles(head, tokens, 1, &out);
  LogitGradients gradients(head, tokens, 1);
  tiles.gather(rows.data(), tokens);
  gradients.gather(rows.data(), tokens, data.labels.data(), {lse.data(), false, data.g.data()});
  const Tile tile = tiles.logits(tiles.weight_rows(0, 0), 0, nullptr);
  std::vector<double> x(at(entries * tokens));
  reference::tile_logits(data.hidden.data(), data.weight.data(), data.bias.data(), tokens, entries, hidden_size,
                         x.data());
  const auto values = [&] {
    std::vector<float> all;
    for (int64_t i = 0; i < entries * tokens; i++) all.push_back(tile.x[i / tokens * tile.row_stride + i % tokens]);
    return all;
  };
  checks.expect(all_agree(values(), x, logit_error), name + " logits");
  gradients.replace(tile, 0, 0, active_kernels(), nullptr);
  reference::logit_gradients(x.data(), data.labels.data(), lse.data(), data.g.data(), tokens, entries, temperature);
  checks.expect(all_agree(values(), x, relative * g_max), name + " D");
}

/** Around blocks of 4 x 4 and of 16 columns; what lies between the rows is not written. */
void check_transpose(Checks& checks) {
  checks.begin("transpose");
  for (const int64_t rows : {0, 1, 3, 4, 7, 16, 33}) {
    for (const int64_t columns : {0, 1, 4, 15, 18, 96}) {
      const int64_t from_stride = columns + 3, to_stride = rows + 2;
      std::vector<uint32_t> from(oracle::size(rows * from_stride + 1)), ours(oracle::size(columns * to_stride + 1), 7u);
      for (uint32_t& x : from) x = static_cast<uint32_t>(checks.integer(0, int64_t{1} << 32));
      std::vector<uint32_t> expected = ours;
      transpose(from.data(), from_stride, rows, columns, ours.data(), to_stride);
      reference::transpose(from.data(), from_stride, rows, columns, expected.data(), to_stride);
      checks.expect(ours == expected, "another transpose", rows * 1000 + columns);
    }
  }
}

}  // namespace

void check_kernels(Checks& checks, bool small) {
  const Kernels& kernels = active_kernels();
  check_exp2(checks, kernels);
  check_rows_of<float>(checks, kernels, small);
  check_rows_of<bf16>(checks, kernels, small);
  check_rows_of<f16>(checks, kernels, small);
  check_softcap<float>(checks, kernels);
  check_softcap<bf16>(checks, kernels);
  check_softcap<f16>(checks, kernels);
  check_tiles(checks, kernels);
  check_transpose(checks);
  check_product(checks, kernels.multiply, kernels.panel, reference::float32_dot, 1, "product");
  if (kernels.bf16_pairs) {
    check_product(checks, kernels.bf16_pairs->multiply, kernels.panel, reference::bf16_pair_dot, 2, "bf16 product");
    check_narrow_tile(checks, *kernels.bf16_pairs);
  }
  for (const int64_t vocab_size : {1, 97, 1000}) {
    check_linear_head<float>(checks, 17, vocab_size, 33);
    check_linear_head<bf16>(checks, 17, vocab_size, 33);
    check_linear_head<f16>(checks, 5, vocab_size, 40);
  }
}
