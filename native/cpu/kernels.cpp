// Compiled once per instruction set (see simd.h). Nothing here may be shared with other objects: everything but the one
// entry point is in an anonymous namespace, and no std:: template is used, for the linker could keep the copy that an
// old processor cannot run.
#include "kernels.h"

#include <math.h>

#include "simd.h"

namespace sweet {
namespace SWEET_ISA {
namespace {

constexpr int kBlock = 1024;  // words summed in float32 lanes before they are joined in float64

// The pivot follows the largest word once that lies further above it than this; e^16 · 1024 is far from overflow.
constexpr float kLift = 16;

// Below these e^x counts 0. Sums stop at 2^-126: what lies under it cannot matter beside the pivot's 1, and subnormal
// numbers are slow. Gradients go down to the last subnormal number, which 16-bit storage can hold as well.
constexpr float kLowestTerm = -87, kLowestGradient = -104;

// e^x for x ≥ low, 0 below it (−∞ included), NaN for NaN; relative error below 2 ulp where the result is normal.
// x = n·ln 2 + r,  e^r = 1 + r + r²·q(r) with q a minimax polynomial on |r| ≤ ln 2 / 2. ln 2 is split so that n·high is
// exact.
inline V exp(V x, float low) {
  const V n = round(mul(x, set1(1.44269504f)));
  V r = fnma(n, set1(0.693359375f), x);
  r = fnma(n, set1(-2.12194440e-4f), r);
  V q = set1(1.381454058e-3f);
  q = fma(q, r, set1(8.368745446e-3f));
  q = fma(q, r, set1(4.166838899e-2f));
  q = fma(q, r, set1(1.666652113e-1f));
  q = fma(q, r, set1(4.999999404e-1f));
  const V e = add(fma(q, mul(r, r), r), set1(1.0f));
  return keep_from(x, low, scale2(e, n));
}

template <class T>
float max_word(const T* x, int64_t n) {
  const float lowest = -INFINITY;
  V m = set1(lowest);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) m = max(m, load(x + i));
  if (i < n) m = max(m, load_n(x + i, static_cast<int>(n - i), lowest));
  return max_lanes(m);
}

struct BlockSums {
  float max;
  double sum, weighted;
};

/** One pass over a block that is in cache or on its way there: four chains hide the latency of the additions. */
template <bool kEntropy, class T>
BlockSums sum_block(const T* x, int n, float pivot, float scale) {
  const V p = set1(pivot), s = set1(scale), zero = set1(0.0f);
  V sum[4] = {zero, zero, zero, zero}, weighted[4] = {zero, zero, zero, zero};
  V largest = set1(-INFINITY);
  const auto take = [&](V word, int chain) {
    const V z = mul(sub(word, p), s), e = exp(z, kLowestTerm);
    largest = max(largest, word);
    sum[chain] = add(sum[chain], e);
    // A masked word has z = −∞ and e = 0; their product counts 0.
    if (kEntropy) weighted[chain] = fma(keep_from(z, kLowestTerm, z), e, weighted[chain]);
  };
  int i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int chain = 0; chain < 4; chain++) take(load(x + i + chain * kLanes), chain);
  }
  for (; i + kLanes <= n; i += kLanes) take(load(x + i), 0);
  if (i < n) take(load_n(x + i, n - i, -INFINITY), 1);
  return {max_lanes(largest), sum_lanes(add4(sum[0], sum[1], sum[2], sum[3])),
          kEntropy ? sum_lanes(add4(weighted[0], weighted[1], weighted[2], weighted[3])) : 0.0};
}

void move_pivot(RowSums* sums, float pivot, float scale) {
  if (sums->sum != 0) {  // else both sums are 0 and the old pivot may be −∞
    const double d = (static_cast<double>(sums->pivot) - pivot) * scale, factor = ::exp(d);
    sums->weighted = (sums->weighted + sums->sum * d) * factor;
    sums->sum *= factor;
  }
  sums->pivot = pivot;
}

template <bool kEntropy, class T>
void sum_words(RowSums* sums, const T* x, int64_t n, float scale) {
  const float lowest = -INFINITY;
  for (int64_t i = 0; i < n; i += kBlock) {
    const int count = static_cast<int>(n - i < kBlock ? n - i : kBlock);
    if (sums->pivot == lowest) move_pivot(sums, max_word(x + i, count), scale);
    // A block of masked words alone leaves the pivot at −∞; against 0 its terms are 0, and a NaN among them still
    // shows.
    BlockSums block = sum_block<kEntropy>(x + i, count, sums->pivot == lowest ? 0.0f : sums->pivot, scale);
    if ((block.max - sums->pivot) * scale > kLift) {
      move_pivot(sums, block.max, scale);
      block = sum_block<kEntropy>(x + i, count, sums->pivot, scale);
    }
    sums->sum += block.sum;
    sums->weighted += block.weighted;
  }
}

template <class T>
void sum_words_of(RowSums* sums, const void* x, int64_t n, float scale, bool entropy) {
  const T* words = static_cast<const T*>(x);
  entropy ? sum_words<true>(sums, words, n, scale) : sum_words<false>(sums, words, n, scale);
}

void sum_words_any(RowSums* sums, const void* x, DType dtype, int64_t n, float scale, bool entropy) {
  switch (dtype) {
    case DType::float32:
      return sum_words_of<float>(sums, x, n, scale, entropy);
    case DType::bfloat16:
      return sum_words_of<bf16>(sums, x, n, scale, entropy);
    case DType::float16:
      return sum_words_of<f16>(sums, x, n, scale, entropy);
  }
}

template <class T>
void grad_words(const void* from, void* to, int64_t n, float scale, float pivot, float offset, float g) {
  const T* x = static_cast<const T*>(from);
  T* out = static_cast<T*>(to);
  const V p = set1(pivot), s = set1(scale), o = set1(offset), minus_g = set1(-g);
  const auto grad = [&](V word) { return mul(minus_g, exp(sub(mul(sub(word, p), s), o), kLowestGradient)); };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, grad(load(x + i)));
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    store_n(out + i, grad(load_n(x + i, rest, 0.0f)), rest);
  }
}

void grad_words_any(const void* x, void* out, DType dtype, int64_t n, float scale, float pivot, float offset, float g) {
  switch (dtype) {
    case DType::float32:
      return grad_words<float>(x, out, n, scale, pivot, offset, g);
    case DType::bfloat16:
      return grad_words<bf16>(x, out, n, scale, pivot, offset, g);
    case DType::float16:
      return grad_words<f16>(x, out, n, scale, pivot, offset, g);
  }
}

template <class T>
void widen(const void* from, int64_t n, float* out) {
  const T* x = static_cast<const T*>(from);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, load(x + i));
  for (; i < n; i++) out[i] = to_float(x[i]);
}

void widen_any(const void* x, DType dtype, int64_t n, float* out) {
  switch (dtype) {
    case DType::float32:
      return widen<float>(x, n, out);
    case DType::bfloat16:
      return widen<bf16>(x, n, out);
    case DType::float16:
      return widen<f16>(x, n, out);
  }
}

/** One register tile: kRows × kTileVectors accumulators, a panel row loaded once per k, a's numbers broadcast. */
template <int kRows>
void multiply_tile(const float* a, int64_t a_row, int64_t a_k, int64_t depth, const float* b, float* c, int64_t c_row,
                   int columns, bool add_to) {
  V acc[kRows][kTileVectors];
  for (int i = 0; i < kRows; i++) {
    for (int j = 0; j < kTileVectors; j++) acc[i][j] = set1(0.0f);
  }
  for (int64_t k = 0; k < depth; k++) {
    V row[kTileVectors];
    for (int j = 0; j < kTileVectors; j++) row[j] = load(b + (k * kTileVectors + j) * kLanes);
    for (int i = 0; i < kRows; i++) {
      const V x = set1(a[i * a_row + k * a_k]);
      for (int j = 0; j < kTileVectors; j++) acc[i][j] = fma(x, row[j], acc[i][j]);
    }
  }
  for (int i = 0; i < kRows; i++) {
    for (int j = 0; j < kTileVectors; j++) {
      float* to = c + i * c_row + j * kLanes;
      const int rest = columns - j * kLanes;
      if (rest >= kLanes) {
        store(to, add_to ? add(load(to), acc[i][j]) : acc[i][j]);
      } else if (rest > 0) {
        store_n(to, add_to ? add(load_n(to, rest, 0.0f), acc[i][j]) : acc[i][j], rest);
      }
    }
  }
}

void multiply(const float* a, int64_t a_row, int64_t a_k, int64_t rows, int64_t depth, const float* b, float* c,
              int64_t c_row, int columns, bool add_to) {
  int64_t i = 0;
  for (; i + kTileRows <= rows; i += kTileRows) {
    multiply_tile<kTileRows>(a + i * a_row, a_row, a_k, depth, b, c + i * c_row, c_row, columns, add_to);
  }
  for (; i < rows; i++) multiply_tile<1>(a + i * a_row, a_row, a_k, depth, b, c + i * c_row, c_row, columns, add_to);
}

#define SWEET_NAME_(isa) #isa
#define SWEET_NAME(isa) SWEET_NAME_(isa)

constexpr Kernels kKernels = {SWEET_NAME(SWEET_ISA), sum_words_any, grad_words_any, widen_any, kTileRows,
                              kTileVectors* kLanes,  multiply};
static_assert(kKernels.panel <= kMaxPanel, "a panel of logits must fit the caller's tile");

}  // namespace
}  // namespace SWEET_ISA

#define SWEET_JOIN_(a, b) a##b
#define SWEET_JOIN(a, b) SWEET_JOIN_(a, b)

const Kernels* SWEET_JOIN(kernels_, SWEET_ISA)() { return &SWEET_ISA::kKernels; }

}  // namespace sweet
