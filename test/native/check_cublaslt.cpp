// Compares native/cuda/cublaslt_interface.h with NVIDIA's header where that is installed; nothing remains at run time.
#if __has_include(<cublasLt.h>)

#include <cublasLt.h>

#include <type_traits>

#include "../../native/cuda/cublaslt_interface.h"

using namespace sweet::cuda::cublaslt;

namespace {

/** Passed in the same way: pointers to anything, and integers and enumerations of the same size. */
template <class A, class B>
constexpr bool passed_alike = sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B>;

template <class Ours, class Theirs>
constexpr bool alike = false;

template <class Result, class... Ours, class TheirResult, class... Theirs>
constexpr bool alike<Result (*)(Ours...), TheirResult (*)(Theirs...)> = [] {
  if constexpr (sizeof...(Ours) == sizeof...(Theirs)) {
    return passed_alike<Result, TheirResult> && (passed_alike<Ours, Theirs> && ...);
  }
  return false;
}();

static_assert(kNoTranspose == CUBLAS_OP_N && kTranspose == CUBLAS_OP_T);
static_assert(sizeof(kTranspose) == sizeof(cublasOperation_t) && sizeof(kEpilogueBias) == sizeof(cublasLtEpilogue_t));
static_assert(kComputeFloat32 == CUBLAS_COMPUTE_32F);
static_assert(kTransposeA == CUBLASLT_MATMUL_DESC_TRANSA && kTransposeB == CUBLASLT_MATMUL_DESC_TRANSB);
static_assert(kEpilogue == CUBLASLT_MATMUL_DESC_EPILOGUE && kBiasPointer == CUBLASLT_MATMUL_DESC_BIAS_POINTER);
static_assert(kEpilogueBias == CUBLASLT_EPILOGUE_BIAS);
static_assert(kMaxWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
static_assert(kFirstAlignment == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
static_assert(kFirstAlignment + 1 == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
static_assert(kFirstAlignment + 2 == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
static_assert(kFirstAlignment + 3 == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(kNotSupported == CUBLAS_STATUS_NOT_SUPPORTED && CUBLAS_STATUS_SUCCESS == 0);

using TheirHeuristic = cublasLtMatmulHeuristicResult_t;
static_assert(sizeof(Algorithm) == sizeof(cublasLtMatmulAlgo_t) && alignof(Algorithm) == alignof(cublasLtMatmulAlgo_t));
static_assert(sizeof(Heuristic) == sizeof(TheirHeuristic) && alignof(Heuristic) == alignof(TheirHeuristic));
static_assert(offsetof(Heuristic, algorithm) == offsetof(TheirHeuristic, algo));
static_assert(offsetof(Heuristic, workspace_bytes) == offsetof(TheirHeuristic, workspaceSize));
static_assert(offsetof(Heuristic, state) == offsetof(TheirHeuristic, state));
static_assert(offsetof(Heuristic, waves) == offsetof(TheirHeuristic, wavesCount));

static_assert(alike<decltype(Functions::version), decltype(&cublasLtGetVersion)>);
static_assert(alike<decltype(Functions::create), decltype(&cublasLtCreate)>);
static_assert(alike<decltype(Functions::destroy), decltype(&cublasLtDestroy)>);
static_assert(alike<decltype(Functions::desc_create), decltype(&cublasLtMatmulDescCreate)>);
static_assert(alike<decltype(Functions::desc_destroy), decltype(&cublasLtMatmulDescDestroy)>);
static_assert(alike<decltype(Functions::desc_set), decltype(&cublasLtMatmulDescSetAttribute)>);
static_assert(alike<decltype(Functions::layout_create), decltype(&cublasLtMatrixLayoutCreate)>);
static_assert(alike<decltype(Functions::layout_destroy), decltype(&cublasLtMatrixLayoutDestroy)>);
static_assert(alike<decltype(Functions::preference_create), decltype(&cublasLtMatmulPreferenceCreate)>);
static_assert(alike<decltype(Functions::preference_destroy), decltype(&cublasLtMatmulPreferenceDestroy)>);
static_assert(alike<decltype(Functions::preference_set), decltype(&cublasLtMatmulPreferenceSetAttribute)>);
static_assert(alike<decltype(Functions::heuristics), decltype(&cublasLtMatmulAlgoGetHeuristic)>);
static_assert(alike<decltype(Functions::matmul), decltype(&cublasLtMatmul)>);

}  // namespace

#endif
