// The part of cublasLt.h that cublaslt.cpp uses: the library is opened at run time, and the header may be missing where
// this is compiled. The binary interface is the same in CUDA 11.4 to 13; test/native/check_cublaslt.cpp compares this
// with the header where there is one.
#pragma once

#include <cuda_runtime.h>
#include <library_types.h>

#include <cstddef>
#include <cstdint>

namespace sweet {
namespace cuda {
namespace cublaslt {

constexpr int32_t kNoTranspose = 0, kTranspose = 1;             // CUBLAS_OP_N, CUBLAS_OP_T
constexpr int kComputeFloat32 = 68;                             // CUBLAS_COMPUTE_32F: no TF32
constexpr int kTransposeA = 3, kTransposeB = 4, kEpilogue = 7;  // CUBLASLT_MATMUL_DESC_...
constexpr int kBiasPointer = 8;
constexpr uint32_t kEpilogueBias = 4;                  // CUBLASLT_EPILOGUE_BIAS
constexpr int kMaxWorkspace = 1, kFirstAlignment = 5;  // CUBLASLT_MATMUL_PREF_..., of A; B, C and D follow
constexpr int kNotSupported = 15;                      // CUBLAS_STATUS_NOT_SUPPORTED

struct Algorithm {  // cublasLtMatmulAlgo_t
  uint64_t data[8];
};

struct Heuristic {  // cublasLtMatmulHeuristicResult_t
  Algorithm algorithm;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Heuristic) == 96);

struct Functions {
  size_t (*version)();
  int (*create)(void** handle);
  int (*destroy)(void* handle);
  int (*desc_create)(void** desc, int compute_type, cudaDataType_t scale_type);
  int (*desc_destroy)(void* desc);
  int (*desc_set)(void* desc, int attribute, const void* value, size_t bytes);
  int (*layout_create)(void** layout, cudaDataType_t type, uint64_t rows, uint64_t columns, int64_t stride);
  int (*layout_destroy)(void* layout);
  int (*preference_create)(void** preference);
  int (*preference_destroy)(void* preference);
  int (*preference_set)(void* preference, int attribute, const void* value, size_t bytes);
  int (*heuristics)(void* handle, void* desc, void* a, void* b, void* c, void* d, void* preference, int wanted,
                    Heuristic* results, int* found);
  int (*matmul)(void* handle, void* desc, const void* alpha, const void* a, void* a_layout, const void* b,
                void* b_layout, const void* beta, const void* c, void* c_layout, void* d, void* d_layout,
                const Algorithm* algorithm, void* workspace, size_t workspace_bytes, cudaStream_t stream);
};

}  // namespace cublaslt
}  // namespace cuda
}  // namespace sweet
