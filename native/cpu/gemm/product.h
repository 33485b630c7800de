// The register tile of the matrix products: what a number, or a pair of numbers, of a is multiplied with is the
// caller's.
#pragma once

#include "../isa/simd.h"
#include "../kernels.h"

namespace sweet::SWEET_ISA {
namespace {

constexpr int kPanel = kTileVectors * kLanes;

// As much of a panel of b as half of the first cache holds: every tile of rows finds it there.
constexpr int64_t kDepth = 32768 / (kPanel * 4);

/** Words that are numbers. */
struct Numbers {
  static V spread(const uint32_t* a) { return set1(*reinterpret_cast<const float*>(a)); }
  static V multiply_add(V x, const uint32_t* b, V sum) { return fma(x, load(reinterpret_cast<const float*>(b)), sum); }
};

/**
 * kRows x kVectors registers of c. Step is a set of functions: `spread` makes a register of one word of a,
 * `multiply_add` adds the product with kLanes words of b. A chain of them over k for every number of c.
 */
template <class Step, int kRows, int kVectors>
void product_tile(const uint32_t* a, int64_t a_row, int64_t a_k, int64_t depth, const uint32_t* b, float* c,
                  int64_t c_row, int64_t columns, bool add_to) {
  V sums[kRows][kVectors];
  for (int i = 0; i < kRows; i++) {
    for (int j = 0; j < kVectors; j++) sums[i][j] = set1(0.0f);
  }
  for (int64_t k = 0; k < depth; k++) {
    for (int i = 0; i < kRows; i++) {
      const auto x = Step::spread(a + i * a_row + k * a_k);
      for (int j = 0; j < kVectors; j++) sums[i][j] = Step::multiply_add(x, b + k * kPanel + j * kLanes, sums[i][j]);
    }
  }
  for (int i = 0; i < kRows; i++) {
    for (int j = 0; j < kVectors; j++) {
      float* const to = c + i * c_row + j * kLanes;
      const int rest = static_cast<int>(columns) - j * kLanes;
      if (rest >= kLanes) {
        store(to, add_to ? add(load(to), sums[i][j]) : sums[i][j]);
      } else {
        store_n(to, add_to ? add(load_n(to, rest, 0.0f), sums[i][j]) : sums[i][j], rest);
      }
    }
  }
}

/** A narrow panel costs no more than what is in it. */
template <class Step, int kRows, int kVectors = 1>
void product_rows(const uint32_t* a, int64_t a_row, int64_t a_k, int64_t depth, const uint32_t* b, float* c,
                  int64_t c_row, int64_t columns, bool add_to) {
  if constexpr (kVectors < kTileVectors) {
    if (columns > kVectors * kLanes) {
      return product_rows<Step, kRows, kVectors + 1>(a, a_row, a_k, depth, b, c, c_row, columns, add_to);
    }
  }
  product_tile<Step, kRows, kVectors>(a, a_row, a_k, depth, b, c, c_row, columns, add_to);
}

template <class Step>
void product(const Product& p) {
  const uint32_t* const a = static_cast<const uint32_t*>(p.a);
  const uint32_t* const b = static_cast<const uint32_t*>(p.b);
  for (int64_t k = 0; k < p.depth; k += kDepth) {
    const int64_t depth = p.depth - k < kDepth ? p.depth - k : kDepth;
    const bool add_to = p.add || k > 0;
    for (int64_t j = 0; j < p.columns && !p.stop(); j += kPanel) {
      const int64_t columns = p.columns - j < kPanel ? p.columns - j : kPanel;
      const uint32_t* const panel = b + j * p.depth + k * kPanel;
      const auto at = [&](int64_t i) { return a + i * p.a_row + k * p.a_k; };
      int64_t i = 0;
      for (; i + kTileRows <= p.rows; i += kTileRows) {
        product_rows<Step, kTileRows>(at(i), p.a_row, p.a_k, depth, panel, p.c + i * p.c_row + j, p.c_row, columns,
                                      add_to);
      }
      for (; i < p.rows; i++) {
        product_rows<Step, 1>(at(i), p.a_row, p.a_k, depth, panel, p.c + i * p.c_row + j, p.c_row, columns, add_to);
      }
    }
  }
}

}  // namespace
}  // namespace sweet::SWEET_ISA
