// The table of kernels, compiled once per instruction set (see isa/simd.h). Nothing here may be shared with other
// objects: everything but the one entry point is static or in an anonymous namespace, and no std:: template is used,
// since the linker could keep the copy that an older CPU cannot execute.
#include "kernels.h"

#include "gemm/product.h"
#include "gemm/tile_passes.h"
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

void any_widen(const void* x, DType dtype, int64_t n, float* out) {
  with_type(dtype, [&](auto type) { widen(static_cast<const decltype(type)*>(x), n, out); });
}

#define SWEET_NAME_(isa) #isa
#define SWEET_NAME(isa) SWEET_NAME_(isa)

constexpr Kernels kKernels = {SWEET_NAME(SWEET_ISA),
                              any_softmax_stats,
                              any_softmax_gradient,
                              any_widen,
                              tile_stats,
                              tile_argmax,
                              tile_gradient,
                              kPanel,
                              product<Float32>,
                              nullptr};

}  // namespace
}  // namespace SWEET_ISA

#define SWEET_JOIN_(a, b) a##b
#define SWEET_JOIN(a, b) SWEET_JOIN_(a, b)

const Kernels* SWEET_JOIN(kernels_, SWEET_ISA)() { return &SWEET_ISA::kKernels; }

}  // namespace sweet
