// The matrix product of native/cpu/kernels.h, over packed elements of 32 bits:
//
//   c[rows, columns] (+)= a[rows, depth] * b[depth, columns]
//
// b is packed: panels of kPanel columns, each [depth][kPanel] and contiguous. A register tile of kTileRows x
// kTileVectors vectors of c stays in registers while k runs over at most kDepth, so that every element of c is one
// chain of FMAs for each block of kDepth. What an element is and how two are multiplied is the Step's: Float32 here,
// pairs of bfloat16 in bf16_pairs_avx512.cpp.
#pragma once

#include "../isa/simd.h"
#include "../kernels.h"

namespace sweet::reference {

static inline double float32_dot(uint32_t a, uint32_t b) { return static_cast<double>(float_of(a)) * float_of(b); }

/** c[rows][columns] in float64; dot(a, b) is the product of two packed elements. */
template <class Dot>
static void product(const Product& p, int64_t panel, Dot dot, double* c) {
  const uint32_t *a = static_cast<const uint32_t*>(p.a), *b = static_cast<const uint32_t*>(p.b);
  for (int64_t i = 0; i < p.rows; i++) {
    for (int64_t j = 0; j < p.columns; j++) {
      const uint32_t* const column = b + j / panel * panel * p.depth + j % panel;
      double sum = p.add ? p.c[i * p.c_row + j] : 0;
      for (int64_t k = 0; k < p.depth; k++) sum += dot(a[i * p.a_row + k * p.a_k], column[k * panel]);
      c[i * p.columns + j] = sum;
    }
  }
}

}  // namespace sweet::reference

namespace sweet::SWEET_ISA {
namespace {

constexpr int kPanel = kTileVectors * kLanes;

// A block of a panel is 32 KiB, so that it stays in L1 while the tiles of rows pass over it. On Zen 5 (48 KiB of L1),
// 96 x 1024 x 1024, 16 KiB takes 1.05 to 1.21 of the time, 64 KiB 0.92 to 0.96.
constexpr int64_t kDepth = 32768 / (kPanel * 4);

/** Elements that are float32. */
struct Float32 {
  static V broadcast(const uint32_t* a) { return set1(*reinterpret_cast<const float*>(a)); }
  static V fma(V x, const uint32_t* b, V sum) {
    return SWEET_ISA::fma(x, load(reinterpret_cast<const float*>(b)), sum);
  }
};

/** One register tile. */
template <class Step, int kRows, int kVectors>
void product_tile(const uint32_t* a, int64_t a_row, int64_t a_k, int64_t depth, const uint32_t* b, float* c,
                  int64_t c_row, int64_t columns, bool add_to) {
  V sums[kRows][kVectors];
  for (int i = 0; i < kRows; i++) {
    for (int j = 0; j < kVectors; j++) sums[i][j] = set1(0.0f);
  }
  for (int64_t k = 0; k < depth; k++) {
    for (int i = 0; i < kRows; i++) {
      const auto x = Step::broadcast(a + i * a_row + k * a_k);
      for (int j = 0; j < kVectors; j++) sums[i][j] = Step::fma(x, b + k * kPanel + j * kLanes, sums[i][j]);
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

/** A register tile with only as many vectors as `columns` needs. */
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
      const auto row = [&](int64_t i) { return a + i * p.a_row + k * p.a_k; };
      int64_t i = 0;
      for (; i + kTileRows <= p.rows; i += kTileRows) {
        product_rows<Step, kTileRows>(row(i), p.a_row, p.a_k, depth, panel, p.c + i * p.c_row + j, p.c_row, columns,
                                      add_to);
      }
      for (; i < p.rows; i++) {
        product_rows<Step, 1>(row(i), p.a_row, p.a_k, depth, panel, p.c + i * p.c_row + j, p.c_row, columns, add_to);
      }
    }
  }
}

}  // namespace
}  // namespace sweet::SWEET_ISA
