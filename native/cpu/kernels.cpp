// Compiled once per instruction set (see simd.h). Nothing here may be shared with other objects: everything but the one
// entry point is in an anonymous namespace, and no std:: template is used, for the linker could keep the copy that an
// old processor cannot run.
#include "kernels.h"

#include <math.h>

#include "simd.h"

namespace sweet {
namespace SWEET_ISA {
namespace {

constexpr int kFirstBlock = 1024;  // words whose maximum is the first pivot
constexpr int kBlock = 4096;       // words summed in float32 lanes before they are joined in float64

// A block that sums to more than this, or to an infinity, shows that the pivot lies too low.
constexpr double kLargestSum = 0x1p64;

// 2^r for 0 ≤ r < 1 by a minimax polynomial, exactly 1 at 0. Degree 6 is good for 29 bits, so that float32 results are
// within 2 ulp; degree 5 for 23, which is more than words of 16 bits tell; degree 4 for 18, which a bfloat16 gradient
// rounds to 8.
constexpr float kCoefficients[3][6] = {
    {6.9304484477e-1f, 2.4128020578e-1f, 5.2242472052e-2f, 1.3426685615e-2f},
    {6.9315131182e-1f, 2.4016445001e-1f, 5.5799913598e-2f, 9.0170296595e-3f, 1.8671303746e-3f},
    {6.9314704444e-1f, 2.4022930556e-1f, 5.5485280583e-2f, 9.6754516471e-3f, 1.2467845639e-3f, 2.1612917961e-4f}};

template <int kDegree>
inline V exp2_of_fraction(V r) {
  const float* const c = kCoefficients[kDegree - 4];
  V e = set1(c[kDegree - 1]);
  for (int i = kDegree - 2; i >= 0; i--) e = fma(e, r, set1(c[i]));
  return fma(e, r, set1(1.0f));
}

template <class T>
constexpr int kTermDegree = sizeof(T) == 4 ? 6 : 5;
template <class T>
constexpr int kGradientDegree = 5;
template <>
constexpr int kGradientDegree<float> = 6;
template <>
constexpr int kGradientDegree<bf16> = 4;

// 2^t in a sum need not go below the normal numbers: what lies under them cannot matter beside the largest term. In a
// gradient it goes down to the last subnormal one, which 16-bit storage can hold too. 0 for −∞, NaN for NaN.
template <class T>
inline V exp2_term(V t) {
  return scale2(exp2_of_fraction<kTermDegree<T>>(fraction(t)), t);
}
template <class T>
inline V exp2_gradient(V t) {
  return scale2_low(exp2_of_fraction<kGradientDegree<T>>(fraction(t)), t);
}

template <class T>
float max_word(const T* x, int n) {
  V m = set1(-INFINITY);
  for (int i = 0; i < n; i += kLanes) {
    m = max(m, n - i < kLanes ? load_n(x + i, n - i, -INFINITY) : load(x + i));
  }
  return max_lanes(m);
}

struct BlockSums {
  double sum, weighted;
};

/**
 * t = (x − pivot) · slope. Exact near the pivot by a subtraction and a product; over long rows in one multiply-add with
 * a rounded shift, t + lost, where `lost` is known and put right in what the terms add up to.
 */
template <bool kLong>
class Exponent {
 public:
  static constexpr bool kFusedHere = kLong && kFused;
  const double lost;

  Exponent(float pivot, float slope)
      : lost(kFusedHere ? static_cast<double>(pivot) * slope - pivot * slope : 0),
        pivot_(pivot),
        slope_(slope),
        shift_(-(pivot * slope)) {}

  V operator()(V x) const {
    return kFusedHere ? fma(x, set1(slope_), set1(shift_)) : mul(sub(x, set1(pivot_)), set1(slope_));
  }

 private:
  const float pivot_, slope_, shift_;
};

/** One pass over a block: four chains in step, so that each has its next operand ready when its turn comes. */
template <bool kEntropy, bool kLong, class T>
BlockSums sum_block(const T* x, int n, const Exponent<kLong>& exponent) {
  const V zero = set1(0.0f);
  V sum0 = zero, sum1 = zero, sum2 = zero, sum3 = zero;
  V weighted0 = zero, weighted1 = zero, weighted2 = zero, weighted3 = zero;
  // A masked word has t = −∞ and 2^t = 0; their product counts 0.
  const auto weigh = [](V t, V e, V weighted) {
    return kEntropy ? fma(keep_from(t, -126.0f, t), e, weighted) : weighted;
  };
  int i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    if (kLong) fetch(x + i);
    V x0, x1, x2, x3;
    load2(x + i, x0, x1);
    load2(x + i + 2 * kLanes, x2, x3);
    const V t0 = exponent(x0), t1 = exponent(x1), t2 = exponent(x2), t3 = exponent(x3);
    const V e0 = exp2_term<T>(t0), e1 = exp2_term<T>(t1);
    const V e2 = exp2_term<T>(t2), e3 = exp2_term<T>(t3);
    sum0 = add(sum0, e0), sum1 = add(sum1, e1), sum2 = add(sum2, e2), sum3 = add(sum3, e3);
    weighted0 = weigh(t0, e0, weighted0), weighted1 = weigh(t1, e1, weighted1);
    weighted2 = weigh(t2, e2, weighted2), weighted3 = weigh(t3, e3, weighted3);
  }
  for (; i < n; i += kLanes) {
    const V word = n - i < kLanes ? load_n(x + i, n - i, -INFINITY) : load(x + i);
    const V t = exponent(word), e = exp2_term<T>(t);
    sum0 = add(sum0, e);
    weighted0 = weigh(t, e, weighted0);
  }
  const V sum = add(add(sum0, sum1), add(sum2, sum3));
  const V weighted = add(add(weighted0, weighted1), add(weighted2, weighted3));
  const double total = sum_lanes(sum), total_weighted = kEntropy ? sum_lanes(weighted) : 0.0;
  if (!exponent.kFusedHere) return {total, total_weighted};
  const double factor = ::exp2(-exponent.lost);
  return {total * factor, (total_weighted - exponent.lost * total) * factor};
}

void move_pivot(RowSums* sums, float pivot, float slope) {
  if (sums->sum != 0) {  // else both sums are 0 and the old pivot may be −∞
    const double d = (static_cast<double>(sums->pivot) - pivot) * slope, factor = ::exp2(d);
    sums->weighted = (sums->weighted + sums->sum * d) * factor;
    sums->sum *= factor;
  }
  sums->pivot = pivot;
}

template <bool kEntropy, bool kLong, class T>
void sum_words(RowSums* sums, const T* x, int64_t n, float slope) {
  for (int64_t i = 0; i < n;) {
    const int64_t most = sums->pivot == -INFINITY ? kFirstBlock : kBlock;
    const int count = static_cast<int>(n - i < most ? n - i : most);
    if (sums->pivot == -INFINITY) move_pivot(sums, max_word(x + i, count), slope);
    const auto sum_at = [&](float pivot) { return sum_block<kEntropy>(x + i, count, Exponent<kLong>(pivot, slope)); };
    // A block of masked words alone leaves the pivot at −∞; against 0 its terms are 0, and a NaN among them still
    // shows.
    BlockSums block = sum_at(sums->pivot == -INFINITY ? 0.0f : sums->pivot);
    if (!(block.sum <= kLargestSum)) {
      const float largest = max_word(x + i, count);
      if (largest > sums->pivot) {  // else it is a NaN's doing
        move_pivot(sums, largest, slope);
        block = sum_at(sums->pivot);
      }
    }
    sums->sum += block.sum;
    sums->weighted += block.weighted;
    i += count;
  }
}

template <class T>
void sum_words_of(RowSums* sums, const void* x, int64_t n, float slope, bool entropy) {
  const T* words = static_cast<const T*>(x);
  if (n >= kBlock) {
    entropy ? sum_words<true, true>(sums, words, n, slope) : sum_words<false, true>(sums, words, n, slope);
  } else {
    entropy ? sum_words<true, false>(sums, words, n, slope) : sum_words<false, false>(sums, words, n, slope);
  }
}

void sum_words_any(RowSums* sums, const void* x, DType dtype, int64_t n, float slope, bool entropy) {
  switch (dtype) {
    case DType::float32:
      return sum_words_of<float>(sums, x, n, slope, entropy);
    case DType::bfloat16:
      return sum_words_of<bf16>(sums, x, n, slope, entropy);
    case DType::float16:
      return sum_words_of<f16>(sums, x, n, slope, entropy);
  }
}

template <bool kLong, class T>
void grad_words(const T* x, T* out, int64_t n, float factor, const Exponent<kLong>& exponent) {
  const V f = set1(exponent.kFusedHere ? static_cast<float>(factor * ::exp2(-exponent.lost)) : factor);
  const auto grad = [&](V word) { return mul(f, exp2_gradient<T>(exponent(word))); };
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    if (kLong) fetch(x + i);
    V x0, x1, x2, x3;
    load2(x + i, x0, x1);
    load2(x + i + 2 * kLanes, x2, x3);
    const V g0 = grad(x0), g1 = grad(x1), g2 = grad(x2), g3 = grad(x3);
    store2(out + i, g0, g1);
    store2(out + i + 2 * kLanes, g2, g3);
  }
  for (; i < n; i += kLanes) {
    const int rest = static_cast<int>(n - i);
    if (rest >= kLanes) {
      store(out + i, grad(load(x + i)));
    } else {
      store_n(out + i, grad(load_n(x + i, rest, 0.0f)), rest);
    }
  }
}

template <class T>
void grad_words_of(const void* from, void* to, int64_t n, float slope, float pivot, float factor) {
  const T* x = static_cast<const T*>(from);
  T* out = static_cast<T*>(to);
  if (n >= kBlock) {
    grad_words(x, out, n, factor, Exponent<true>(pivot, slope));
  } else {
    grad_words(x, out, n, factor, Exponent<false>(pivot, slope));
  }
}

void grad_words_any(const void* x, void* out, DType dtype, int64_t n, float slope, float pivot, float factor) {
  switch (dtype) {
    case DType::float32:
      return grad_words_of<float>(x, out, n, slope, pivot, factor);
    case DType::bfloat16:
      return grad_words_of<bf16>(x, out, n, slope, pivot, factor);
    case DType::float16:
      return grad_words_of<f16>(x, out, n, slope, pivot, factor);
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
