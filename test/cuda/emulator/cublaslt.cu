// Stands in for libcublasLt.so: the thirteen functions that native/cuda/cublaslt.cpp loads, with plain loops over the
// emulator's memory. Written from NVIDIA's documentation, so that each of the two files checks the other. It returns
// errors where the real library may not: layouts that do not fit, pointers less aligned than announced, the algorithm
// of another product.
#include <cuda_runtime.h>
#include <library_types.h>

#include <cstdint>
#include <cstring>

namespace {

constexpr int kSuccess = 0, kInvalidValue = 7, kExecutionFailed = 13;
constexpr int kCompute32F = 68, kTransA = 3, kTransB = 4, kEpilogue = 7, kBiasPointer = 8;
constexpr uint32_t kEpilogueDefault = 1, kEpilogueBias = 4;
constexpr int kMaxWorkspace = 1, kMinAlignmentA = 5;
constexpr size_t kWorkspace = 1280;  // of an algorithm, where the preference allows it
constexpr uint64_t kMark = 0x600d600d;

struct Desc {
  uint64_t mark = kMark + 1;
  int32_t trans_a = 0, trans_b = 0;
  uint32_t epilogue = kEpilogueDefault;
  const float* bias = nullptr;
};

struct Layout {
  uint64_t mark;
  cudaDataType_t type;
  uint64_t rows, cols;
  int64_t ld;
};

struct Preference {
  uint64_t mark = kMark + 3;
  size_t workspace = 0;
  uint32_t alignments[4] = {256, 256, 256, 256};
};

struct Handle {
  uint64_t mark = kMark;
  int device = 0;
};

/** An algorithm records the product that it was chosen for. */
struct Algorithm {
  uint64_t mark, shape, workspace, alignments, unused[4];
};
static_assert(sizeof(Algorithm) == 64, "cublasLtMatmulAlgo_t");

struct Operation {
  uint64_t m = 0, n = 0, k = 0;
};

/** Null unless the object has its type's mark. */
template <class T>
T* checked(void* object, uint64_t mark) {
  T* const it = static_cast<T*>(object);
  return it && it->mark == mark ? it : nullptr;
}

/** Whether the layouts are those of one product. */
bool fit(const Desc& desc, const Layout& a, const Layout& b, const Layout& c, const Layout& d, Operation* out) {
  const uint64_t m = desc.trans_a ? a.cols : a.rows, k = desc.trans_a ? a.rows : a.cols;
  const uint64_t also_k = desc.trans_b ? b.cols : b.rows, n = desc.trans_b ? b.rows : b.cols;
  *out = {m, n, k};
  const bool types = a.type == b.type && d.type == CUDA_R_32F && c.type == d.type;
  return types && k == also_k && d.rows == m && d.cols == n && c.rows == m && c.cols == n && m > 0 && n > 0;
}

uint64_t shape_of(const Desc& desc, const Operation& op, const Layout& a) {
  return (op.m * 1000003 + op.n) * 1000003 + op.k + static_cast<uint64_t>(desc.trans_a * 2 + desc.trans_b) * 77 +
         static_cast<uint64_t>(a.type) * 7919 + desc.epilogue * 104729;
}

bool aligned(const void* pointer, uint64_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

// -- the product

struct Operand {
  const void* data;
  Layout layout;
  int32_t transposed;
};

/** op(x) at row, col; column-major. */
__device__ float at(const Operand& x, uint64_t row, uint64_t col) {
  const uint64_t ld = static_cast<uint64_t>(x.layout.ld), i = x.transposed ? col + row * ld : row + col * ld;
  if (x.layout.type == CUDA_R_32F) return static_cast<const float*>(x.data)[i];
  if (x.layout.type == CUDA_R_16F) return __half2float(static_cast<const __half*>(x.data)[i]);
  return __bfloat162float(static_cast<const __nv_bfloat16*>(x.data)[i]);
}

/** One thread. With beta 0 the result is NaN first, which shows if it is read or overlaps an operand. */
__global__ void multiply(Operand a, Operand b, Operation op, float alpha, float beta, float* d, int64_t stride,
                         const float* bias, char* workspace, size_t workspace_bytes) {
  const uint64_t ld = static_cast<uint64_t>(stride);
  for (size_t i = 0; i < workspace_bytes; i++) workspace[i] = -1;
  for (uint64_t col = 0; beta == 0 && col < op.n; col++) {
    for (uint64_t row = 0; row < op.m; row++) d[row + col * ld] = NAN;
  }
  for (uint64_t col = 0; col < op.n; col++) {
    for (uint64_t row = 0; row < op.m; row++) {
      float sum = 0;
      for (uint64_t i = 0; i < op.k; i++) sum += at(a, row, i) * at(b, i, col);
      float* const out = &d[row + col * ld];
      *out = alpha * sum + (beta == 0 ? 0 : beta * *out) + (bias ? bias[row] : 0);
    }
  }
}

}  // namespace

extern "C" {

size_t cublasLtGetVersion() { return 130100; }

int cublasLtCreate(void** handle) {
  Handle* const created = new Handle;
  *handle = created;
  return cudaGetDevice(&created->device) == cudaSuccess ? kSuccess : 1;
}

int cublasLtDestroy(void* handle) {
  Handle* const it = checked<Handle>(handle, kMark);
  if (it) it->mark = 0;
  delete it;
  return it ? kSuccess : kInvalidValue;
}

int cublasLtMatmulDescCreate(void** desc, int compute, cudaDataType_t scale) {
  if (compute != kCompute32F || scale != CUDA_R_32F) return kInvalidValue;
  *desc = new Desc;
  return kSuccess;
}

int cublasLtMatmulDescDestroy(void* desc) {
  Desc* const it = checked<Desc>(desc, kMark + 1);
  delete it;
  return it ? kSuccess : kInvalidValue;
}

int cublasLtMatmulDescSetAttribute(void* desc, int attribute, const void* value, size_t bytes) {
  Desc* const it = checked<Desc>(desc, kMark + 1);
  if (!it) return kInvalidValue;
  const auto set = [&](auto* field) {
    if (bytes != sizeof(*field)) return kInvalidValue;
    memcpy(field, value, bytes);
    return kSuccess;
  };
  switch (attribute) {
    case kTransA:
      return set(&it->trans_a);
    case kTransB:
      return set(&it->trans_b);
    case kEpilogue:
      return set(&it->epilogue);
    case kBiasPointer:
      return set(&it->bias);
    default:
      return kInvalidValue;
  }
}

int cublasLtMatrixLayoutCreate(void** layout, cudaDataType_t type, uint64_t rows, uint64_t cols, int64_t ld) {
  const bool known = type == CUDA_R_32F || type == CUDA_R_16F || type == CUDA_R_16BF;
  if (!known || rows == 0 || cols == 0 || ld < static_cast<int64_t>(rows)) return kInvalidValue;
  *layout = new Layout{kMark + 2, type, rows, cols, ld};
  return kSuccess;
}

int cublasLtMatrixLayoutDestroy(void* layout) {
  Layout* const it = checked<Layout>(layout, kMark + 2);
  delete it;
  return it ? kSuccess : kInvalidValue;
}

int cublasLtMatmulPreferenceCreate(void** preference) {
  *preference = new Preference;
  return kSuccess;
}

int cublasLtMatmulPreferenceDestroy(void* preference) {
  Preference* const it = checked<Preference>(preference, kMark + 3);
  delete it;
  return it ? kSuccess : kInvalidValue;
}

int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void* value, size_t bytes) {
  Preference* const it = checked<Preference>(preference, kMark + 3);
  if (!it) return kInvalidValue;
  if (attribute == kMaxWorkspace && bytes == sizeof(it->workspace)) {
    memcpy(&it->workspace, value, bytes);
    return kSuccess;
  }
  const int operand = attribute - kMinAlignmentA;
  if (operand < 0 || operand > 3 || bytes != sizeof(uint32_t)) return kInvalidValue;
  memcpy(&it->alignments[operand], value, bytes);
  return kSuccess;
}

int cublasLtMatmulAlgoGetHeuristic(void* handle, void* desc, void* a, void* b, void* c, void* d, void* preference,
                                   int wanted, void* results, int* found) {
  const Desc* const operation = checked<Desc>(desc, kMark + 1);
  const Layout* layouts[4];
  void* const given[] = {a, b, c, d};
  for (int i = 0; i < 4; i++) layouts[i] = checked<Layout>(given[i], kMark + 2);
  const Preference* const limits = checked<Preference>(preference, kMark + 3);
  if (!checked<Handle>(handle, kMark) || !operation || !limits || wanted < 1) return kInvalidValue;
  for (const Layout* const layout : layouts) {
    if (!layout) return kInvalidValue;
  }
  Operation op;
  if (!fit(*operation, *layouts[0], *layouts[1], *layouts[2], *layouts[3], &op)) return kInvalidValue;
  if (operation->epilogue == kEpilogueBias && !operation->bias) return kInvalidValue;
  Algorithm algorithm{kMark, shape_of(*operation, op, *layouts[0]), 0, 0, {}};
  algorithm.workspace = limits->workspace < kWorkspace ? 0 : kWorkspace;
  for (int i = 0; i < 4; i++) algorithm.alignments |= uint64_t{limits->alignments[i]} << (16 * i);
  memset(results, 0, 96);
  memcpy(results, &algorithm, sizeof(algorithm));
  const size_t workspace = algorithm.workspace;
  memcpy(static_cast<char*>(results) + sizeof(algorithm), &workspace, sizeof(workspace));
  *found = 1;
  return kSuccess;
}

int cublasLtMatmul(void* handle, void* desc, const void* alpha, const void* a, void* a_layout, const void* b,
                   void* b_layout, const void* beta, const void* c, void* c_layout, void* d, void* d_layout,
                   const void* algorithm, void* workspace, size_t workspace_bytes, cudaStream_t stream) {
  const Handle* const own = checked<Handle>(handle, kMark);
  const Desc* const operation = checked<Desc>(desc, kMark + 1);
  const Layout* const la = checked<Layout>(a_layout, kMark + 2);
  const Layout* const lb = checked<Layout>(b_layout, kMark + 2);
  const Layout* const lc = checked<Layout>(c_layout, kMark + 2);
  const Layout* const ld = checked<Layout>(d_layout, kMark + 2);
  int device = -1;
  cudaGetDevice(&device);
  if (!own || own->device != device || !operation || !la || !lb || !lc || !ld || c != d) return kInvalidValue;
  Operation op;
  if (!fit(*operation, *la, *lb, *lc, *ld, &op)) return kInvalidValue;
  Algorithm chosen;
  memcpy(&chosen, algorithm, sizeof(chosen));
  if (chosen.mark != kMark || chosen.shape != shape_of(*operation, op, *la)) return kInvalidValue;
  const void* const pointers[] = {a, b, c, d};
  for (int i = 0; i < 4; i++) {
    if (!aligned(pointers[i], chosen.alignments >> (16 * i) & 0xffff)) return kInvalidValue;
  }
  if (workspace_bytes < chosen.workspace || (chosen.workspace > 0 && !aligned(workspace, 256))) return kInvalidValue;
  const float* const bias = operation->epilogue == kEpilogueBias ? operation->bias : nullptr;
  if (!aligned(bias, 16)) return kInvalidValue;
  float scale, add;
  memcpy(&scale, alpha, sizeof(scale));
  memcpy(&add, beta, sizeof(add));
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(1);
  config.blockDim = dim3(1);
  config.stream = stream;
  const cudaError_t error = cudaLaunchKernelEx(
      &config, multiply, Operand{a, *la, operation->trans_a}, Operand{b, *lb, operation->trans_b}, op, scale, add,
      static_cast<float*>(d), ld->ld, bias, static_cast<char*>(workspace), workspace_bytes);
  return error == cudaSuccess ? kSuccess : kExecutionFailed;
}

}  // extern "C"
