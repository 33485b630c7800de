// Compiled once per instruction set (see simd.h). Nothing here may be shared with other objects: everything but the one
// entry point is in an anonymous namespace, and no std:: template is used, for the linker could keep the copy that an
// old processor cannot run.
#include "kernels.h"

#include <math.h>

#include "gemm/product.h"
#include "isa/simd.h"

namespace sweet {
namespace SWEET_ISA {
namespace {

constexpr int kStrip = 16;    // additions to a float32 lane before it is joined with the others of its kind
constexpr int kShort = 1024;  // up to here the pivot is the maximum of all words
constexpr int kFirst = 256;   // of longer rows, that of the first words
constexpr int kLong = 4096;   // from here a row is worth a rounded shift and reading ahead

// A sum above this, or an infinite one, shows that the pivot lies too low.
constexpr double kLargestSum = 0x1p64;

// Up to here, a shift in place of the pivot's subtraction leaves the shift's steps finer than those of power().
constexpr float kFarthestShift = 0x1p16f;

template <class T>
constexpr Exp2 kGradient = kPower;
template <>
constexpr Exp2 kGradient<bf16> = kBf16Gradient;

/** factor * 2^r */
template <const Exp2& kExp2>
class Polynomial {
 public:
  explicit Polynomial(float factor = 1) : factor_(factor) {
    for (int i = 0; i < kExp2.degree; i++) c_[i] = kExp2.c[i] * factor;
  }

  V operator()(V r) const {
    V e = set1(c_[kExp2.degree - 1]);
    for (int i = kExp2.degree - 2; i >= 0; i--) e = fma(e, r, set1(c_[i]));
    return fma(e, r, set1(factor_));
  }

 private:
  float factor_, c_[kExp2.degree];
};

/**
 * t = (x - pivot) * slope + raise, raise an integer. Near the pivot a subtraction makes it exact. Over long rows the
 * pivot goes into the line's shift instead, of which only the integer counts; what that leaves out is known: 2^t lacks
 * a factor 2^lost, made good in whatever the powers are used for.
 */
template <bool kShifted>
struct Exponent {
  float pivot;
  Line line;
  double lost;

  Exponent(float at, float slope, int raise) : pivot(at), lost(0) {
    double shift = raise;
    if (kShifted) {
      shift = ::floor(raise - static_cast<double>(at) * slope + 0.5);
      lost = raise - static_cast<double>(at) * slope - shift;
    }
    line = {slope, static_cast<float>(shift), static_cast<float>((-127 - shift) / slope),
            static_cast<float>((128 - shift) / slope)};
  }

  /** With kClamped, what lies too far down counts as 0 and too far up as infinite; otherwise `seen` tells of it. */
  template <bool kClamped>
  V offset(V x) const {
    const V y = kShifted ? x : sub(x, set1(pivot));
    return kClamped && !kPowersAreEndless ? min(set1(line.high), max(set1(line.low), y)) : y;
  }
};

/** Calls use(exponent) with the cheaper of the two that is good here. */
template <class Use>
auto with_exponent(float pivot, float slope, int raise, int64_t words, Use use) {
  if (kFused && words >= kLong && ::fabsf(pivot * slope) < kFarthestShift) {
    return use(Exponent<true>(pivot, slope, raise));
  }
  return use(Exponent<false>(pivot, slope, raise));
}

template <class T>
float max_word(const T* x, int64_t n) {
  V m = set1(-INFINITY);
  for (int64_t i = 0; i < n; i += kLanes) {
    m = max(m, n - i < kLanes ? load_n(x + i, static_cast<int>(n - i), -INFINITY) : load(x + i));
  }
  return max_lanes(m);
}

struct Sums {
  double sum, weighted;
};

/** Two chains in step, so that each has its next operand ready when its turn comes. */
template <bool kEntropy, bool kClamped, bool kShifted, class T>
class Chains {
 public:
  explicit Chains(const Exponent<kShifted>& exponent) : exponent_(exponent) {
    sum_[0] = sum_[1] = weighted_[0] = weighted_[1] = set1(0.0f);
  }

  void add2(const T* p) {
    V a, b;
    load2(p, a, b);
    add1(a, 0);
    add1(b, 1);
  }

  void add1(V word, int k) { take<kClamped>(word, k); }

  /** Fewer than kLanes words; the masked ones that fill up the lanes are nothing to be seen. */
  void add_rest(const T* p, int n) { take<true>(load_n(p, n, -INFINITY), 0); }

  bool strayed() const { return seen_.strayed(); }
  V sum() const { return add(sum_[0], sum_[1]); }
  V weighted() const { return add(weighted_[0], weighted_[1]); }

 private:
  template <bool kHere>
  void take(V word, int k) {
    const V y = exponent_.template offset<kHere>(word);
    const Power power2 = power(y, exponent_.line, seen_);
    const V p = polynomial_(power2.r);
    sum_[k] = fma(power2.scale, p, sum_[k]);
    if (!kEntropy) return;
    // A masked word's power is 0 and its t -inf; their product counts 0.
    const V t = max(set1(-127.0f), fma(y, set1(exponent_.line.slope), set1(exponent_.line.shift)));
    weighted_[k] = fma(mul(power2.scale, t), p, weighted_[k]);
  }

  const Exponent<kShifted> exponent_;
  const Polynomial<kPower> polynomial_;
  V sum_[2], weighted_[2];
  Seen seen_;
};

/**
 * One pass over n words. Most of them as two streams, the second from the middle: memory is quicker with two pages open
 * than with one. A strip's chains are joined lane by lane, the lanes at the end in float64. A NaN where words
 * strayed.
 */
template <bool kEntropy, bool kClamped, bool kShifted, class T>
Sums sum_pass(const T* x, int64_t n, const Exponent<kShifted>& exponent) {
  constexpr int kPair = 2 * kLanes;
  V sum = set1(0.0f), weighted = sum;
  bool strayed = false;
  const auto join = [&](const Chains<kEntropy, kClamped, kShifted, T>& chains) {
    strayed |= chains.strayed();
    sum = add(sum, chains.sum());
    if (kEntropy) weighted = add(weighted, chains.weighted());
  };
  const int64_t half = n / (2 * kStrip * kPair) * kStrip * kPair;
  int64_t i = 0;
  while (i < half) {
    Chains<kEntropy, kClamped, kShifted, T> chains(exponent);
    for (int k = 0; k < kStrip; k++, i += kPair) {
      if (kShifted) fetch2(x + i), fetch2(x + half + i);
      chains.add2(x + i);
      chains.add2(x + half + i);
    }
    join(chains);
  }
  Chains<kEntropy, kClamped, kShifted, T> chains(exponent);
  for (i = 2 * half; i + kPair <= n; i += kPair) chains.add2(x + i);
  for (; i + kLanes <= n; i += kLanes) chains.add1(load(x + i), 0);
  if (i < n) chains.add_rest(x + i, static_cast<int>(n - i));
  join(chains);
  if (!kClamped && strayed) return {NAN, NAN};
  const double total = sum_lanes(sum), total_weighted = kEntropy ? sum_lanes(weighted) : 0.0;
  if (!kShifted) return {total, total_weighted};
  const double factor = ::exp2(exponent.lost);
  return {total * factor, (total_weighted + exponent.lost * total) * factor};
}

void move_pivot(SegmentStats* stats, float pivot, float slope) {
  if (stats->sum_exp != 0) {  // else both sums are 0 and the old pivot may be -inf
    const double d = (static_cast<double>(stats->max) - pivot) * slope, factor = ::exp2(d);
    stats->sum_t_exp = (stats->sum_t_exp + stats->sum_exp * d) * factor;
    stats->sum_exp *= factor;
  }
  stats->max = pivot;
}

template <class T>
float first_pivot(const T* x, int64_t n) {
  const float pivot = max_word(x, n <= kShort ? n : kFirst);
  return pivot > -INFINITY ? pivot : max_word(x, n);
}

template <bool kEntropy, bool kClamped, class T>
Sums sum_against(float pivot, const T* x, int64_t n, float slope) {
  // Masked words alone leave the pivot at -inf; against 0 their terms are 0, and a NaN among them still shows.
  return with_exponent(pivot == -INFINITY ? 0.0f : pivot, slope, 0, n,
                       [&](const auto& exponent) { return sum_pass<kEntropy, kClamped>(x, n, exponent); });
}

template <bool kEntropy, class T>
void sum_words(SegmentStats* stats, const T* x, int64_t n, float slope) {
  if (stats->max == -INFINITY) move_pivot(stats, first_pivot(x, n), slope);
  Sums here = sum_against<kEntropy, false>(stats->max, x, n, slope);
  if (!(here.sum <= kLargestSum)) {  // a pivot too low, words too far below it, or a NaN
    const float largest = max_word(x, n);
    if (largest > stats->max) move_pivot(stats, largest, slope);
    here = sum_against<kEntropy, true>(stats->max, x, n, slope);
  }
  stats->sum_exp += here.sum;
  stats->sum_t_exp += here.weighted;
}

template <class T>
void sum_words_of(SegmentStats* stats, const void* x, int64_t n, float slope, bool entropy) {
  const T* words = static_cast<const T*>(x);
  entropy ? sum_words<true>(stats, words, n, slope) : sum_words<false>(stats, words, n, slope);
}

void sum_words_any(SegmentStats* stats, const void* x, DType dtype, int64_t n, float slope, bool entropy) {
  switch (dtype) {
    case DType::float32:
      return sum_words_of<float>(stats, x, n, slope, entropy);
    case DType::bfloat16:
      return sum_words_of<bf16>(stats, x, n, slope, entropy);
    case DType::float16:
      return sum_words_of<f16>(stats, x, n, slope, entropy);
  }
}

template <bool kShifted, class T>
class Gradient {
 public:
  Gradient(const Exponent<kShifted>& exponent, float factor)
      : exponent_(exponent), polynomial_(static_cast<float>(factor * ::exp2(exponent.lost))) {}

  template <bool kClamped>
  V of(V word, Seen& seen) const {
    const Power power2 = power(exponent_.template offset<kClamped>(word), exponent_.line, seen);
    return mul(power2.scale, polynomial_(power2.r));
  }

 private:
  const Exponent<kShifted> exponent_;
  const Polynomial<kGradient<T>> polynomial_;
};

/** Words that no register of kLanes is left of, or that come before `out` is aligned. */
template <bool kShifted, class T>
void grad_singly(const T* x, T* out, int64_t n, const Gradient<kShifted, T>& gradient) {
  Seen seen;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int rest = static_cast<int>(n - i);
    if (rest >= kLanes) {
      store(out + i, gradient.template of<true>(load(x + i), seen));
    } else {
      store_n(out + i, gradient.template of<true>(load_n(x + i, rest, 0.0f), seen), rest);
    }
  }
}

/** What load2 would load, a whole register at a time. */
template <class T>
void copy2(const T* from, T* to) {
  for (int i = 0; i < 2 * kLanes; i += sizeof(V) / sizeof(T)) {
    V words;
    memcpy(&words, from + i, sizeof(V));
    memcpy(to + i, &words, sizeof(V));
  }
}

/**
 * kStream: past the caches, out aligned for it. The gradient is a copy, for through a reference its numbers would be
 * read again after every store.
 */
template <bool kStream, bool kShifted, class T>
int64_t grad_strips(const T* x, T* out, int64_t n, const Gradient<kShifted, T> gradient) {
  constexpr int kPair = 2 * kLanes;
  int64_t i = 0;
  for (; i + kStrip * kPair <= n; i += kStrip * kPair) {
    // out may be x: the words are kept for the case that some of them strayed.
    T kept[kPowersAreEndless ? 1 : kStrip * kPair];
    Seen seen;
    for (int k = 0; k < kStrip * kPair; k += kPairsAtOnce * kPair) {
      V a[kPairsAtOnce], b[kPairsAtOnce];
      for (int j = 0; j < kPairsAtOnce; j++) {
        const T* const p = x + i + k + j * kPair;
        if (kShifted) fetch2(p);
        load2(p, a[j], b[j]);
        if (!kPowersAreEndless) copy2(p, kept + k + j * kPair);
      }
      for (int j = 0; j < kPairsAtOnce; j++) {
        a[j] = gradient.template of<false>(a[j], seen);
        b[j] = gradient.template of<false>(b[j], seen);
      }
      for (int j = 0; j < kPairsAtOnce; j++) {
        T* const p = out + i + k + j * kPair;
        kStream ? stream2(p, a[j], b[j]) : store2(p, a[j], b[j]);
      }
    }
    if (!seen.strayed()) continue;
    if (kStream) end_stream();
    for (int k = 0; k < kStrip * kPair; k += kPair) {
      V a, b;
      load2(kept + k, a, b);
      store2(out + i + k, gradient.template of<true>(a, seen), gradient.template of<true>(b, seen));
    }
  }
  if (kStream) end_stream();
  return i;
}

template <bool kShifted, class T>
void grad_words(const T* x, T* out, int64_t n, float factor, const Exponent<kShifted>& exponent, bool stream) {
  const Gradient<kShifted, T> gradient(exponent, factor);
  int64_t i = 0;
  if (stream && kShifted) {
    i = -(reinterpret_cast<intptr_t>(out) / static_cast<int64_t>(sizeof(T))) &
        (64 / static_cast<int64_t>(sizeof(T)) - 1);
    grad_singly(x, out, i, gradient);
    i += grad_strips<true>(x + i, out + i, n - i, gradient);
  } else {
    i = grad_strips<false>(x, out, n, gradient);
  }
  grad_singly(x + i, out + i, n - i, gradient);
}

template <class T>
void grad_words_of(const void* from, void* to, int64_t n, float slope, float pivot, float factor, bool stream) {
  // Powers that reach to 2^-127 only must still lead to the subnormal gradients: they are taken 2^64 too large and the
  // factor so much smaller, the factor's own power of two counted with the exponent. Factors above 2^60 do without.
  int raise = 0;
  if (!kPowersAreEndless && factor - factor == 0) {
    factor = ::frexpf(factor, &raise);
    if (raise <= 60) raise += 64, factor *= 0x1p-64f;
  }
  const T* x = static_cast<const T*>(from);
  T* out = static_cast<T*>(to);
  with_exponent(pivot, slope, raise, n, [&](const auto& at) { grad_words(x, out, n, factor, at, stream); });
}

void grad_words_any(const void* x, void* out, DType dtype, int64_t n, float slope, float pivot, float factor,
                    bool stream) {
  switch (dtype) {
    case DType::float32:
      return grad_words_of<float>(x, out, n, slope, pivot, factor, stream);
    case DType::bfloat16:
      return grad_words_of<bf16>(x, out, n, slope, pivot, factor, stream);
    case DType::float16:
      return grad_words_of<f16>(x, out, n, slope, pivot, factor, stream);
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

/** Sums of a column of words under each lane; `tokens` of them count. */
template <bool kEntropy>
void sum_columns(const Tile& tile, int64_t first, int tokens, SegmentStats* stats, float slope) {
  const float* const x = tile.x + first;
  V largest = set1(-INFINITY);
  for (int64_t v = 0; v < tile.entries; v++) largest = max(largest, load(x + v * tile.row_stride));
  float pivots[kLanes];
  store(pivots, largest);
  for (int i = 0; i < kLanes; i++) {
    if (i < tokens && pivots[i] > stats[i].max) move_pivot(stats + i, pivots[i], slope);
    pivots[i] = i < tokens && stats[i].max > -INFINITY ? stats[i].max : 0.0f;
  }

  const V pivot = load(pivots);
  Chains<kEntropy, true, true, float> chains(Exponent<true>(0, slope, 0));
  const auto add = [&](int64_t v, int chain) { chains.add1(sub(load(x + v * tile.row_stride), pivot), chain); };
  for (int64_t v = 0; v + 1 < tile.entries; v += 2) add(v, 0), add(v + 1, 1);
  if (tile.entries % 2) add(tile.entries - 1, 0);

  float total[kLanes], total_weighted[kLanes];
  store(total, chains.sum());
  store(total_weighted, chains.weighted());
  for (int i = 0; i < tokens; i++) {
    stats[i].sum_exp += total[i];
    stats[i].sum_t_exp += total_weighted[i];
  }
}

void sum_tile(const Tile& tile, SegmentStats* stats, float slope, bool entropy) {
  for (int64_t i = 0; i < tile.tokens; i += kLanes) {
    const int tokens = static_cast<int>(tile.tokens - i < kLanes ? tile.tokens - i : kLanes);
    entropy ? sum_columns<true>(tile, i, tokens, stats + i, slope)
            : sum_columns<false>(tile, i, tokens, stats + i, slope);
  }
}

void grad_tile(const Tile& tile, const float* pivots, const float* factors, float slope) {
  const Gradient<true, float> gradient(Exponent<true>(0, slope, 0), 1);
  Seen seen;
  for (int64_t i = 0; i < tile.tokens; i += kLanes) {
    const V pivot = load(pivots + i), factor = load(factors + i);
    for (int64_t v = 0; v < tile.entries; v++) {
      float* const x = tile.x + v * tile.row_stride + i;
      store(x, mul(gradient.of<true>(sub(load(x), pivot), seen), factor));
    }
  }
}

#define SWEET_NAME_(isa) #isa
#define SWEET_NAME(isa) SWEET_NAME_(isa)

constexpr Kernels kKernels = {
    SWEET_NAME(SWEET_ISA), sum_words_any, grad_words_any, widen_any, sum_tile, grad_tile, kPanel,
    product<Numbers>,      nullptr};

}  // namespace
}  // namespace SWEET_ISA

#define SWEET_JOIN_(a, b) a##b
#define SWEET_JOIN(a, b) SWEET_JOIN_(a, b)

const Kernels* SWEET_JOIN(kernels_, SWEET_ISA)() { return &SWEET_ISA::kKernels; }

}  // namespace sweet
