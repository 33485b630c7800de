#include "cublaslt.h"

#include <dlfcn.h>
#include <glob.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <vector>

#include "../device_gemm.h"
#include "cublaslt_interface.h"

namespace sweet {
namespace cuda {
namespace {

using namespace cublaslt;

/** The name of the first function that is unavailable, or null. */
const char* load_functions(void* file, Functions* functions) {
  const char* unavailable = nullptr;
  const auto load = [&](auto& function, const char* name) {
    void* const symbol = dlsym(file, name);
    if (!symbol && !unavailable) unavailable = name;
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(symbol);
  };
  load(functions->version, "cublasLtGetVersion");
  load(functions->create, "cublasLtCreate");
  load(functions->destroy, "cublasLtDestroy");
  load(functions->desc_create, "cublasLtMatmulDescCreate");
  load(functions->desc_destroy, "cublasLtMatmulDescDestroy");
  load(functions->desc_set, "cublasLtMatmulDescSetAttribute");
  load(functions->layout_create, "cublasLtMatrixLayoutCreate");
  load(functions->layout_destroy, "cublasLtMatrixLayoutDestroy");
  load(functions->preference_create, "cublasLtMatmulPreferenceCreate");
  load(functions->preference_destroy, "cublasLtMatmulPreferenceDestroy");
  load(functions->preference_set, "cublasLtMatmulPreferenceSetAttribute");
  load(functions->heuristics, "cublasLtMatmulAlgoGetHeuristic");
  load(functions->matmul, "cublasLtMatmul");
  return unavailable;
}

// -- where it is searched

/** Where NVIDIA's installers, conda and pip put it. A bare name leaves the search to the loader. */
std::vector<std::string> candidate_files() {
  std::vector<std::string> files;
  const auto add = [&](const std::string& folder) {
    for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"}) files.push_back(folder + name);
  };
  const auto add_under = [&](const char* variable, const char* folder) {
    const char* const root = getenv(variable);
    if (root && *root) add(std::string(root) + folder);
  };
  add("");
  add_under("CUDA_HOME", "/lib64/");
  add_under("CUDA_PATH", "/lib64/");
  add_under("CONDA_PREFIX", "/lib/");
  add("/usr/local/cuda/lib64/");
  const char* const environment = getenv("VIRTUAL_ENV");
  for (const char* folder : {"nvidia/cu13/lib/", "nvidia/cublas/lib/"}) {
    if (!environment || !*environment) break;
    glob_t found{};
    const std::string pattern = std::string(environment) + "/lib/python3*/site-packages/" + folder;
    if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
      for (size_t i = 0; i < found.gl_pathc; i++) add(found.gl_pathv[i]);
    }
    globfree(&found);
  }
  return files;
}

struct Library {
  Functions functions{};
  bool found = false, unusable = false;  // unusable: SWEET_RL_CUBLASLT names it
  std::string text;                      // as device::gemm_library() gives it
};

/** Empty if the file can be used, else why not. */
std::string try_file(const std::string& file, Functions* functions) {
  // Never closed: other threads may use it. LOCAL: PyTorch may bring another version into the same process.
  void* const opened = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!opened) return dlerror();
  if (const char* const unavailable = load_functions(opened, functions)) return file + " has no " + unavailable;
  // Fails where the library is too new for the driver.
  void* handle = nullptr;
  const int status = functions->create(&handle);
  if (status != 0) return file + ": cublasLtCreate failed with status " + std::to_string(status);
  functions->destroy(handle);
  return {};
}

Library find_library() {
  Library library;
  const char* const variable = getenv("SWEET_RL_CUBLASLT");
  const std::string given = variable ? variable : "";
  if (given == "none") {
    library.text = "kernels of sweet-rl, as SWEET_RL_CUBLASLT=none asks for";
    return library;
  }
  std::string tried;
  for (const std::string& file : given.empty() ? candidate_files() : std::vector<std::string>{given}) {
    const std::string fault = try_file(file, &library.functions);
    if (!fault.empty()) {
      tried += "\n  " + fault;
      continue;
    }
    const size_t version = library.functions.version();
    // 13.1.0 is 130100, 12.8.4 is 120804.
    library.text = "cuBLASLt " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
                   std::to_string(version % 100) + " (" + file + ")";
    library.found = true;
    return library;
  }
  library.unusable = !given.empty();
  library.text =
      (library.unusable ? "SWEET_RL_CUBLASLT names no cuBLASLt that can be used:"
                        : "kernels of sweet-rl, slower than cuBLASLt, which pip install nvidia-cublas brings "
                          "and which was not found:") +
      tried;
  return library;
}

const Library& library() {
  static const Library found = find_library();
  return found;
}

// -- products

const char* name_of(int status) {
  switch (status) {
    case 1:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case 3:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case 7:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case 8:
      return "CUBLAS_STATUS_ARCH_MISMATCH";
    case 13:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case 14:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
    case kNotSupported:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
      return "an unknown status";
  }
}

Status status_of(int error, const char* operation) {
  if (error == 0) return {};
  Status status{Code::device, 0, error};
  status.device = {operation, name_of(error), "a matrix product of a linear head could not be computed", false};
  return status;
}

cudaDataType_t type_of(DType dtype) {
  return dtype == DType::float32 ? CUDA_R_32F : dtype == DType::bfloat16 ? CUDA_R_16BF : CUDA_R_16F;
}

/** Bytes to which a pointer is aligned, 256 at most. */
int64_t alignment_of(const void* pointer) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(pointer) | 256;
  return static_cast<int64_t>(address & (~address + 1));
}

constexpr int64_t kWorkspaceBytes = 32 << 20;  // NVIDIA's recommendation for Hopper; other sizes not measured

/** The descriptors and the algorithm of products of one shape. */
struct Plan {
  void *desc = nullptr, *a = nullptr, *b = nullptr, *out = nullptr;
  Heuristic heuristic{};
  int status = 0;
};

using Shape = std::array<int64_t, 14>;

Shape shape_of(const Product& p) {
  return {static_cast<int64_t>(p.dtype),
          p.rows,
          p.columns,
          p.depth,
          p.a.stride,
          p.a.transposed,
          p.b.stride,
          p.b.transposed,
          p.stride,
          p.add,
          p.bias != nullptr,
          alignment_of(p.a.data),
          alignment_of(p.b.data),
          alignment_of(p.out)};
}

/** The handle of a device and the plans of its shapes. cuBLASLt takes column-major matrices, and a row-major matrix is
 * its transpose in column-major order: out^T = op(b)^T op(a)^T, so a and b swap. */
class Device {
 public:
  explicit Device(const Functions& functions) : lt_(functions) { status_ = lt_.create(&handle_); }
  ~Device() {
    clear_plans();
    if (status_ == 0) lt_.destroy(handle_);
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  bool multiply(LaunchContext& context, const Product& p) {
    if (status_ != 0) return context.fail(status_of(status_, "cublasLtCreate")), true;
    const Plan& plan = plan_of(p);
    if (plan.status == kNotSupported) return false;
    if (plan.status != 0) {
      context.fail(status_of(plan.status, "cublasLtMatmulAlgoGetHeuristic"));
      clear_plans();  // a failed allocation may succeed next time
      return true;
    }
    if (p.bias && set_bias(plan.desc, p.bias) != 0) return false;
    const LaunchContext::ScratchScope scope(context);
    const int64_t bytes = static_cast<int64_t>(plan.heuristic.workspace_bytes);
    void* const workspace = context.scratch<char>(bytes);
    if (!context.ok()) return true;
    const float beta = p.add ? 1 : 0;
    const int status =
        lt_.matmul(handle_, plan.desc, &p.alpha, p.b.data, plan.b, p.a.data, plan.a, &beta, p.out, plan.out, p.out,
                   plan.out, &plan.heuristic.algorithm, workspace, plan.heuristic.workspace_bytes, context.stream());
    context.fail(status_of(status, "cublasLtMatmul"));
    return true;
  }

 private:
  // Bounds the memory, since every batch may bring new shapes: of each of a linear head's 3 products one of the whole
  // chunks and one of the last. Other bounds not measured.
  static constexpr size_t kMaxPlans = 64;

  const Plan& plan_of(const Product& p) {
    const Shape shape = shape_of(p);
    const auto known = plans_.find(shape);
    if (known != plans_.end()) return known->second;
    if (plans_.size() == kMaxPlans) clear_plans();
    Plan& plan = plans_[shape];
    plan.status = make(p, &plan);
    return plan;
  }

  int make(const Product& p, Plan* plan) {
    void* preference = nullptr;
    int status = lt_.desc_create(&plan->desc, kComputeFloat32, CUDA_R_32F);
    const auto then = [&](auto step) {
      if (status == 0) status = step();
    };
    const auto layout = [&](void** out, DType dtype, int64_t rows, int64_t columns, int64_t stride) {
      then([&] {
        return lt_.layout_create(out, type_of(dtype), static_cast<uint64_t>(columns), static_cast<uint64_t>(rows),
                                 stride);
      });
    };
    const auto operand_layout = [&](void** out, const Matrix& matrix, int64_t rows, int64_t columns) {
      if (matrix.transposed) std::swap(rows, columns);
      layout(out, p.dtype, rows, columns, matrix.stride);
    };
    const auto prefer = [&](int attribute, auto value) {
      then([&] { return lt_.preference_set(preference, attribute, &value, sizeof(value)); });
    };
    operand_layout(&plan->a, p.a, p.rows, p.depth);
    operand_layout(&plan->b, p.b, p.depth, p.columns);
    layout(&plan->out, DType::float32, p.rows, p.columns, p.stride);
    then([&] { return transpose(plan->desc, kTransposeA, p.b.transposed); });
    then([&] { return transpose(plan->desc, kTransposeB, p.a.transposed); });
    if (p.bias) {
      then([&] { return lt_.desc_set(plan->desc, kEpilogue, &kEpilogueBias, sizeof(kEpilogueBias)); });
      then([&] { return set_bias(plan->desc, p.bias); });
    }
    then([&] { return lt_.preference_create(&preference); });
    prefer(kMaxWorkspace, static_cast<size_t>(kWorkspaceBytes));
    const void* const pointers[] = {p.b.data, p.a.data, p.out, p.out};
    for (int i = 0; i < 4; i++) prefer(kFirstAlignment + i, static_cast<uint32_t>(alignment_of(pointers[i])));
    int found = 0;
    then([&] {
      return lt_.heuristics(handle_, plan->desc, plan->b, plan->a, plan->out, plan->out, preference, 1,
                            &plan->heuristic, &found);
    });
    if (status == 0 && (found == 0 || plan->heuristic.state != 0)) status = kNotSupported;
    if (preference) lt_.preference_destroy(preference);
    return status;
  }

  int transpose(void* desc, int attribute, bool transposed) {
    const int32_t operation = transposed ? kTranspose : kNoTranspose;
    return lt_.desc_set(desc, attribute, &operation, sizeof(operation));
  }

  int set_bias(void* desc, const float* bias) { return lt_.desc_set(desc, kBiasPointer, &bias, sizeof(bias)); }

  void clear_plans() {
    for (auto& [shape, plan] : plans_) {
      for (void* const each : {plan.a, plan.b, plan.out}) {
        if (each) lt_.layout_destroy(each);
      }
      if (plan.desc) lt_.desc_destroy(plan.desc);
    }
    plans_.clear();
  }

  const Functions& lt_;
  void* handle_ = nullptr;
  int status_ = 0;
  std::map<Shape, Plan> plans_;
};

// Pointers, so that nothing is destroyed at the end of the thread: the driver may be unloaded by then.
thread_local std::map<int, Device*> devices;

}  // namespace

void require_products(LaunchContext& context) {
  const Library& found = library();
  if (!found.unusable) return;
  Status status{Code::device_gemm};
  status.device.meaning = found.text.c_str();
  context.fail(status);
}

bool multiply_by_cublaslt(LaunchContext& context, const Product& product) {
  const Library& found = library();
  if (!found.found) return false;
  int number = 0;
  cudaGetDevice(&number);
  Device*& device = devices[number];
  if (!device) device = new Device(found.functions);
  return device->multiply(context, product);
}

void close_cublaslt() {
  for (const auto& [number, device] : devices) {
    cudaSetDevice(number);
    delete device;
  }
  devices.clear();
}

}  // namespace cuda

const std::string& device::gemm_library() { return cuda::library().text; }

}  // namespace sweet
