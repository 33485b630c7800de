// The table of kernels, compiled once per instruction set (see isa/simd.h). Nothing here may be shared with other
// objects: everything but the one entry point is static or in an anonymous namespace, and no std:: template is used,
// since the linker could keep the copy that an older CPU cannot execute.
#include "kernels.h"

#include "gemm/pair_tiles.h"
#include "gemm/product.h"
#include "gemm/tile_passes.h"
#include "rows/softcap.h"
#include "rows/widen.h"

namespace sweet {
namespace SWEET_ISA {
namespace {

/** Calls use(T{}) for the storage type T. */
template <class Use>
void with_type(DType dtype, Use use) {
  switch (dtype) {
    case DType::float32:
      return use(float{});
    case DType::bfloat16:
      return use(bf16{});
    case DType::float16:
      return use(f16{});
  }
}

void any_softmax_stats(SegmentStats* stats, const void* x, DType dtype, int64_t n, float scale_log2, Statistics which) {
  with_type(dtype, [&](auto type) {
    const auto* const row = static_cast<const decltype(type)*>(x);
    with_flags(which, [&](auto entropy, auto argmax, auto squares) {
      softmax_stats<entropy.value, argmax.value, squares.value>(stats, row, n, scale_log2);
    });
  });
}

void any_softmax_gradient(const void* x, void* out, DType dtype, int64_t n, const SoftmaxGradient& gradient,
                          bool stream) {
  with_type(dtype, [&](auto type) {
    using T = decltype(type);
    softmax_gradient(static_cast<const T*>(x), static_cast<T*>(out), n, gradient, stream);
  });
}

void any_softcap(const void* x, DType dtype, int64_t n, float inverse, float* out) {
  with_type(dtype, [&](auto type) { softcap(static_cast<const decltype(type)*>(x), n, inverse, out); });
}

void any_times_slope(const float* d, const float* t, int64_t n, void* out, DType dtype) {
  with_type(dtype, [&](auto type) { times_slope(d, t, n, static_cast<decltype(type)*>(out)); });
}

void any_widen(const void* x, DType dtype, int64_t n, float* out) {
  with_type(dtype, [&](auto type) { widen(static_cast<const decltype(type)*>(x), n, out); });
}

void any_narrow(const float* x, DType dtype, int64_t n, void* out) {
  with_type(dtype, [&](auto type) { narrow(x, n, static_cast<decltype(type)*>(out)); });
}

void any_row_stats(const PairOfRows& pair, PairStats* stats, float scale_a, float scale_b) {
  with_type(pair.dtype, [&](auto type) { pair_row_stats<decltype(type)>(pair, stats, scale_a, scale_b); });
}

void any_row_jsd(const PairOfRows& pair, const PairRows& rows, float beta, float other_beta, JsdSums* sums) {
  with_type(pair.dtype, [&](auto type) { pair_row_jsd<decltype(type)>(pair, rows, beta, other_beta, sums); });
}

void any_row_gradient(const PairOfRows& pair, const PairRows& rows, Divergence type, float beta, float other_beta,
                      void* out, bool stream) {
  with_type(pair.dtype, [&](auto of) {
    using T = decltype(of);
    pair_row_gradient(pair, rows, type, beta, other_beta, static_cast<T*>(out), stream);
  });
}

constexpr DivergenceKernels kDivergence = {any_row_stats, any_row_jsd,        any_row_gradient, pair_tile_stats,
                                           pair_tile_jsd, pair_tile_gradient, any_narrow};

#define SWEET_NAME_(isa) #isa
#define SWEET_NAME(isa) SWEET_NAME_(isa)

constexpr Kernels kKernels = {SWEET_NAME(SWEET_ISA),
                              any_softmax_stats,
                              any_softmax_gradient,
                              any_softcap,
                              any_times_slope,
                              any_widen,
                              tile_stats,
                              tile_argmax,
                              tile_gradient,
                              kPanel,
                              product<Float32>,
                              nullptr,
                              &kDivergence};

}  // namespace
}  // namespace SWEET_ISA

#define SWEET_JOIN_(a, b) a##b
#define SWEET_JOIN(a, b) SWEET_JOIN_(a, b)

const Kernels* SWEET_JOIN(kernels_, SWEET_ISA)() { return &SWEET_ISA::kKernels; }

}  // namespace sweet
