// Row compaction: a linear head computes only the rows that are read, so that its products have no idle rows.
//
//   rows = {i : is_read(label_i)} in ascending order, by a prefix sum over the N flags
//   gather: chunk_j = x_rows[j],  scatter: x_rows[j] = chunk_j
#include <type_traits>

#include "device.h"
#include "product.h"
#include "row_compaction.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;  // 12 to 28 registers: 2048 threads an SM, with 128 or 512 too
constexpr int kWarps = kThreads / kWarp;

/** One block, which takes kThreads rows at a time: N is small beside N * V. */
__global__ void __launch_bounds__(kThreads) compact_rows_kernel(const int32_t* labels,  // [N] checked
                                                                int64_t rows, bool skip_ignored,
                                                                int64_t* compacted,  // [N], of which count are written
                                                                DeviceResult* result) {
  __shared__ int counts[kWarps];
  if (has_fault(result)) return;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  int64_t before = 0;
  for (int64_t first = 0; first < rows; first += kThreads) {
    const int64_t i = first + threadIdx.x;
    const int flag = i < rows && is_read(labels[i], skip_ignored);
    int prefix = flag;  // inclusive, within the warp
    for (int distance = 1; distance < kWarp; distance *= 2) {
      const int other = __shfl_up_sync(kAllLanes, prefix, distance);
      if (lane >= distance) prefix += other;
    }
    if (lane == kWarp - 1) counts[warp] = prefix;
    __syncthreads();
    int64_t index = before + prefix - flag;
    for (int w = 0; w < kWarps; w++) {
      if (w < warp) index += counts[w];
      before += counts[w];
    }
    __syncthreads();
    if (flag) compacted[index] = i;
  }
  if (threadIdx.x == 0) result->compacted_rows = before;
}

/** A block per row. To is From or float. */
template <class From, class To>
__global__ void __launch_bounds__(kThreads) gather_rows_kernel(const From* from,  // [N, columns]
                                                               int64_t row_stride,
                                                               const int64_t* rows,  // [count]
                                                               int64_t columns,
                                                               To* to,  // [count, columns]
                                                               const DeviceResult* result) {
  if (has_fault(result)) return;
  const From* const x = from + rows[blockIdx.x] * row_stride;
  To* const y = to + blockIdx.x * columns;
  for (int64_t j = threadIdx.x; j < columns; j += kThreads) {
    if constexpr (std::is_same_v<From, To>) {
      y[j] = x[j];
    } else {
      y[j] = to_float(x[j]);
    }
  }
}

/** A block per row. */
template <class T>
__global__ void __launch_bounds__(kThreads) widen_rows_kernel(const T* from,  // [rows, columns]
                                                              int64_t row_stride, int64_t columns,
                                                              float* to,  // [rows, columns], dense
                                                              const DeviceResult* result) {
  if (has_fault(result)) return;
  const T* const x = from + blockIdx.x * row_stride;
  float* const y = to + blockIdx.x * columns;
  for (int64_t j = threadIdx.x; j < columns; j += kThreads) y[j] = to_float(x[j]);
}

/** A block per row. */
__global__ void __launch_bounds__(kThreads) scatter_rows_kernel(const float* from,    // [count, columns]
                                                                const int64_t* rows,  // [count]
                                                                int64_t columns, bool add,
                                                                float* to,  // [N, columns]
                                                                const DeviceResult* result) {
  if (has_fault(result)) return;
  const float* const x = from + blockIdx.x * columns;
  float* const y = to + rows[blockIdx.x] * columns;
  for (int64_t j = threadIdx.x; j < columns; j += kThreads) y[j] = add ? y[j] + x[j] : x[j];
}

/** A block per row. */
__global__ void __launch_bounds__(kThreads) scale_rows_kernel(const float* from,    // [N, columns]
                                                              const float* scales,  // [N]
                                                              const int64_t* rows,  // [count]
                                                              int64_t columns, bool add,
                                                              float* to,  // [N, columns]
                                                              const DeviceResult* result) {
  if (has_fault(result)) return;
  const float scale = scales[rows[blockIdx.x]];
  const float* const x = from + rows[blockIdx.x] * columns;
  float* const y = to + rows[blockIdx.x] * columns;
  for (int64_t j = threadIdx.x; j < columns; j += kThreads) y[j] = (add ? y[j] : 0.0f) + scale * x[j];
}

__global__ void __launch_bounds__(kThreads) gather_labels_kernel(const int32_t* from,  // [N]
                                                                 const int64_t* rows,  // [count]
                                                                 int64_t count,
                                                                 int32_t* to,  // [count]
                                                                 const DeviceResult* result) {
  const int64_t i = global_thread();
  if (!has_fault(result) && i < count) to[i] = from[rows[i]];
}

__global__ void __launch_bounds__(kThreads) scatter_results_kernel(ForwardOut from,      // [count] each
                                                                   const int64_t* rows,  // [count]
                                                                   int64_t count,
                                                                   ForwardOut to,  // [N] each
                                                                   const DeviceResult* result) {
  const int64_t i = global_thread();
  if (has_fault(result) || i >= count) return;
  const int64_t row = rows[i];
  if (to.shard_stats) {
    const int64_t size = to.shard.row_elements();
    for (int64_t j = 0; j < size; j++) to.shard_stats[row * size + j] = from.shard_stats[i * size + j];
    return;
  }
  to.logps[row] = from.logps[i];
  if (to.lse) to.lse[row] = from.lse[i];
  if (to.lse32) to.lse32[row] = static_cast<float>(from.lse[i]);
  if (to.entropy) to.entropy[row] = from.entropy[i];
  if (to.argmax) to.argmax[row] = from.argmax[i];
  if (to.sum_squared_probs) to.sum_squared_probs[row] = from.sum_squared_probs[i];
}

}  // namespace

CompactedRows compact_rows(LaunchContext& context, const int32_t* labels, int64_t rows, bool skip_ignored) {
  require_products(context);
  int64_t* const compacted = context.scratch<int64_t>(rows);
  context.launch("compact_rows_kernel", compact_rows_kernel, 1, kThreads, labels, rows, skip_ignored, compacted,
                 context.result());
  const DeviceResult result = context.wait();
  return {compacted, context.ok() ? result.compacted_rows : 0};
}

void gather_rows(LaunchContext& context, const Operand& from, const int64_t* rows, int64_t count, int64_t columns,
                 DType to_dtype, void* to) {
  with_type(from.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto gather = [&](auto kernel, auto* gathered) {
      context.launch("gather_rows_kernel", kernel, count, kThreads, static_cast<const T*>(from.data), from.row_stride,
                     rows, columns, gathered, context.result());
    };
    if (to_dtype == from.dtype) {
      gather(gather_rows_kernel<T, T>, static_cast<T*>(to));
    } else {
      gather(gather_rows_kernel<T, float>, static_cast<float*>(to));
    }
  });
}

void widen_rows(LaunchContext& context, DType dtype, const void* from, int64_t row_stride, int64_t rows,
                int64_t columns, float* to) {
  with_type(dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    context.launch("widen_rows_kernel", widen_rows_kernel<T>, rows, kThreads, static_cast<const T*>(from), row_stride,
                   columns, to, context.result());
  });
}

void gather_labels(LaunchContext& context, const int32_t* from, const int64_t* rows, int64_t count, int32_t* to) {
  context.launch("gather_labels_kernel", gather_labels_kernel, blocks_for(count, kThreads), kThreads, from, rows, count,
                 to, context.result());
}

void scatter_rows(LaunchContext& context, const float* from, const int64_t* rows, int64_t count, int64_t columns,
                  bool add, float* to) {
  context.launch("scatter_rows_kernel", scatter_rows_kernel, count, kThreads, from, rows, columns, add, to,
                 context.result());
}

void scale_rows(LaunchContext& context, const float* from, const float* scales, const CompactedRows& rows,
                int64_t columns, bool add, float* to) {
  context.launch("scale_rows_kernel", scale_rows_kernel, rows.count, kThreads, from, scales, rows.rows, columns, add,
                 to, context.result());
}

void scatter_results(LaunchContext& context, const ForwardOut& from, const int64_t* rows, int64_t count,
                     const ForwardOut& to) {
  context.launch("scatter_results_kernel", scatter_results_kernel, blocks_for(count, kThreads), kThreads, from, rows,
                 count, to, context.result());
}

}  // namespace cuda
}  // namespace sweet
